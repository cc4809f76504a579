"""``fadump mount``: the embedded machine, served by its firmware, and a mount of its files.

Its files are in :mod:`fadump.mount.files`; this is everything around them.
"""

import errno
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fadump.cycle import CycleFaults
from fadump.errors import SetupError, UsageError
from fadump.kit import packages
from fadump.machine.channel import Hello
from fadump.machine.embedded.machine import EmbeddedMachine
from fadump.mount.files import MachineFiles
from fadump.observer import Observer
from fadump.run.options import RunOptions, check_options
from fadump.run.parts import embedded_config, make_firmware
from fadump.session import Session

_FUSE = Path("/dev/fuse")
_LIBRARY = "FUSE_LIBRARY_NAME"
"""The variable that makes mfusepy use libfuse 3 on a host that also has libfuse 2."""
_UNMOUNT = ["fusermount3", "-u", "-z", "-q", "--"]


def mount(
    options: RunOptions,
    directory: Path,
    observer: Observer,
    *,
    on_mounted: Callable[[], None],
    on_failure: Callable[[str], None],
    host: bool = False,
) -> None:
    """Serve the machine's files at ``directory`` until they are unmounted, or a signal ends the process.

    ``on_mounted`` is called when they are there; ``on_failure``, with a sentence, when the machine has ended.
    ``host`` is for a mount namespace, see :mod:`fadump.mount.fuse`.

    :raises SetupError: FUSE or memory is missing, or an option can't work.
    :raises MachineError: the machine's first boot failed.
    """
    check_mountable(options)
    from fadump.mount import fuse  # noqa: PLC0415 - nothing else needs it

    _clear_dead_mount(directory)
    if not directory.is_dir():
        raise SetupError(f"{directory} is not a directory: make it, or name another one to mount on")
    if directory.resolve().is_mount() and not host:
        raise SetupError(
            f"something is mounted at {directory} already: unmount it (a machine: fusermount3 -u "
            f"{shlex.quote(str(directory))}), or name another directory"
        )
    with ExitStack() as ends:
        disk_fd = os.memfd_create("fadump-no-disk", os.MFD_CLOEXEC)
        ends.callback(os.close, disk_fd)
        nowhere = ends.enter_context(Path(os.devnull).open("wb"))
        machine = ends.enter_context(EmbeddedMachine(embedded_config(options), disk_fd, nowhere))
        session = Session(machine, make_firmware(options), observer)
        session.expect(Hello)
        files = MachineFiles(machine, session, options.crash_cpu, on_failure)
        if not host:  # with host, the mount ends with its namespace
            ends.enter_context(_unmounted_at_death(directory))
        fuse.serve(files, directory, host=host, on_mounted=on_mounted)


def check_mountable(options: RunOptions) -> None:
    """Refuse options that can't be mounted.

    :raises UsageError: with the reason.
    :raises SetupError: there is no FUSE.
    """
    check_options(options)
    if options.faults.cycle != CycleFaults():
        raise UsageError(
            "--fault power-cut, second-crash and release-twice are for fadump run: here, use the files for it"
        )
    _check_fuse()


def _check_fuse() -> None:
    packages.require("a mount of the machine's files", {"fusermount3": "fuse3"})
    try:
        os.close(os.open(_FUSE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise SetupError(
            f"{_FUSE} can't be opened ({error.strerror}), so nothing can be mounted: modprobe fuse, or let "
            "this user and this container have it"
        ) from error
    before = os.environ.get(_LIBRARY)
    os.environ[_LIBRARY] = "fuse3"
    try:
        import mfusepy  # type: ignore[import-untyped]  # noqa: F401, PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise SetupError(f"a mount needs the Python package {error.name}: install fadump[fuse]") from error
    except OSError as error:
        raise SetupError(f"a mount needs libfuse 3 ({error}): install what Debian has in fuse3") from error
    finally:
        del os.environ[_LIBRARY]
        if before is not None:
            os.environ[_LIBRARY] = before


def _clear_dead_mount(directory: Path) -> None:
    """Unmount a mount that a killed process has left at ``directory``, if any."""
    try:
        directory.stat()
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            subprocess.run([*_UNMOUNT, str(directory)], check=False)


@contextmanager
def _unmounted_at_death(directory: Path) -> Iterator[None]:
    """Have another process unmount ``directory`` if this one is killed, as by kill -9."""
    command = ["sh", "-c", 'read -r _; exec "$@"', "sh", *_UNMOUNT, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as waiting:
        try:
            yield
        finally:
            waiting.kill()
