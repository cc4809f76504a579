"""A minimal Debian of one suite in a directory, and commands that are run in it."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.kit.apt_sources import find_debian_source
from fadump.kit.cache import cache_directory, private_directory
from fadump.kit.debian import native_architecture
from fadump.kit.packages import require
from fadump.kit.private_apt import kept_settings

TOOLS = {"mmdebstrap": "mmdebstrap", "unshare": "util-linux"}
ARCHIVES = "/var/cache/apt/archives"
KEPT = "download/empty,essential/unlink,cleanup/apt/lists,cleanup/apt/cache"

ENTER = """
mount --bind "$0" "$0"
cd "$0"
mount -t proc proc proc
mount -t devpts -o ptmxmode=666 devpts dev/pts
pivot_root . .
umount -l .
cd /root
exec "$@"
"""
"""Not chroot(8): in there, tests could make no user namespaces."""


@dataclass(frozen=True, slots=True)
class SuiteRoot:
    """The directory ``path`` has the system; its processes see no others, and end with the command."""

    suite: str
    path: Path

    @classmethod
    def make(cls, suite: str, path: Path) -> "SuiteRoot":
        """A system with apt and what it needs. Its packages are kept in the cache."""
        require("a Debian to install the package in", TOOLS)
        kept = archives_of(suite)
        source = find_debian_source()
        command = [
            "mmdebstrap", "--mode=root", "--variant=minbase", f"--skip={KEPT}",
            *(f"--aptopt={line}" for line in ["APT::Install-Recommends false;", *kept_settings()]),
            f'--setup-hook=mkdir -p "$1"{ARCHIVES}', f"--setup-hook=sync-in {kept} {ARCHIVES}",
            *([f"--keyring={source.signed_by}"] if source.signed_by.startswith("/") else []),
            suite, str(path), source.uri,
        ]  # fmt: skip
        _run(command)
        root = cls(suite, path)
        root.keep_archives()
        return root

    def copy(self, path: Path) -> "SuiteRoot":
        """The same system once more."""
        _run(["cp", "-a", "--reflink=auto", str(self.path), str(path)])
        return SuiteRoot(self.suite, path)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as root of the system, in /root; its status is the caller's to look at."""
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", ENTER, str(self.path)]
        environment = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        environment |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
        environment["DEBIAN_FRONTEND"] = "noninteractive"
        return subprocess.run(
            [*apart, *command],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def install(self, *packages: str) -> None:
        """Install packages of the suite, or files, without what they recommend."""
        done = self.run("apt-get", "install", "-y", "--no-install-recommends", *packages)
        assert done.returncode == 0, done.stdout + done.stderr
        self.keep_archives()

    def put(self, source: Path, directory: str) -> None:
        """Copy a file or a directory into a directory of the system."""
        target = self.path / directory.lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            leave_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target / source.name, ignore=leave_out, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)

    def keep_archives(self) -> None:
        """Keep what apt has fetched in the cache, for the next time."""
        for archive in (self.path / ARCHIVES.lstrip("/")).glob("*.deb"):
            kept = archives_of(self.suite) / archive.name
            if not kept.exists():
                shutil.copy(archive, kept)


def archives_of(suite: str, architecture: str | None = None) -> Path:
    """Where the cache has a suite's packages for an architecture, this computer's own by default."""
    roots = private_directory(cache_directory() / "roots")
    return private_directory(roots / f"{suite}-{architecture or native_architecture()}")


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
