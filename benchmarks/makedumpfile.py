"""Debian's newest makedumpfile for this host, run out of the cache with its own libraries; nothing is installed.

<cache>/peers/makedumpfile-VERSION/     the packages' files
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fadump.capture.packers import Compression
from fadump.errors import SetupError
from fadump.kit.cache import cache_directory, new_entry, private_directory
from fadump.kit.debian import fetched_with_dependencies, native_architecture
from fadump.kit.package_file import unpack

SUITES = ("sid", "forky", "trixie")
"""Where to look, the newest first."""

_FLAGS = {
    Compression.ZLIB: ["-c"],
    Compression.LZO: ["-l"],
    Compression.SNAPPY: ["-p"],
    Compression.ZSTD: ["-z"],
    Compression.NONE: [],
}


@dataclass(frozen=True, slots=True)
class Makedumpfile:
    """A makedumpfile in the cache, which packs with ``codecs``; ``name`` has Debian's version."""

    name: str
    command: tuple[str, ...]
    codecs: frozenset[Compression]

    def save(self, source: Path, destination: Path, level: int, compression: Compression) -> list[str]:
        """The command that saves a dump; one thread packs."""
        only_report = ["--message-level", "16"]
        return [*self.command, *only_report, *_FLAGS[compression], "-d", str(level), str(source), str(destination)]


def find_makedumpfile() -> Makedumpfile:
    """The one in the cache, else the newest one that Debian has; to look for a newer one, remove what is there.

    :raises SetupError: there is none, or it doesn't run here.
    """
    peers = private_directory(cache_directory() / "peers")
    return _load(next(peers.glob("makedumpfile-*"), None) or _fetch(peers))


def _fetch(peers: Path) -> Path:
    with fetched_with_dependencies("makedumpfile", native_architecture(), SUITES) as packages:
        (version,) = (package.version for package in packages if package.name == "makedumpfile")
        root = peers / f"makedumpfile-{version.rpartition(':')[2]}"  # ld.so takes a colon for a list's
        with new_entry(root) as entry:
            for package in packages:
                unpack(package, entry)
    return root


def _load(root: Path) -> Makedumpfile:
    (loader,) = (path for path in root.rglob("ld-linux-*.so.*") if not path.is_symlink())
    (program,) = (path for path in root.rglob("makedumpfile") if path.is_file() and path.parent.name in ("bin", "sbin"))
    loader.chmod(0o700)
    command = (str(loader), "--inhibit-cache", "--library-path", str(loader.parent), str(program))
    said = subprocess.run([*command, "-v"], capture_output=True, text=True, check=False)
    if said.returncode:
        raise SetupError(f"Debian's makedumpfile in {root} doesn't run here: {said.stderr.strip()[:200]}")
    optional = (Compression.LZO, Compression.SNAPPY, Compression.ZSTD)
    enabled = {codec for codec in optional if re.search(rf"^{codec}\s+enabled", said.stdout, re.MULTILINE)}
    return Makedumpfile(root.name, command, frozenset({Compression.ZLIB, Compression.NONE, *enabled}))
