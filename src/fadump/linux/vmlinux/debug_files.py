"""Where a computer has the crashed kernel's vmlinux and its modules, known by their build ids.

Where distributions install debug files: gdb's manual, "Debugging Information in Separate Files"; Debian, Fedora and
openSUSE have a kernel's as /usr/lib/debug/boot/vmlinux-RELEASE or /usr/lib/debug/lib/modules/RELEASE/vmlinux.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from fadump.errors import FadumpError
from fadump.linux.vmlinux.elf import open_elf
from fadump.linux.vmlinux.symbols import build_id

_DEBUG = "usr/lib/debug"
_ROOT = Path("/")


def find_vmlinux(wanted: str, release: str | None, more: Sequence[Path] = (), *, root: Path = _ROOT) -> Path | None:
    """The vmlinux of a build id: among ``more`` files, or where distributions have it; None if it isn't here."""
    return next((path for path in [*more, *_of_kernel(wanted, release, root)] if has_build_id(path, wanted)), None)


def find_modules(wanted: Mapping[str, str | None], directories: Iterable[Path]) -> list[Path]:
    """The files of modules, by their names and build ids, below directories; those that aren't there are left out."""
    found: dict[str, Path] = {}
    for directory in directories:
        for path in sorted(directory.rglob("*.ko*")) if directory.is_dir() else ():
            name = path.name.partition(".ko")[0].replace("-", "_")
            if name in wanted and name not in found and path.suffix in (".ko", ".debug"):
                own = wanted[name]
                if own is None or has_build_id(path, own):
                    found[name] = path
    return list(found.values())


def find_module_lines(name: str, wanted: str, directories: Iterable[Path], *, root: Path = _ROOT) -> Path | None:
    """The file with a module's debug information, by its build id; None if it isn't here."""
    places = (path for directory in directories if directory.is_dir() for path in sorted(directory.rglob("*.ko*")))
    own = (path for path in places if path.name.partition(".ko")[0].replace("-", "_") == name)
    return next(
        (path for path in (*_by_build_id(wanted, root), *own) if has_build_id(path, wanted) and has_lines(path)), None
    )


def has_lines(path: Path) -> bool:
    """Whether a file has debug information that can be read."""
    try:
        with open_elf(path) as elf:
            return elf.named(".debug_info") is not None
    except (FadumpError, OSError):
        return False


def module_directories(release: str | None, vmlinux: Path | None, *, root: Path = _ROOT) -> Iterator[Path]:
    """Where a kernel's modules may be: beside its vmlinux, and where distributions have them."""
    if vmlinux is not None:
        yield vmlinux.parent / "modules"
    if _is_name(release):
        yield root / _DEBUG / "lib/modules" / str(release)
        yield root / _DEBUG / "usr/lib/modules" / str(release)
        yield root / "lib/modules" / str(release)


def _of_kernel(wanted: str, release: str | None, root: Path) -> Iterator[Path]:
    yield from _by_build_id(wanted, root)
    if _is_name(release):
        yield root / _DEBUG / "boot" / f"vmlinux-{release}"
        yield root / _DEBUG / "lib/modules" / str(release) / "vmlinux"
        yield root / _DEBUG / "usr/lib/modules" / str(release) / "vmlinux"
        yield root / _DEBUG / "boot" / f"vmlinux-{release}.debug"
        yield root / "lib/modules" / str(release) / "build/vmlinux"
        yield root / "boot" / f"vmlinux-{release}"


def _by_build_id(wanted: str, root: Path) -> Iterator[Path]:
    if wanted.isalnum() and len(wanted) > 2:
        yield root / _DEBUG / ".build-id" / wanted[:2] / f"{wanted[2:]}.debug"


def _is_name(release: str | None) -> bool:
    """Whether a dump's release can be part of a path, and of no other directory's."""
    return bool(release) and "/" not in str(release) and "\0" not in str(release) and str(release) not in (".", "..")


def has_build_id(path: Path, wanted: str) -> bool:
    """Whether a file has this build id."""
    try:
        return path.is_file() and build_id(path) == wanted
    except (FadumpError, OSError, ValueError):
        return False
