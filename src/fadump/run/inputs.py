"""The files that a user gives to a run, checked before anything is fetched, built or started.

A kernel must be an ELF file for ppc64, the ``vmlinux`` of a build or a zImage around one, or a package with one. An
initramfs is what Linux unpacks (init/initramfs.c, lib/decompress.c). Files are recognized by their first bytes.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fadump.abi.elf import (
    BYTE_ORDERS,
    ELF_HEADER,
    ELFCLASS64,
    ELFMAG,
    EM_PPC64,
    MACHINES,
    PROGRAM_HEADER,
    PT_LOAD,
    SECTION_HEADER,
    ElfHeader,
    ProgramHeader,
)
from fadump.abi.layout import Layout
from fadump.errors import SetupError, UsageError, reason
from fadump.given import check_file
from fadump.kit.kernel_file import KernelPackage, is_zimage
from fadump.run.options import RunOptions

_COMPRESSED: Mapping[bytes, str] = MappingProxyType(
    {
        b"\x1f\x8b": "gzip",
        b"BZh": "bzip2",
        b"\x5d\x00\x00": "lzma",
        b"\xfd7zXZ\x00": "xz",
        b"\x89LZO\x00": "lzop",
        b"\x02\x21\x4c\x18": "lz4",
        b"\x28\xb5\x2f\xfd": "zstd",
    }
)
_OTHER_KERNELS: Mapping[bytes, str] = MappingProxyType({b"\x27\x05\x19\x56": "U-Boot's uImage", b"MZ": "an EFI image"})
_CPIO = (b"070701", b"070702")
_EM_PPC = 20
_HEAD_BYTES = 64
_MOST_NAMES_BYTES = 1 << 16
"""More than the section names of any kernel take."""
_WRAPPED = b".kernel:"
"""The prefix of the wrapper's own sections (arch/powerpc/boot/wrapper)."""
_GIVE = "give the vmlinux of a kernel for ppc64 or ppc64le, a zImage, or a package (.deb, .rpm) with one"


def check_inputs(options: RunOptions) -> None:
    """Refuse a file of the wrong kind, and to save as this host can't.

    :raises UsageError: it is something else.
    :raises SetupError: it isn't there, or can't be read; or a library isn't there.
    """
    if options.kernel is not None:
        check_kernel(options.kernel)
    if options.petitboot_kernel is not None:
        check_petitboot(options.petitboot_kernel)
    if options.initrd is not None:
        check_initramfs(options.initrd)
    if options.save is not None:
        options.save.check_library()


def check_kernel(path: Path) -> None:
    """Refuse a file that can't be booted as a kernel; the contents of a package or a zImage aren't checked.

    :raises UsageError: it is something else; the sentence names it and says what to give.
    :raises SetupError: it isn't there, or can't be read.
    """
    check_file("--kernel", path)
    if KernelPackage.of(_head(path)) is None and not is_zimage(path):
        check_vmlinux(path, f"--kernel {path}")


def check_petitboot(path: Path) -> None:
    """Refuse a file that can't be started in front of the system's kernel.

    :raises UsageError: it is something else, or a package.
    :raises SetupError: it isn't there, or can't be read.
    """
    check_file("--petitboot", path)
    if KernelPackage.of(_head(path)) is not None:
        raise UsageError(f"--petitboot {path} is a package: give the vmlinux or the zImage in it")
    if not is_zimage(path):
        check_vmlinux(path, f"--petitboot {path}")


def check_vmlinux(path: Path, name: str) -> None:
    """Refuse a file that is no vmlinux for ppc64; ``name`` is for errors.

    :raises UsageError: it is something else; the sentence says what to give.
    :raises SetupError: it isn't there, or can't be read.
    """
    head = _head(path)
    if head.startswith(ELFMAG) and len(head) == _HEAD_BYTES:
        _check_elf(path, head, name)
        return
    if packed := _beginning(head, _COMPRESSED):
        raise UsageError(f"{name} is packed by {packed}: {_GIVE}, unpacked")
    what = _beginning(head, _OTHER_KERNELS)
    raise UsageError(f"{name} is {what or 'no ELF file'}: {_GIVE}")


