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
from fadump.kit.command_line import INIT_PATH
from fadump.kit.debian import fetch
from fadump.kit.kexec import kexec_program
from fadump.kit.newc import ALIGNMENT_BYTES, NewcWriter
from fadump.kit.package_file import DebianPackage, unpack

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
    other = read_input(extra) if extra else b""
    drivers = {f"fadump/modules/{path.name}": read_input(path) for path in modules}
    kexec = kexec_program()
    key = content_key(init, kexec, busybox.path.name.encode(), other, *drivers.values())
    path = cache_directory() / "initramfs" / f"{key}.cpio.gz"
    if not path.exists():
        with lock(f"initramfs-{key}"), new_file(path) as new:
            programs = {INIT_PATH: init, "/fadump/busybox": busybox_of(busybox), "/fadump/kexec": kexec}
            packed = gzip.compress(archive(programs, drivers), mtime=0)
            new.write_bytes(other + _padding(other) + packed)
    return path


def archive(programs: Mapping[str, bytes], files: Mapping[str, bytes]) -> bytes:
    """An initramfs with a console, ``programs`` and ``files`` that can't be run, by their paths."""
    stream = io.BytesIO()
    writer = NewcWriter(stream)
    writer.add_directory("dev")
    writer.add_device("dev/console", "c", *_CONSOLE_DEVICE)
    made = {"dev"}
    for path, content in {**programs, **files}.items():
        name = path.removeprefix("/")
        for parent in [*Path(name).parents][-2::-1]:
            if str(parent) not in made:
                writer.add_directory(str(parent))
                made.add(str(parent))
        writer.add_file(name, content, 0o755 if path in programs else 0o644)
    writer.close()
    return stream.getvalue()


def _padding(other: bytes) -> bytes:
    """Zero bytes between two archives: up to the alignment, and at least as many, which ends an lz4 stream."""
    return bytes(-len(other) % ALIGNMENT_BYTES + ALIGNMENT_BYTES) if other else b""


def busybox_of(package: DebianPackage) -> bytes:
    """The program in the package busybox-static.

    :raises SetupError: it has none.
    """
    directory = Path(tempfile.mkdtemp(prefix="fadump-busybox-"))
    try:
        unpack(package, directory)
        for name in _BUSYBOX_IN_PACKAGE:
            if (directory / name).is_file():
                return (directory / name).read_bytes()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    raise SetupError(f"{package.path} has no busybox at {' or '.join(_BUSYBOX_IN_PACKAGE)}; remove it and try again")


def read_input(path: Path) -> bytes:
    """What goes into an initramfs.

    :raises SetupError: it can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise SetupError(f"{path} can't be read for an initramfs: {error.strerror}") from error


def content_key(*inputs: bytes) -> str:
    """A name in the cache for what is made of these."""
    digest = hashlib.sha256()
    for part in inputs:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]
