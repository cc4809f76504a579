"""The guest's user space: an initramfs with busybox and the init that serves the guest channel.

docs/guest-channel.md has the protocol, ``data/init`` the guest's side of it. Everything of ours is under
/fadump in the guest, so it can be appended to another initramfs; the kernel is given ``rdinit=/fadump/init``.
"""

import gzip
import hashlib
import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from fadump.errors import SetupError
from fadump.kit.cache import cache_directory, lock, new_file
from fadump.kit.debian import fetch
from fadump.kit.kexec import kexec_program
from fadump.kit.newc import ALIGNMENT_BYTES, NewcWriter
from fadump.kit.package_file import DebianPackage, unpack

INIT_PATH = "/fadump/init"
"""In the guest; the kernel's command line needs ``rdinit=`` this."""

_BUSYBOX_IN_PACKAGE = ("usr/bin/busybox", "bin/busybox")
_CONSOLE_DEVICE = (5, 1)


def build_initramfs(extra: Path | None = None, modules: Sequence[Path] = ()) -> Path:
    """The initramfs, gzip compressed, from the cache if it is there; the first time it fetches busybox.

    ``extra`` is another initramfs, compressed or not, that ours is appended to: Linux unpacks one after the
    other. It is read anew each time. ``modules`` are the kernel's that our init loads first, in the order of their
    names.

    :raises SetupError: busybox can't be fetched, or ``extra`` can't be read.
    """
    init = (resources.files("fadump.kit") / "data" / "init").read_bytes()
    busybox = fetch("busybox-static")
    other = _read(extra) if extra else b""
    drivers = {path.name: _read(path) for path in modules}
    kexec = kexec_program()
    key = _key(init, kexec, busybox.path.name.encode(), other, *drivers.values())
    path = cache_directory() / "initramfs" / f"{key}.cpio.gz"
    if not path.exists():
        with lock(f"initramfs-{key}"), new_file(path) as new:
            archive = _archive({INIT_PATH: init, "/fadump/busybox": _busybox(busybox), "/fadump/kexec": kexec}, drivers)
            new.write_bytes(other + _padding(other) + gzip.compress(archive, mtime=0))
    return path


def _archive(programs: Mapping[str, bytes], drivers: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    writer = NewcWriter(stream)
    writer.add_directory("dev")
    writer.add_device("dev/console", "c", *_CONSOLE_DEVICE)
    writer.add_directory("fadump")
    for path, program in programs.items():
        writer.add_file(path.removeprefix("/"), program, 0o755)
    writer.add_directory("fadump/modules")
    for name, module in drivers.items():
        writer.add_file(f"fadump/modules/{name}", module)
    writer.close()
    return stream.getvalue()


def _padding(other: bytes) -> bytes:
    """Zero bytes between two archives: up to the alignment, and at least as many, which ends an lz4 stream."""
    return bytes(-len(other) % ALIGNMENT_BYTES + ALIGNMENT_BYTES) if other else b""


def _busybox(package: DebianPackage) -> bytes:
    directory = Path(tempfile.mkdtemp(prefix="fadump-busybox-"))
    try:
        unpack(package, directory)
        for name in _BUSYBOX_IN_PACKAGE:
            if (directory / name).is_file():
                return (directory / name).read_bytes()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    raise SetupError(f"{package.path} has no busybox at {' or '.join(_BUSYBOX_IN_PACKAGE)}; remove it and try again")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SetupError(f"the initramfs {path} can't be read: {error.strerror}") from error


def _key(*inputs: bytes) -> str:
    digest = hashlib.sha256()
    for part in inputs:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]
