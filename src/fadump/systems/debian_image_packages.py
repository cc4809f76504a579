"""The packages of a disk image: a whole Debian suite's worth of them, that fit together, kept in the cache.

A mirror may list packages that it doesn't have, so a suite counts only if every file of its is there. The files of the
one that was taken stay, with a list of what they are, and serve every later image without any network:

    <cache>/debian/SUITE/NAME_VERSION_ARCHITECTURE.deb
    <cache>/debian/SUITE/packages.json      written when all of them are there
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.errors import SetupError
from fadump.kit.cache import cache_directory, new_file, private_directory
from fadump.kit.debian import ARCHITECTURE, DebianPackage, fetch_system

SUITES = ("trixie", "forky", "bookworm")
"""Where to look: the stable release, the one to come, then the one before. bookworm is last because its makedumpfile
(1.7.2) can't filter a dump of Linux 6.6 or later with radix page tables: vmemmap_list is empty there, and it looks for
struct pages where there is no memory."""

WANTED = (
    "?essential",
    # without it bookworm takes usrmerge, and all of perl with it; a suite that has none takes none
    "?exact-name(usr-is-merged)",
    *("apt", "systemd-sysv", "udev", "dbus", "systemd-resolved", "iproute2", "kmod", "procps", "e2fsprogs"),
    *("login", "mount", "passwd"),
    *("initramfs-tools", "grub-ieee1275"),
    *("kdump-tools", "makedumpfile", "kexec-tools", "python3"),
)
"""What is asked for, in the words of apt; its dependencies come with it."""

_LIST = "packages.json"


@dataclass(frozen=True, slots=True)
class PackageSet:
    """Packages of one suite, all that an image needs, by name; ``digest`` stands for their names and contents."""

    suite: str
    packages: tuple[DebianPackage, ...]
    digest: str

    @property
    def versions(self) -> dict[str, str]:
        """Debian's version of each package."""
        return {package.name: package.version for package in self.packages}


def kept_packages(suites: Sequence[str] = SUITES) -> PackageSet | None:
    """The packages in the cache of the first of ``suites`` that has all, or None; without any network.

    Each file is compared with what was fetched.
    """
    return next(filter(None, map(_kept, suites)), None)


def fetch_packages(suites: Sequence[str] = SUITES) -> PackageSet:
    """The packages of the first of ``suites`` that is whole on the mirror, those that are in the cache from there.

    A suite that isn't is named on stderr.

    :raises SetupError: no suite is whole, or the mirror can't be reached.
    """
    failed: list[str] = []
    for suite in suites:
        try:
            packages = fetch_system(WANTED, suite, _directory(suite))
        except SetupError as error:
            failed.append(f"{suite}: {error}")
            print(f"Debian {suite} can't be taken: {error}", file=sys.stderr, flush=True)
            continue
        return _keep(suite, packages)
    raise SetupError(f"no suite of Debian has all that an image needs; {failed[0]}")


def _directory(suite: str) -> Path:
    return private_directory(cache_directory() / "debian") / suite


def _keep(suite: str, packages: Sequence[DebianPackage]) -> PackageSet:
    files = {package.path.name: _sha256(package.path) for package in packages}
    with new_file(_directory(suite) / _LIST) as path:
        path.write_text(json.dumps({"wanted": WANTED, "files": files}, indent=2) + "\n", encoding="utf-8")
    kept = _kept(suite)
    if kept is None:
        raise SetupError(f"the packages in {_directory(suite)} have changed while they were fetched: try again")
    return kept


def _kept(suite: str) -> PackageSet | None:
    directory = _directory(suite)
    try:
        listed = json.loads((directory / _LIST).read_text(encoding="utf-8"))
        wanted, files = tuple(listed["wanted"]), dict(listed["files"])
    except (OSError, ValueError, KeyError, TypeError):  # it is fetched again
        return None
    paths = [directory / name for name in sorted(files)]
    if wanted != WANTED or any(not path.is_file() or _sha256(path) != files[path.name] for path in paths):
        return None
    digest = hashlib.sha256("".join(f"{path.name} {files[path.name]}\n" for path in paths).encode()).hexdigest()
    return PackageSet(suite, tuple(DebianPackage.from_file(path, suite, ARCHITECTURE) for path in paths), digest)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
