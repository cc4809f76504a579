"""An apt of its own for every suite and architecture, without touching this machine's: its sources, state and
downloads (apt.conf(5), ``Dir``) lie in the cache.

The mirror, its keyring and the way to it (proxies, certificates) are the machine's own; signatures are always checked.

    <cache>/apt/SUITE-ARCHITECTURE/         sources, configuration, package lists
    <cache>/apt/…/cache/archives/           packages that were fetched together, while they are used
    <cache>/packages/SUITE-ARCHITECTURE/    what was fetched: NAME/*.deb, one file each
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fadump.errors import SetupError
from fadump.kit.apt_sources import DebianSource
from fadump.kit.cache import cache_directory, private_directory
from fadump.kit.package_file import DebianPackage, proper_name
from fadump.kit.process import log_path, run, running, telling_lines
from fadump.printable import counted
from fadump.progress import Progress

_POLL_SECONDS = 0.3
_KEPT_SETTINGS = re.compile(
    r"Acquire::(?:https?|ftp|socks5h?|tor|gpgv|Retries|ForceIPv[46]|Queue-Mode|Check-Valid-Until|Check-Date)\b"
)
_FILE_LINE = re.compile(r"'\S+' (?P<name>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")
"""As ``apt-get download --print-uris`` has it."""
_PATTERN = "?"
"""How apt's patterns begin (apt-patterns(7))."""
_LOCAL = " local-deb "
"""How ``apt-get install --simulate`` marks a package that it was given as a file."""


class PackageMissingError(SetupError):
    """No suite that was asked has the package."""


@dataclass(frozen=True, slots=True)
class _File:
    """What a mirror says of a package's file."""

    size_bytes: int
    sha256: str


def packages_directory(suite: str, architecture: str) -> Path:
    """Where single packages are kept, each in a directory that has its name."""
    return cache_directory() / "packages" / f"{suite}-{architecture}"


class PrivateApt:
    """One apt for one suite and architecture. Whoever uses it holds the lock "apt" around all of it."""

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
        directory = private_directory(private_directory(packages_directory(self._suite, self._architecture)) / name)
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
        plain = [name for name in wanted if not name.startswith(_PATTERN)]
        there = {*self._sizes(plain), *(name.partition("_")[0] for name in own)}
        if missing := {*plain} - there:  # apt takes some names for regular expressions
            raise PackageMissingError(
                f"Debian {self._suite} has no package {', '.join(sorted(missing))} for {self._architecture}"
            )
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
    return "\n".join([*kept_settings(), *own]) + "\n"


def kept_settings() -> list[str]:
    """How this machine reaches its mirror. What would weaken signature checks is not among it."""
    shown = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    return [line for line in shown.stdout.splitlines() if _KEPT_SETTINGS.match(line)]
