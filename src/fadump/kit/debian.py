"""Packages from Debian, of any release and architecture, without touching this machine's own apt.

Every suite and architecture gets an apt of its own in the cache: sources, state and downloads (apt.conf(5),
``Dir``). The mirror, its keyring and the way to it (proxies, certificates) are the machine's own; signatures
are always checked.

    <cache>/apt/SUITE-ARCHITECTURE/         sources, configuration, package lists
    <cache>/packages/SUITE-ARCHITECTURE/    what was fetched: NAME/*.deb, one file each
    <cache>/apt/…/cache/archives/           packages that were fetched together, while they are used

What makes a whole system is fetched into a directory of the caller's.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from urllib.parse import quote, unquote

from fadump.errors import SetupError
from fadump.kit.apt_sources import SUITES, DebianSource, find_debian_source
from fadump.kit.cache import cache_directory, lock, private_directory, say_waiting
from fadump.kit.packages import require
from fadump.kit.process import log_path, run, running, telling_lines
from fadump.printable import counted
from fadump.progress import Progress

ARCHITECTURE = "ppc64el"

_TOOLS = {"apt-get": "apt", "apt-cache": "apt", "dpkg-deb": "dpkg"}
_POLL_SECONDS = 0.3
_KEPT_SETTINGS = re.compile(
    r"Acquire::(?:https?|ftp|socks5h?|tor|gpgv|Retries|ForceIPv[46]|Queue-Mode|Check-Valid-Until|Check-Date)\b"
)


_FILE_LINE = re.compile(r"'\S+' (?P<name>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")
"""As ``apt-get download --print-uris`` has it."""

_LOCAL = " local-deb "
"""How ``apt-get install --simulate`` marks a package that it was given as a file."""


class PackageMissingError(SetupError):
    """No suite that was asked has the package."""


@dataclass(frozen=True, slots=True)
class DebianPackage:
    """A package that has been fetched; ``path`` is the .deb file."""

    name: str
    version: str
    suite: str
    architecture: str
    path: Path

    @classmethod
    def from_file(cls, path: Path, suite: str, architecture: str) -> "DebianPackage":
        """The package of a file with its usual name; ``architecture`` is the one that it was fetched for."""
        return cls(path.name.split("_")[0], _version_in(path), suite, architecture, path)


@dataclass(frozen=True, slots=True)
class _File:
    """What a mirror says of a package's file."""

    size_bytes: int
    sha256: str


