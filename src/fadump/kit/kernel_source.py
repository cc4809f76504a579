"""A kernel from a user's own source tree, as it is there: built elsewhere, and again where something has changed.

    <cache>/trees/NAME-KEY/     the key is the tree's path
        source/                 links to what is in the tree
        fragment                what it is configured with
        objects/                make's (O=): vmlinux, .config and all objects, kept for the next build
        modules/                the modules as installed, if it has any

Linux builds nothing elsewhere from a tree that has been configured or built in place. So make is shown a directory of
links to everything in the tree but what such a build leaves at the places where make looks, and the tree keeps it.

What works with the source runs as the user who calls, as nobody else may read the tree and write to the cache. As root,
whose makefiles have replaced /dev/null by a file, it does so in a mount namespace of its own, where /dev/null is a
mount point and can't be replaced.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from fadump.errors import UsageError
from fadump.given import check_directory
from fadump.kit.cache import cache_directory, lock, private_directory, say_waiting
from fadump.kit.kernel_build import check_room
from fadump.kit.kernel_config import OFF, Options, page_size_of, read_fragment
from fadump.kit.kernel_make import STRIPPED, KernelMake, make_tools
from fadump.kit.packages import require
from fadump.kit.process import log_path

_HAS_GENERATED = (Path(), Path("include"), Path("arch"), Path("arch/powerpc"), Path("arch/powerpc/include"))
"""Directories of a tree that are shown as directories, not as links: in each, something may not be shown."""
_GENERATED = re.compile(
    r"\.config(\..*)?|\.?vmlinux.*|\.tmp_.*|.*\.[oa]|System\.map|Module\.symvers|modules\..*"
    r"|include/config|include/generated|arch/powerpc/include/generated"
)
"""What a build in place leaves, by its path in the tree."""
_OWN_NAMESPACE = ("unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /dev/null && exec "$@"', "sh")


@dataclass(frozen=True, slots=True)
class TreeKernel:
    """A kernel that was built from the tree ``source``; the other fields are those of a :class:`Kernel`."""

    release: str
    page_size: str
    bootable: Path
    vmlinux: Path
    config: Path
    modules: Path | None
    compiler: str
    source: Path

    def as_json(self) -> Mapping[str, str | None]:
        """All of it, paths as text, for ``--json``."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


def build_tree(tree: Path, fragment: Path | None, page_size: str) -> TreeKernel:
    """Build the tree with our configuration and ``fragment`` on top of it; what was built before is kept and used.

    :raises UsageError: ``tree`` is no Linux, or ``fragment`` none.
    :raises SetupError: something is missing, the Linux can't be configured so, or the build fails.
    """
    tree = _checked(tree)
    theirs = {} if fragment is None else read_fragment(fragment)
    require(f"building Linux in {tree}", make_tools(theirs))
    key = hashlib.sha256(os.fsencode(tree)).hexdigest()[:12]
    name = f"{re.sub(r'[^A-Za-z0-9._-]', '_', tree.name)}-{key}"
    entry = private_directory(cache_directory() / "trees") / name
    with lock(f"tree-{name}", say_waiting(f"building Linux in {tree}")):
        return _build(tree, private_directory(entry), theirs, page_size)


def _checked(tree: Path) -> Path:
    check_directory("--source", tree)
    if missing := [name for name in ("Makefile", "Kconfig") if not (tree / name).is_file()]:
        raise UsageError(f"--source {tree} has no {missing[0]}: give the top directory of a Linux source tree")
    return tree.resolve()


def _build(tree: Path, entry: Path, theirs: Options, page_size: str) -> TreeKernel:
    log = log_path(f"kernel-{entry.name}")
    log.unlink(missing_ok=True)
    objects = private_directory(entry / "objects")
    make = KernelMake(f"Linux in {tree}", objects, entry / "source", log, _as_caller())
    if not (objects / "vmlinux").exists():
        check_room(objects, make.name)
    _link(tree, entry / "source")
    configured = make.configure(entry / "fragment", page_size, theirs)
    has_modules = configured.get("MODULES", OFF) != OFF
    make.compile(f"Building {make.name}", ["modules"] if has_modules else [], None)
    modules = entry / "modules"
    if modules.exists():
        shutil.rmtree(modules)  # what is no module any more
    if has_modules:
        make.install_modules(modules)
    return TreeKernel(
        release=make.release(),
        page_size=page_size_of(configured) or page_size,
        bootable=objects / STRIPPED,
        vmlinux=objects / "vmlinux",
        config=objects / ".config",
        modules=modules if has_modules else None,
        compiler=make.compiler(),
        source=tree,
    )


def _link(tree: Path, mirror: Path) -> None:
    """Make ``mirror`` show what is in the tree now, but what was generated there."""
    if mirror.exists():
        shutil.rmtree(mirror)
    for path in _shown(tree):
        link = mirror / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tree / path)


def _shown(tree: Path) -> Iterator[Path]:
    for directory in _HAS_GENERATED:
        if (tree / directory).is_dir():
            paths = (path.relative_to(tree) for path in (tree / directory).iterdir())
            yield from (path for path in paths if path not in _HAS_GENERATED and not _GENERATED.fullmatch(str(path)))


def _as_caller() -> list[str]:
    """The command before the command: it ends with us, even if we are killed."""
    command = ["setpriv", "--pdeathsig", "TERM", "--no-new-privs"]
    return [*command, *_OWN_NAMESPACE] if os.geteuid() == 0 else command
