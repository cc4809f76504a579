"""A Debian package as a file: its name, its version, its files. Nothing in it is run."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from fadump.errors import SetupError
from fadump.kit.packages import require
from fadump.kit.process import log_path, run, telling_lines

_ARCHITECTURE = re.compile("[a-z0-9][a-z0-9-]*")


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


def proper_name(path: Path) -> str:
    """The name that Debian's archive would give to a package's file, whatever it is called here.

    :raises SetupError: it is not a package.
    """
    require("reading a package", {"dpkg-deb": "dpkg"})
    shown = subprocess.run(
        ["dpkg-deb", "--show", "--showformat=${Package}\n${Version}\n${Architecture}", str(path.absolute())],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if shown.returncode != 0:
        raise SetupError(f"{path} is no Debian package: {telling_lines(shown.stderr.splitlines())}")
    name, version, architecture = shown.stdout.split("\n", 2)
    if not _ARCHITECTURE.fullmatch(architecture):
        raise SetupError(f"{path} is no Debian package: its architecture is {architecture!r}")
    return f"{name}_{quote(version, safe='+~')}_{architecture}.deb"


def unpack(package: DebianPackage, directory: Path) -> None:
    """Put the package's files under ``directory``, as they are; nothing in it is run.

    :raises SetupError: the file is not a package, or the disk is full.
    """
    command = ["dpkg-deb", "--extract", str(package.path), str(directory)]
    run(command, what=f"unpacking {package.path.name}", log=log_path("unpack"))


def _version_in(path: Path) -> str:
    return unquote(path.stem.split("_")[1])  # NAME_VERSION_ARCHITECTURE.deb, a colon as %3a
