"""Debian's kexec-tools for the guest: ``kexec -l``, by which petitboot loads a kernel.

kexec_load(2) leaves to user space where a kernel goes and what its device tree says, which takes a whole program.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from fadump.errors import SetupError
from fadump.kit.cache import cache_directory, lock, new_entry
from fadump.kit.debian import ARCHITECTURE, fetched_with_dependencies
from fadump.kit.package_file import unpack

KEXEC_PATH = "/usr/sbin/kexec"

_PACKAGE = "kexec-tools"
_SUITES = ("bookworm", "trixie", "forky", "sid")
"""The older one needs less beside itself."""
_PROGRAM_IN_PACKAGE = ("sbin/kexec", "usr/sbin/kexec")
_LOADER = "ld64.so.2"
_LIBRARIES = ("libc.so.6", "libz.so.1", "liblzma.so.5", "libzstd.so.1")
"""Those of the program that a suite's may need; not each suite's needs all."""


def kexec_tools() -> Mapping[str, bytes]:
    """The program and what it runs with, by their places in an initramfs; fetched the first time.

    :raises SetupError: it can't be fetched, or isn't what was expected.
    """
    directory = cache_directory() / _PACKAGE
    with lock(_PACKAGE):
        if not directory.exists():
            with new_entry(directory) as entry:
                _fetch_into(entry)
    return {_place(path.name): path.read_bytes() for path in sorted(directory.iterdir())}


def _fetch_into(entry: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="fadump-kexec-") as name:
        files = Path(name)
        _unpack_from_first(files)
        programs = [files / path for path in _PROGRAM_IN_PACKAGE if (files / path).is_file()]
        wanted = [*programs[:1], *(path for path in files.rglob("*.so.*") if path.name in (_LOADER, *_LIBRARIES))]
        for path in wanted:
            if path.is_file():  # a link may lead out of the package
                (entry / path.name).write_bytes(path.read_bytes())
    for needed in ("kexec", _LOADER):
        if not (entry / needed).is_file():
            raise SetupError(f"Debian's {_PACKAGE} for {ARCHITECTURE} has no {needed}")


def _unpack_from_first(files: Path) -> None:
    """From the first suite that has all of it: a mirror may lack some of a suite's packages."""
    failed: list[SetupError] = []
    for suite in _SUITES:
        try:
            with fetched_with_dependencies(_PACKAGE, ARCHITECTURE, [suite]) as found:
                for package in found:
                    unpack(package, files)
        except SetupError as error:
            failed.append(error)
        else:
            return
    raise failed[0]


def _place(name: str) -> str:
    match name:
        case "kexec":
            return KEXEC_PATH
        case "ld64.so.2":
            return f"/lib64/{name}"
        case _:
            return f"/lib/powerpc64le-linux-gnu/{name}"