def proper_name(path: Path) -> str:
    """The name that Debian's archive would give to a package's file, whatever it is called here.

    :raises SetupError: it is not a package.
    """
    require("reading a package", {"dpkg-deb": "dpkg"})
    shown = subprocess.run(
        ["dpkg-deb", "--show", "--showformat=${Package}\n${Version}\n${Architecture}", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if shown.returncode != 0:
        raise SetupError(f"{path} is no Debian package: {telling_lines(shown.stderr.splitlines())}")
    name, version, architecture = shown.stdout.split("\n")
    return f"{name}_{quote(version, safe='+~')}_{architecture}.deb"


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

    :raises SetupError: there is no apt or no mirror, it can't be reached, a signature is wrong, or the suite lacks a
        package; on some days a mirror lists what it doesn't have.
    """
    require(f"fetching Debian {suite}", _TOOLS)
    with lock("apt", say_waiting("fetching packages")):
        apt = _PrivateApt(find_debian_source(), suite, architecture)
        apt.update()
        return apt.download_system(names, private_directory(directory), files)


def package_names(prefix: str, suite: str, architecture: str) -> list[str]:
    """Every package of a suite whose name begins so; the mirror is asked every time.

    :raises SetupError: there is no apt or no mirror, the mirror can't be reached, or a signature is wrong.
    """
    require(f"reading Debian {suite}'s package list", _TOOLS)
    with lock("apt", say_waiting("fetching packages")):
        apt = _PrivateApt(find_debian_source(), suite, architecture)
        apt.update()
        return apt.names(prefix)


def listed_names(prefix: str, architectures: Sequence[str], suites: Sequence[str] = SUITES) -> set[str]:
    """Every package whose name begins so in the package lists that have been read already; without any network."""
    with lock("apt", say_waiting("fetching packages")):
        source = find_debian_source()
        apts = [_PrivateApt(source, *where) for where in product(suites, architectures)]
        return {name for apt in apts for name in apt.names(prefix)}


def _first_with(name: str, architectures: Sequence[str], suites: Sequence[str]) -> tuple["_PrivateApt", int]:
    """The apt of the first suite that has the package, and its size in bytes."""
    source = find_debian_source()
    unreadable: list[SetupError] = []
    for suite, architecture in product(suites, architectures):
        apt = _PrivateApt(source, suite, architecture)
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


def unpack(package: DebianPackage, directory: Path) -> None:
    """Put the package's files under ``directory``, as they are; nothing in it is run.

    :raises SetupError: the file is not a package, or the disk is full.
    """
    command = ["dpkg-deb", "--extract", str(package.path), str(directory)]
    run(command, what=f"unpacking {package.path.name}", log=log_path("unpack"))


def _cached(name: str, architectures: Sequence[str], suites: Sequence[str]) -> DebianPackage | None:
    for suite, architecture in product(suites, architectures):
        for path in (_packages_directory(suite, architecture) / name).glob("*.deb"):
            return DebianPackage.from_file(path, suite, architecture)
    return None


def _version_in(path: Path) -> str:
    return unquote(path.stem.split("_")[1])  # NAME_VERSION_ARCHITECTURE.deb, a colon as %3a


def _packages_directory(suite: str, architecture: str) -> Path:
    return cache_directory() / "packages" / f"{suite}-{architecture}"


class _PrivateApt:
    """One apt for one suite and architecture; the lock "apt" is held around all of it."""

    def __init__(self, source: DebianSource, suite: str, architecture: str) -> None:
        self._suite = suite
        self._architecture = architecture
        self._uri = source.uri
        self._root = private_directory(private_directory(cache_directory() / "apt") / f"{suite}-{architecture}")
        for part in ("state/lists/partial", "cache/archives/partial"):
            (self._root / part).mkdir(parents=True, exist_ok=True)
        self._write("debian.sources", _sources(source, suite, architecture))
        self._write("apt.conf", _configuration(self._root, architecture))

    def update(self) -> None:
        with Progress.step(f"Reading the package list of Debian {self._suite} for {self._architecture}"):
            run(
                ["apt-get", "update", "-o", "APT::Update::Error-Mode=any"],
                what=f"reading Debian {self._suite}'s package list for {self._architecture} from {self._uri}",
                log=self._new_log(),
                environment=self._environment(),
            )

    def size_bytes_of(self, name: str) -> int:
        """Of the newest version's file; 0 if the suite has no such package."""
        return self._sizes([name]).get(name, 0)

    def names(self, prefix: str) -> list[str]:
        """Those of real packages; apt knows names of provided ones too."""
        listed = subprocess.run(
            ["apt-cache", "pkgnames", prefix], env=self._environment(), capture_output=True, text=True, check=False
        )
        return sorted(self._sizes(listed.stdout.split()))

    def download(self, name: str, size_bytes: int) -> DebianPackage:
        directory = private_directory(private_directory(_packages_directory(self._suite, self._architecture)) / name)
        partial = private_directory(directory / "partial")  # what a killed apt-get left there, the next one resumes
        self._fetch(name, ["apt-get", "download", name], partial, size_bytes)
        files = list(partial.glob(f"{name}_*.deb"))
        if len(files) != 1:
            raise SetupError(f"fetching {name} from {self._uri} brought {len(files)} files: remove {directory}")
        path = directory / files[0].name
        files[0].replace(path)
        partial.rmdir()
        return self._package(path)

    def download_with_dependencies(self, name: str) -> list[DebianPackage]:
        names = self._with_dependencies([name], name)
        archives = self._root / "cache" / "archives"
        for older in archives.glob("*.deb"):
            older.unlink()
        title = f"{name} and {len(names) - 1} more"
        self._fetch(title, ["apt-get", "download", *names], archives, sum(self._sizes(names).values()))
        return [self._package(path) for path in sorted(archives.glob("*.deb"))]

    def download_system(self, wanted: Sequence[str], directory: Path, given: Sequence[Path]) -> list[DebianPackage]:
        own = {proper_name(path): path for path in given}
        names = self._with_dependencies([*wanted, *(str(path.resolve()) for path in given)], "a whole system")
        files = self._files(names)
        for path in directory.glob("*.deb"):
            if path.name in own or path.name not in files or _sha256(path) != files[path.name].sha256:
                path.unlink()
        title = counted(len(files), "package")
        self._fetch(title, ["apt-get", "download", *names], directory, sum(file.size_bytes for file in files.values()))
        for name, path in own.items():
            shutil.copyfile(path, directory / name)
        return [self._package(directory / name) for name in sorted({*files, *own})]

    def _with_dependencies(self, names: Sequence[str], title: str) -> list[str]:
        """The suite's packages among them; those that are given as files are not."""
        planned: list[str] = []
        run(
            ["apt-get", "install", "--simulate", "--no-install-recommends", *names],
            what=f"finding what {title} of Debian {self._suite} depends on",
            log=self._new_log(),
            environment=self._environment(),
            on_line=planned.append,
        )
        return [line.split()[1] for line in planned if line.startswith("Inst ") and _LOCAL not in line]

    def _files(self, names: Sequence[str]) -> dict[str, "_File"]:
        """What downloading these packages would bring, by file name."""
        listed: list[str] = []
        run(
            ["apt-get", "download", "--print-uris", *names],
            what=f"finding the files of Debian {self._suite}'s packages",
            log=self._new_log(),
            environment=self._environment(),
            on_line=listed.append,
        )
        found = [match for line in listed if (match := _FILE_LINE.fullmatch(line))]
        return {match["name"]: _File(int(match["size"]), match["sha256"]) for match in found}

    def _sizes(self, names: Sequence[str]) -> dict[str, int]:
        """Sizes in bytes of the newest versions' files; what the suite doesn't have is left out."""
        command = ["apt-cache", "show", "--no-all-versions", *names]
        shown = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
        sizes = {}
        for stanza in shown.stdout.split("\n\n"):
            found, size = (re.search(rf"^{field}: (\S+)$", stanza, re.MULTILINE) for field in ("Package", "Size"))
            if found and size and found[1] in names:  # apt takes a name it doesn't have for a pattern
                sizes[found[1]] = int(size[1])
        return sizes

    def _fetch(self, title: str, command: list[str], directory: Path, size_bytes: int) -> None:
        """Run an apt-get that downloads into ``directory``, and show how far it is."""
        what = f"fetching {title} from {self._uri}"
        output = []
        with (
            Progress.step(f"Fetching {title} from Debian {self._suite}", size_bytes, "bytes") as step,
            running([*command, "--quiet=2"], what=what, cwd=directory, environment=self._environment()) as process,
        ):
            status = None
            while status is None:
                try:
                    said, _ = process.communicate(timeout=_POLL_SECONDS)
                    output = said.splitlines()
                    status = process.returncode
                except subprocess.TimeoutExpired:
                    pass
                step.update(_bytes_in(directory))
        if status != 0:
            raise SetupError(f"{what} failed: {telling_lines(output)}; try again, it continues where it stopped")

    def _package(self, path: Path) -> DebianPackage:
        return DebianPackage.from_file(path, self._suite, self._architecture)

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, "APT_CONFIG": str(self._root / "apt.conf"), "LC_ALL": "C.UTF-8"}

    def _new_log(self) -> Path:
        path = log_path(f"apt-{self._suite}-{self._architecture}")
        path.unlink(missing_ok=True)
        return path

    def _write(self, name: str, text: str) -> None:
        (self._root / name).write_text(text, encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes_in(directory: Path) -> int:
    total_bytes = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):  # apt renames what is complete
            total_bytes += path.stat().st_size if path.is_file() else 0
    return total_bytes


def _sources(source: DebianSource, suite: str, architecture: str) -> str:
    lines = [
        "Types: deb",
        f"URIs: {source.uri}",
        f"Suites: {suite}",
        "Components: main",
        f"Architectures: {architecture}",
    ]
    if source.signed_by:
        lines.append(f"Signed-By: {source.signed_by}")
    return "\n".join(lines) + "\n"


def _configuration(root: Path, architecture: str) -> str:
    settings = {
        "Dir::Etc::sourcelist": f"{root}/debian.sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": f"{root}/state",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": f"{root}/cache",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "Acquire::GzipIndexes": "true",
        "Acquire::Languages": "none",
    }
    if os.geteuid() == 0:
        settings["APT::Sandbox::User"] = "root"  # apt's own user can't enter the cache
    own = [f'{name} "{value}";' for name, value in settings.items()]
    return "\n".join([*_kept_settings(), *own]) + "\n"


def _kept_settings() -> list[str]:
    """How this machine reaches its mirror. What would weaken signature checks is not among it."""
    shown = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    return [line for line in shown.stdout.splitlines() if _KEPT_SETTINGS.match(line)]