def _check_elf(path: Path, head: bytes, name: str) -> None:
    byte_order = BYTE_ORDERS.get(ELF_HEADER.number(head, "ei_data"))
    if byte_order is None:
        raise UsageError(f"{name} is no ELF file of either byte order: {_GIVE}")
    layout = ELF_HEADER.in_order(byte_order)
    header = layout.decode(head)
    if header.e_machine == _EM_PPC:
        raise UsageError(f"{name} is for 32-bit PowerPC, as a zImage's wrapper is: {_GIVE}")
    if (header.ei_class, header.e_machine) != (ELFCLASS64, EM_PPC64):
        machine = MACHINES.get((header.e_machine, byte_order), f"machine {header.e_machine}")
        raise UsageError(f"{name} is for {machine}: {_GIVE}")
    file_bytes = path.stat().st_size
    _check_segments(path, header, PROGRAM_HEADER.in_order(byte_order), file_bytes, name)
    names = SECTION_HEADER.in_order(byte_order)
    at = header.e_shoff + header.e_shstrndx * names.size_bytes
    if not header.e_shoff or at + names.size_bytes > file_bytes:
        return
    with path.open("rb") as file:
        file.seek(at)
        section = file.read(names.size_bytes)
        file.seek(min(names.number(section, "sh_offset"), file_bytes))
        if _WRAPPED in file.read(_MOST_NAMES_BYTES):
            raise UsageError(f"{name} is a wrapper without a packed kernel, or around another wrapper: {_GIVE}")


def _check_segments(path: Path, header: ElfHeader, layout: Layout[ProgramHeader], file_bytes: int, name: str) -> None:
    """Refuse a file that was not copied to its end."""
    end = header.e_phoff + header.e_phnum * layout.size_bytes if header.e_phnum else 0
    if end <= file_bytes:
        with path.open("rb") as file:
            file.seek(header.e_phoff if end else 0)
            segments = [*layout.decode_all(file.read(header.e_phnum * layout.size_bytes))]
        end = max((part.p_offset + part.p_filesz for part in segments if part.p_type == PT_LOAD), default=0)
    if end > file_bytes:
        raise UsageError(f"{name} is cut short, it has {file_bytes:,} bytes and should have {end:,} at least: {_GIVE}")


def check_runs_our_guest(path: Path, name: str) -> None:
    """Refuse a vmlinux whose byte order isn't that of our guest's programs; ``name`` is for errors.

    :raises UsageError: it is big-endian.
    """
    if BYTE_ORDERS.get(ELF_HEADER.number(_head(path), "ei_data")) == "big":
        raise UsageError(
            f"{name} is big-endian, and the programs of fadump's guest are little-endian: start it by 'fadump vm' or "
            "'fadump rehearse', with a system of its own"
        )


def check_initramfs(path: Path) -> None:
    """Refuse a file that Linux can't unpack.

    :raises UsageError: it is neither a cpio archive (newc) nor compressed in a way that Linux knows.
    :raises SetupError: it isn't there, or can't be read.
    """
    check_file("--initrd", path)
    head = _head(path).lstrip(b"\0")
    if not head.startswith(_CPIO) and _beginning(head, _COMPRESSED) is None:
        packers = ", ".join(_COMPRESSED.values())
        raise UsageError(f"--initrd {path} is no initramfs: give a cpio archive (newc), plain or packed by {packers}")


def _beginning(head: bytes, known: Mapping[bytes, str]) -> str | None:
    return next((name for magic, name in known.items() if head.startswith(magic)), None)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise SetupError(f"{path} can't be read: {reason(error)}") from error
