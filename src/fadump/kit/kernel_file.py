"""The kernel that a user gives, made into what QEMU enters as Linux itself, and the modules that our guest needs of it.

A vmlinux is taken as it is. A zImage has one, packed, in a section of its own (arch/powerpc/boot/wrapper). A kernel
package of Debian's or an RPM has it among its files; of its modules those are kept that drive the guest's devices, and
what they depend on, by what each says itself (its section .modinfo, which depmod reads, too).

    <cache>/given/KEY/          the key is what the file has in it
        vmlinux                 the kernel
        modules/NN-NAME.ko      unpacked, in the order to load them in
"""

import hashlib
import lzma
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import zstandard

from fadump.errors import FadumpError, FormatError, SetupError, UsageError, naming, reason
from fadump.kit.cache import cache_directory, lock, new_entry, private_directory, scratch_directory
from fadump.kit.packages import require
from fadump.kit.process import log_path, run
from fadump.linux.vmlinux.elf import ElfFile, open_elf
from fadump.progress import Progress

MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "ext4")
"""Those that a guest of ours, or what it is asked to do, may need."""

_VERSION = 1
"""Counts up when something else is taken out of the same file."""
_ZIMAGE_SECTION = ".kernel:vmlinux.strip"
_MOST_BYTES = 1 << 30
_PIECE_BYTES = 1 << 12
"""Of zstd's, which may stand for 30,000 times as much."""
_IMAGES = ("boot/vmlinu[xz]-*", "lib/modules/*/vmlinu[xz]", "usr/lib/modules/*/vmlinu[xz]")
_CONFIGS = ("boot/config-*", "lib/modules/*/config", "usr/lib/modules/*/config")
_MODULE_NAME = re.compile(r"(.+)\.ko(\.gz|\.xz|\.zst)?")


class KernelPackage(Enum):
    """A kind of package: how its file begins, what unpacks it, and the Debian package that has that."""

    DEB = (b"!<arch>\ndebian-binary", ("dpkg-deb", "--extract", "{file}", "{directory}"), "dpkg")
    RPM = (
        b"\xed\xab\xee\xdb",
        ("bsdtar", "--extract", "--no-same-owner", "--file", "{file}", "--directory", "{directory}"),
        "libarchive-tools",
    )

    def __init__(self, magic: bytes, command: tuple[str, ...], package: str) -> None:
        self.magic = magic
        self.command = command
        self.package = package

    @classmethod
    def of(cls, head: bytes) -> "KernelPackage | None":
        """The kind of a file that begins with ``head``."""
        return next((kind for kind in cls if head.startswith(kind.magic)), None)


@dataclass(frozen=True, slots=True)
class GivenKernel:
    """``bootable`` is the file for QEMU's -kernel, ``modules`` what to load, in that order.

    ``lacking`` are drivers that the kernel has as modules, and the package not at all.
    """

    bootable: Path
    modules: tuple[Path, ...] = ()
    lacking: tuple[str, ...] = ()


def _any_kernel(_path: Path) -> None:
    """Whoever calls checks it."""


def take_kernel(path: Path, check: Callable[[Path], None] = _any_kernel, option: str = "--kernel") -> GivenKernel:
    """What to boot of a vmlinux, a zImage or a kernel package, which an ``option`` has named; what is taken out of one
    is kept in the cache, if ``check`` doesn't refuse it.

    :raises UsageError: it is a zImage or a package without a kernel.
    :raises SetupError: it can't be read or unpacked, or its kernel has no FADump.
    """
    try:
        with path.open("rb") as file:
            package = KernelPackage.of(file.read(64))
            if package is None and not is_zimage(path):
                return GivenKernel(path)
            file.seek(0)
            key = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise SetupError(f"{path} can't be read: {reason(error)}") from error
    entry = cache_directory() / "given" / f"{key}-{_VERSION}"
    with lock(f"given-{key}"):
        if not entry.exists():
            with new_entry(entry) as new:
                if package is None:
                    _take_from_zimage(path, new, f"the kernel in {option} {path}")
                else:
                    _take_from_package(path, package, new)
        try:
            check(entry / "vmlinux")
        except FadumpError:
            shutil.rmtree(entry)
            raise
    lacking = (entry / "lacking").read_text(encoding="utf-8").split() if package else ()
    return GivenKernel(entry / "vmlinux", tuple(sorted(entry.glob("modules/*.ko"))), tuple(lacking))


def is_zimage(path: Path) -> bool:
    """Whether an ELF file is the wrapper's, around a kernel."""
    with suppress(FormatError), open_elf(path) as elf:
        return elf.named(_ZIMAGE_SECTION) is not None
    return False


def _take_from_zimage(path: Path, entry: Path, name: str) -> None:
    with open_elf(path) as elf:
        packed = elf.named(_ZIMAGE_SECTION) or b""
    (entry / "vmlinux").write_bytes(_unpacked(packed, name))


