"""A user's disk images for a machine: as they are, or under a layer that takes all writes and leaves with the machine.

The layer is a qcow2 file that never has a name, so nothing is left of it, whatever ends and however.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

from fadump.errors import SetupError, UsageError, reason
from fadump.kit.packages import require
from fadump.kit.process import log_path, run
from fadump.machine.qemu.config import DiskFormat, Drive
from fadump.systems.volumes import unnamed_file

_QCOW2_MAGIC = b"QFI\xfb"
_HEAD_BYTES = 512
"""A sector, without which there is no disk."""
_PACKED: Mapping[bytes, str] = MappingProxyType(
    {
        b"\x1f\x8b": "gzip",
        b"BZh": "bzip2",
        b"\xfd7zXZ\x00": "xz",
        b"\x28\xb5\x2f\xfd": "zstd",
        b"PK\x03\x04": "zip",
    }
)
_FOREIGN: Mapping[bytes, str] = MappingProxyType({b"KDMV": "vmdk", b"vhdxfile": "vhdx"})
"""Formats of other machines' images, by qemu-img's names."""


@contextmanager
def open_drives(paths: Sequence[Path], *, snapshot: bool) -> Iterator[tuple[Drive, ...]]:
    """The images as drives; with ``snapshot`` nothing is written to them.

    A layer of a snapshot lasts as long as the context.

    :raises UsageError: a file is of another kind.
    :raises SetupError: an image isn't there or can't be opened.
    """
    with ExitStack() as stack:
        drives = [Drive(path, image_format(path, writable=not snapshot)) for path in paths]
        if snapshot:
            require("a machine that writes nothing", {"qemu-img": "qemu-utils"})
            drives = [_above(drive, stack) for drive in drives]
        yield tuple(drives)


def image_format(path: Path, *, writable: bool) -> DiskFormat:
    """How an image's bytes lie in its file: qcow2 if it begins as one, raw otherwise.

    :raises UsageError: the file is of another kind.
    :raises SetupError: the image isn't there or can't be opened.
    """
    if path.exists() and not (path.is_file() or path.is_block_device()):  # a pipe would wait for its other end
        raise SetupError(f"--disk {path} is {'a directory' if path.is_dir() else 'no file'}: give a disk image")
    try:
        with path.open("r+b" if writable else "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        hint = "" if not writable or not os.access(path, os.R_OK) else ": give --snapshot, and nothing is written to it"
        raise SetupError(f"--disk {path} can't be opened: {reason(error)}{hint}") from error
    if head.startswith(_QCOW2_MAGIC):
        return DiskFormat.QCOW2
    for magic, packer in _PACKED.items():
        if head.startswith(magic):
            raise UsageError(f"--disk {path} is packed by {packer}: unpack it, and give what was in it")
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            convert = f"qemu-img convert -O qcow2 {path} disk.qcow2"
            raise UsageError(f"--disk {path} is a {name} image: give a raw or qcow2 one, as '{convert}' makes of it")
    if len(head) < _HEAD_BYTES:
        raise UsageError(f"--disk {path} is shorter than a disk's first sector: give a disk image, raw or qcow2")
    return DiskFormat.RAW


def _above(base: Drive, stack: ExitStack) -> Drive:
    image = str(base.path.absolute())
    _run_qemu_img(base, "info", "--force-share", "--backing-chain", "-f", base.format, image)  # it notices a loop
    fd = stack.enter_context(unnamed_file(scratch_place()))
    layer = Drive(base.path, DiskFormat.QCOW2, fd)
    _run_qemu_img(base, "create", "-q", "-f", "qcow2", "-b", image, "-F", base.format, layer.file, pass_fds=[fd])
    return layer


def _run_qemu_img(base: Drive, *words: str, pass_fds: Sequence[int] = ()) -> None:
    run(
        ["setpriv", "--pdeathsig", "KILL", "--", "qemu-img", *words],
        what=f"making a snapshot of {base.path}",
        log=log_path("snapshot"),
        pass_fds=pass_fds,
    )


def scratch_place() -> Path:
    """Where what is made of a disk may grow large: /tmp is often memory."""
    named = os.environ.get("TMPDIR")
    return Path(named) if named else Path("/var/tmp")  # noqa: S108 - a directory of its own is made in it
