"""The packages of a disk image: a whole Debian suite's worth of them, that fit together, kept in the cache.

A mirror may list packages that it doesn't have, so a suite counts only if every file of its is there. The files of the
one that was taken stay, with a list of what they are, and serve every later image without any network:

    <cache>/debian/SUITE/NAME_VERSION_ARCHITECTURE.deb
    <cache>/debian/SUITE/packages.json      written when all of them are there
    <cache>/debian/SUITE-KEY/               the same with packages that somebody has added; KEY stands for their names
"""

import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.errors import SetupError, UsageError
from fadump.kit.cache import cache_directory, new_file, private_directory
from fadump.kit.debian import ARCHITECTURE, fetch_system
from fadump.kit.package_file import DebianPackage, proper_name
from fadump.kit.private_apt import PackageMissingError

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
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+]")
"""Debian Policy 5.6.1; apt would take away what ends in a hyphen."""


@dataclass(frozen=True, slots=True)
class Added:
    """What an image has beside Debian's own: ``names`` of the suite's packages, ``files`` that are packages."""

    names: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @classmethod
    def of(cls, words: Sequence[str]) -> "Added":
        """From words as a user has them: what ends in ``.deb`` or has a slash is a file.

        :raises UsageError: a word is neither.
        :raises SetupError: a file isn't there, or isn't a package.
        """
        is_file = {word: "/" in word or word.endswith(".deb") for word in words}
        files = tuple(Path(word) for word in is_file if is_file[word])
        names = tuple(sorted(word for word in is_file if not is_file[word]))
        for name in names:
            if not _NAME.fullmatch(name):
                raise UsageError(f"{name!r} is no Debian package's name; a file's ends in .deb")
        for path in files:
            if not path.is_file():
                raise SetupError(f"{path}, to be added to the image, isn't there")
            architecture = proper_name(path).removesuffix(".deb").rpartition("_")[2]
            if architecture not in (ARCHITECTURE, "all"):
                raise UsageError(f"{path} is a package for {architecture}, and the image is for {ARCHITECTURE}")
        added = cls(names, files)
        for name, count in Counter(added.packages).items():
            if count > 1:
                raise UsageError(f"the package {name} is to be added {count} times: give it once")
        return added

    @property
    def wanted(self) -> tuple[str, ...]:
        """All that is asked of the suite."""
        return (*WANTED, *self.names)

    @property
    def packages(self) -> list[str]:
        """The names of all of them."""
        return sorted([*self.names, *(proper_name(path).partition("_")[0] for path in self.files)])

    def directory(self, suite: str) -> Path:
        """Where the packages are kept; a newer file of the same package takes the place of the one before."""
        packages = " ".join(self.packages)
        key = f"-{hashlib.sha256(packages.encode()).hexdigest()[:12]}" if packages else ""
        return private_directory(cache_directory() / "debian") / f"{suite}{key}"


NOTHING = Added()


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


def kept_packages(suites: Sequence[str] = SUITES, added: Added = NOTHING) -> PackageSet | None:
    """The packages in the cache of the first of ``suites`` that has all, or None; without any network.

    Each file is compared with what was fetched.
    """
    return next((kept for suite in suites if (kept := _kept(suite, added))), None)


def fetch_packages(suites: Sequence[str] = SUITES, added: Added = NOTHING) -> PackageSet:
    """The packages of the first of ``suites`` that is whole on the mirror, those that are in the cache from there.

    A suite that isn't is named on stderr.

    :raises PackageMissingError: no suite has all packages that are added.
    :raises SetupError: no suite is whole, or the mirror can't be reached.
    """
    failed: list[str] = []
    missing: PackageMissingError | None = None
    for suite in suites:
        directory = added.directory(suite)
        _link_kept(NOTHING.directory(suite), directory)
        try:
            packages = fetch_system(added.wanted, suite, directory, files=added.files)
        except PackageMissingError as error:
            missing = missing or error
            continue
        except SetupError as error:
            failed.append(f"{suite}: {error}")
            print(f"Debian {suite} can't be taken: {error}", file=sys.stderr, flush=True)
            continue
        if missing is not None:
            print(f"{missing}: taking {suite}", file=sys.stderr, flush=True)
        return _keep(suite, added, packages)
    if missing is not None and not failed:
        others = f", nor has {' or '.join(suites[1:])}" if suites[1:] else ""
        raise PackageMissingError(f"{missing}{others}: see how its name is written")
    raise SetupError(f"no suite of Debian has all that an image needs; {failed[0]}")


def _link_kept(kept: Path, directory: Path) -> None:
    """Give a new directory the packages that another one has."""
    if not directory.exists() and kept.exists():
        private_directory(directory)
        for path in kept.glob("*.deb"):
            (directory / path.name).hardlink_to(path)


def _keep(suite: str, added: Added, packages: Sequence[DebianPackage]) -> PackageSet:
    files = {package.path.name: _sha256(package.path) for package in packages}
    directory = added.directory(suite)
    with new_file(directory / _LIST) as path:
        path.write_text(json.dumps({"wanted": added.wanted, "files": files}, indent=2) + "\n", encoding="utf-8")
    kept = _kept(suite, added)
    if kept is None:
        raise SetupError(f"the packages in {directory} have changed while they were fetched: try again")
    return kept


def _kept(suite: str, added: Added) -> PackageSet | None:
    directory = added.directory(suite)
    try:
        listed = json.loads((directory / _LIST).read_text(encoding="utf-8"))
        wanted, files = tuple(listed["wanted"]), dict(listed["files"])
    except (OSError, ValueError, KeyError, TypeError):  # it is fetched again
        return None
    paths = [directory / name for name in sorted(files)]
    if wanted != added.wanted or any(not path.is_file() or _sha256(path) != files[path.name] for path in paths):
        return None
    if any(files.get(proper_name(path)) != _sha256(path) for path in added.files):
        return None
    digest = hashlib.sha256("".join(f"{path.name} {files[path.name]}\n" for path in paths).encode()).hexdigest()
    return PackageSet(suite, tuple(DebianPackage.from_file(path, suite, ARCHITECTURE) for path in paths), digest)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