def _take_from_package(path: Path, package: KernelPackage, entry: Path) -> None:
    require(f"unpacking {path.name}", {package.command[0]: package.package})
    with scratch_directory(private_directory(entry.parent).resolve(), ".new-") as files:
        command = [word.format(file=path.absolute(), directory=files) for word in package.command]
        log = log_path("unpack-kernel")
        log.unlink(missing_ok=True)
        with Progress.step(f"Unpacking {path.name}"):
            run(command, what=f"unpacking --kernel {path}", log=log)
        image, options = _image(path, files), _options(files)
        if options is not None and "CONFIG_FA_DUMP=y" not in options:
            raise SetupError(
                f"the kernel in --kernel {path} has no FADump, its configuration says CONFIG_FA_DUMP is not set: give "
                "another one, or build one with 'fadump kernel build'"
            )
        if is_zimage(image):
            _take_from_zimage(image, entry, f"the kernel in --kernel {path}")
        else:
            (entry / "vmlinux").write_bytes(image.read_bytes())
        found = _modules(files)
        (entry / "modules").mkdir()
        for number, module in enumerate(_in_order(found)):
            (entry / "modules" / f"{number:02}-{module}.ko").write_bytes(_module(found[module]))
        modules = {option for option in options or () if option.endswith("=m")}
        lacking = [name for name in MODULES if f"CONFIG_{name.upper()}=m" in modules and name not in found]
        (entry / "lacking").write_text("\n".join(lacking), encoding="utf-8")


def _image(path: Path, files: Path) -> Path:
    images = list(_plain_files(files, _IMAGES))
    if len(images) != 1:
        found = ", ".join(str(image.relative_to(files)) for image in images) or "none"
        raise UsageError(f"--kernel {path} has not one kernel (boot/vmlinux-VERSION) but {found}: give another package")
    return images[0]


def _options(files: Path) -> set[str] | None:
    configs = list(_plain_files(files, _CONFIGS))
    return {*configs[0].read_text(encoding="utf-8", errors="replace").splitlines()} if configs else None


def _modules(files: Path) -> dict[str, Path]:
    paths = _plain_files(files, ("lib/modules/*/**/*.ko*", "usr/lib/modules/*/**/*.ko*"))
    matches = ((_MODULE_NAME.fullmatch(path.name), path) for path in paths)
    return {match[1].replace("-", "_"): path for match, path in matches if match}


def _plain_files(files: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    """In ``files`` and in no other place that a link leads to."""
    for pattern in patterns:
        for path in files.glob(pattern):
            if path.is_file() and path.resolve() == path:
                yield path


def _in_order(found: dict[str, Path]) -> list[str]:
    order: list[str] = []

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in order or name in above or name not in found:
            return
        for needed in _depends(found[name]):
            add(needed, (*above, name))
        order.append(name)

    for name in MODULES:
        add(name, ())
    return order


def _depends(path: Path) -> list[str]:
    """The modules that must be there before this one."""
    with tempfile.TemporaryFile() as file:
        file.write(_module(path))
        with naming(path.name):
            modinfo = ElfFile(file).named(".modinfo") or b""
    values = [entry[len(b"depends=") :] for entry in modinfo.split(b"\0") if entry.startswith(b"depends=")]
    return [name.replace("-", "_") for name in b",".join(values).decode(errors="replace").split(",") if name]


def _module(path: Path) -> bytes:
    return _unpacked(path.read_bytes(), f"{path.name} of the kernel package")


def _unpacked(data: bytes, what: str) -> bytes:
    """A kernel or a module, however it is packed.

    :raises UsageError: it is damaged.
    """
    try:
        if data.startswith(b"\x28\xb5\x2f\xfd"):
            unpacked, whole = _from_zstd(data)
        elif data.startswith(b"\x1f\x8b"):
            gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
            unpacked, whole = gzip.decompress(data, _MOST_BYTES), gzip.eof
        elif data.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
            xz = lzma.LZMADecompressor()
            unpacked, whole = xz.decompress(data, _MOST_BYTES), xz.eof
        else:
            return data
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise UsageError(f"{what} can't be unpacked: {reason(error)}") from error
    if not whole:
        raise UsageError(f"{what} can't be unpacked: it is cut short")
    return unpacked


def _from_zstd(data: bytes) -> tuple[bytes, bool]:
    """What is packed, and whether its end was there."""
    zstd = zstandard.ZstdDecompressor().decompressobj()
    unpacked = bytearray()
    for start in range(0, len(data), _PIECE_BYTES):
        unpacked += zstd.decompress(data[start : start + _PIECE_BYTES])
        if zstd.eof or len(unpacked) > _MOST_BYTES:
            break
    return bytes(unpacked), zstd.eof
