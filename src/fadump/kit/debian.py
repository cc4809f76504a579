"""Packages from Debian, of any release and architecture, fetched once and kept (:mod:`.private_apt`).

What makes a whole system is fetched into a directory of the caller's.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from fadump.errors import SetupError
from fadump.kit.apt_sources import SUITES, find_debian_source
from fadump.kit.cache import lock, private_directory, say_waiting
from fadump.kit.package_file import DebianPackage
from fadump.kit.packages import require
from fadump.kit.private_apt import PackageMissingError, PrivateApt, packages_directory

ARCHITECTURE = "ppc64el"

_TOOLS = {"apt-get": "apt", "apt-cache": "apt", "dpkg-deb": "dpkg"}


def native_architecture() -> str:
    """Debian's name for this machine's own, such as "amd64".

    :raises SetupError: this machine has no dpkg.
    """
    require("fetching from Debian", {"dpkg": "dpkg"})
    shown = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=False)
    return shown.stdout.strip()


def fetch(name: str, architectures: Sequence[str] = (ARCHITECTURE,), suites: Sequence[str] = SUITES) -> DebianPackage:
    """The package from the first of ``suites`` that has it; the cache's copy, without any network, if there is one.

    A package for all architectures is found under any of them: ask for several, as a mirror's list for one may be
    out of step when its list for another isn't.

    :raises PackageMissingError: no suite has it.
    :raises SetupError: there is no apt or no mirror, the mirror can't be reached, or a signature is wrong.
    """
    if cached := _cached(name, architectures, suites):
        return cached
    require(f"fetching {name} from Debian", _TOOLS)
    with lock("apt", say_waiting("fetching packages")):
        if cached := _cached(name, architectures, suites):
            return cached
        apt, size_bytes = _first_with(name, architectures, suites)
        return apt.download(name, size_bytes)


@contextmanager
def fetched_with_dependencies(name: str, architecture: str, suites: Sequence[str]) -> Iterator[list[DebianPackage]]:
    """The package and all that it depends on, down to the C library, from the first of ``suites`` that has it.

    They fit together, so the mirror is asked every time. The files are there until the context's end; another process
    that fetches waits for it.

    :raises PackageMissingError: no suite has it.
    :raises SetupError: as for :func:`fetch`, or the suite lacks something that the package depends on.
    """
    require(f"fetching {name} from Debian", _TOOLS)
    with lock("apt", say_waiting("fetching packages")):
        apt, _size_bytes = _first_with(name, [architecture], suites)
        packages = apt.download_with_dependencies(name)
        try:
            yield packages
        finally:
            for package in packages:
                package.path.unlink()


def fetch_system(
    names: Sequence[str], suite: str, directory: Path, architecture: str = ARCHITECTURE, files: Sequence[Path] = ()
) -> list[DebianPackage]:
    """The packages of a whole system, all that they depend on among them, recommendations left out; by name.

    ``names`` may have patterns of apt's, such as ``?essential`` (apt-patterns(7)); ``files`` are packages that are part
    of it, too, and are copied. What is in ``directory`` already and as it should be is not fetched again; packages that
    are not of the system are removed there.

    :raises PackageMissingError: the suite has no package of a name.
    :raises SetupError: there is no apt or no mirror, it can't be reached, a signature is wrong, or packages don't fit
        together; on some days a mirror lists what it doesn't have.
    """
    require(f"fetching Debian {suite}", _TOOLS)
    with lock("apt", say_waiting("fetching packages")):
        apt = PrivateApt(find_debian_source(), suite, architecture)
        apt.update()
        return apt.download_system(names, private_directory(directory), files)


def package_names(prefix: str, suite: str, architecture: str) -> list[str]:
    """Every package of a suite whose name begins so; the mirror is asked every time.

    :raises SetupError: there is no apt or no mirror, the mirror can't be reached, or a signature is wrong.
    """
    require(f"reading Debian {suite}'s package list", _TOOLS)
    with lock("apt", say_waiting("fetching packages")):
        apt = PrivateApt(find_debian_source(), suite, architecture)
        apt.update()
        return apt.names(prefix)


def listed_names(prefix: str, architectures: Sequence[str], suites: Sequence[str] = SUITES) -> set[str]:
    """Every package whose name begins so in the package lists that have been read already; without any network."""
    with lock("apt", say_waiting("fetching packages")):
        source = find_debian_source()
        apts = [PrivateApt(source, *where) for where in product(suites, architectures)]
        return {name for apt in apts for name in apt.names(prefix)}


def _first_with(name: str, architectures: Sequence[str], suites: Sequence[str]) -> tuple["PrivateApt", int]:
    """The apt of the first suite that has the package, and its size in bytes."""
    source = find_debian_source()
    unreadable: list[SetupError] = []
    for suite, architecture in product(suites, architectures):
        apt = PrivateApt(source, suite, architecture)
        try:
            apt.update()
        except SetupError as error:  # not every mirror has every suite
            unreadable.append(error)
            continue
        if size_bytes := apt.size_bytes_of(name):
            return apt, size_bytes
    if len(unreadable) == len(suites) * len(architectures):
        raise unreadable[0]
    raise PackageMissingError(
        f"{source.uri} has no {name} for {' or '.join(architectures)} in the main part of {' or '.join(suites)}"
        + (f", and not all of them could be read ({unreadable[0]})" if unreadable else "")
    )


def _cached(name: str, architectures: Sequence[str], suites: Sequence[str]) -> DebianPackage | None:
    for suite, architecture in product(suites, architectures):
        for path in (packages_directory(suite, architecture) / name).glob("*.deb"):
            return DebianPackage.from_file(path, suite, architecture)
    return None
