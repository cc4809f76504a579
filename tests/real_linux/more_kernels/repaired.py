"""Linux with the repairs that docs/linux-bugs.md puts in words; they are the patches beside this file."""

import hashlib
import shutil
import subprocess
from importlib import resources
from pathlib import Path

from fadump.kit.cache import cache_directory, lock, private_directory, scratch_directory
from fadump.kit.debian import ARCHITECTURE, fetch, native_architecture
from fadump.kit.kernel_source import build_tree
from fadump.kit.package_file import unpack

HERE = Path(__file__).parent
SERIES = "6.12"
REPAIRS = sorted(HERE.glob("*.patch"))


def repaired_kernel():
    """Debian's Linux with all of them, built once; what the cache has is used again."""
    return _built("small", HERE / "small.config")


def repaired_petitboot():
    """The same, as the kernel in front that ``fadump kernel build --preserve`` builds."""
    with resources.as_file(resources.files("fadump.kit") / "data/preserve.config") as fragment:
        return _built("preserve", fragment)


def _built(name, fragment):
    """A tree of its own for each configuration, so that neither build undoes the other's."""
    repairs = b"".join(path.read_bytes() for path in REPAIRS)
    key = hashlib.sha256(repairs).hexdigest()[:12]
    tree = cache_directory() / "repaired" / f"linux-{SERIES}-{key}-{name}"
    with lock(f"repaired-{tree.name}"):
        if not tree.exists():
            _unpack(tree)
    return build_tree(tree, fragment, "64K").bootable


def _unpack(tree):
    with scratch_directory(private_directory(tree.parent), ".new-") as scratch:
        unpacked = unpack_source(scratch)
        for path in REPAIRS:
            subprocess.run(["patch", "--strip=1", "--fuzz=0", "--input", path], cwd=unpacked, check=True)
        unpacked.rename(tree)


def unpack_source(directory, series=SERIES):
    """Debian's Linux, in a directory of its own in this one."""
    source = fetch(f"linux-source-{series}", [native_architecture(), ARCHITECTURE])
    unpack(source, directory)
    archive = directory / f"usr/src/linux-source-{series}.tar.xz"
    subprocess.run(["tar", "--extract", "--file", archive, "--directory", directory], check=True)
    shutil.rmtree(directory / "usr")
    return directory / f"linux-source-{series}"
