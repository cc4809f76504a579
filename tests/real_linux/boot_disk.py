"""Disks with a boot loader of their own, for pseries: an MBR, a PReP partition with the loader, a file system.

SLOF starts the ELF file that it finds in a partition of type 0x41 (slof/fs/packages/disk-label.fs). GRUB's comes from
Debian's modules by Debian's own grub-mkimage, which is run by QEMU's user mode.
"""

import struct
import subprocess

from tests.real_linux.foreign import ForeignProgram

MIB = 1 << 20
SECTOR_BYTES = 512
PREP, LINUX = 0x41, 0x83
MODULES = ["boot", "linux", "ext2", "part_msdos", "normal", "configfile", "echo"]
LOADER_ADDRESS = 0x20_0000


class Grub:
    """GRUB from the first of ``suites`` that has it whole, unpacked into ``directory``."""

    def __init__(self, directory, suites):
        self._directory = directory
        self._mkimage = ForeignProgram("grub-mkimage", directory / "root", suites, package="grub-ieee1275-bin")
        self.version = self._mkimage.version

    def core(self):
        """An image that reads grub/grub.cfg of its disk's second partition."""
        core = self._directory / "core.elf"
        modules = self._directory / "root/usr/lib/grub/powerpc-ieee1275"
        self._mkimage.run(
            "-O", "powerpc-ieee1275", "-d", modules, "-o", core, "-p", "(,msdos2)/grub", *MODULES
        )  # fmt: skip
        return core.read_bytes()

    def disk(self, path, files, cmdline, kernel, initrd=None, kind="ext2", free_mib=16):
        """A disk with what is in the directory ``files`` whose GRUB boots this kernel; returns ``path``.

        GRUB 2.06 can't read a file that is mostly a hole from ext4.
        """
        (files / "grub").mkdir(parents=True)
        configuration = f"linux /kernel {cmdline}\n"
        copies = [(kernel, "kernel")]
        if initrd is not None:
            configuration += "initrd /initrd\n"
            copies.append((initrd, "initrd"))
        for source, name in copies:
            subprocess.run(["cp", "--sparse=always", source, files / name], check=True)
        (files / "grub/grub.cfg").write_text(f"{configuration}boot\n")
        return write_disk(path, self.core(), files, kind, free_mib)


def write_disk(path, loader, files=None, kind="ext2", free_mib=0):
    """A disk with this boot loader, and with a file system of the directory ``files``; returns ``path``."""
    loader_sectors = -(-len(loader) // MIB) * MIB // SECTOR_BYTES
    first = MIB // SECTOR_BYTES
    end = first + loader_sectors
    entries = [_entry(PREP, first, loader_sectors)]
    with path.open("wb") as disk:
        disk.seek(first * SECTOR_BYTES)
        disk.write(loader)
    if files is not None:
        size_bytes = free_mib * MIB + sum(-(-file.lstat().st_size // MIB) * MIB for file in files.rglob("*"))
        start, end = end, end + size_bytes // SECTOR_BYTES
        entries += [_entry(LINUX, start, end - start)]
        command = ["mke2fs", "-q", "-F", "-t", kind, "-d", files, "-E", f"offset={start * SECTOR_BYTES}", path]
        subprocess.run([*command, f"{size_bytes // 1024}k"], check=True, stdin=subprocess.DEVNULL)
    with path.open("r+b") as disk:
        disk.write(bytes(446) + b"".join(entries).ljust(64, b"\0") + b"\x55\xaa")
        disk.truncate(end * SECTOR_BYTES)
    return path


def _entry(kind, first, sectors):
    return struct.pack("<B3xB3xII", 0x80 if kind == PREP else 0, kind, first, sectors)


def elf(code, address=LOADER_ADDRESS):
    """A boot loader that is no more than this code, at the address that GRUB has or another."""
    ident = b"\x7fELF\x01\x02\x01".ljust(16, b"\0")
    header = struct.pack(">HHIIIIIHHHHHH", 2, 20, 1, address, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    segment = struct.pack(">8I", 1, 0x1000, address, address, len(code), len(code), 7, 0x1000)
    return (ident + header + segment).ljust(0x1000, b"\0") + code


def boots_from(disk):
    """QEMU's arguments for a guest with this disk, which doesn't keep what is written to it.

    Linux has no driver for it: the guest's init looks for the dump's disk among virtio's.
    """
    drive = f"if=none,id=boot,file={disk},format=raw,snapshot=on"
    return ("-drive", drive, "-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=boot,bootindex=1")
