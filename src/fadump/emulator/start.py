"""The start: this process becomes QEMU, and a child of it the firmware.

The child is a pair. One of the two serves the guest and ends when QEMU does; the other only waits for it, and ends QEMU
if the first is killed, as a guest would else stand still for ever at its next firmware call. QEMU's pid, signals and
exit status are thereby its own, and so is all that it inherits.
"""

import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from fadump.abi.platform import Platform
from fadump.emulator.command_line import parse
from fadump.emulator.guest import Guest, NotServedError, find_guest, is_probe
from fadump.emulator.rewrite import monitor_configuration, rewrite
from fadump.errors import FadumpError, SetupError, UsageError
from fadump.machine.qemu.config import DEFAULT_QEMU
from fadump.machine.qemu.process import guest_ram_file
from fadump.machine.qemu.started import StartedQemu
from fadump.printable import printable
from fadump.signals import ENDING

EMULATOR_VARIABLE = "FADUMP_QEMU"
"""The environment's name for the QEMU to be."""
NOT_FOUND_STATUS = 127
_NEEDED_PACKAGE = "qemu.qmp"
_QUIT = b'{"execute": "qmp_capabilities"} {"execute": "quit"}\n'


def main() -> NoReturn:
    """Become QEMU with the words of this command, and with FADump firmware where that can be."""
    words = sys.argv[1:]
    try:
        emulator = find_emulator(os.environ)
    except SetupError as error:
        _say(str(error))
        sys.exit(NOT_FOUND_STATUS)
    os.execv(emulator, [emulator, *_words_with_firmware(words)])  # noqa: S606 - no shell is wanted


def find_emulator(environment: Mapping[str, str]) -> str:
    """The real QEMU: what the environment names, or else the first of its name in PATH that is not this command.

    :raises SetupError: there is none.
    """
    name = environment.get(EMULATOR_VARIABLE, DEFAULT_QEMU)
    ours = Path(sys.argv[0])
    candidates = [Path(name)] if "/" in name else [Path(part) / name for part in os.get_exec_path(environment)]
    for candidate in candidates:
        is_ours = ours.exists() and candidate.exists() and candidate.samefile(ours)
        if not is_ours and candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    raise SetupError(f"no {name} on this machine: install qemu-system-ppc, or name another QEMU in {EMULATOR_VARIABLE}")


def _words_with_firmware(words: Sequence[str]) -> Sequence[str]:
    """The command line for QEMU; if it has firmware, that is started."""
    try:
        options = parse(words)
        if is_probe(options):
            return words
        guest = find_guest(options)
        _check_packages()
        _check_kernel(guest)
        return _start_firmware(words, guest)
    except NotServedError as error:
        _say(f"QEMU runs without FADump: {error}")
    except UsageError:  # which QEMU says in its own words
        pass
    except FadumpError as error:
        _say(f"QEMU runs without FADump: {error}")
    return words


def _check_packages() -> None:
    package = _NEEDED_PACKAGE.partition(".")[0]
    if find_spec(package) is None or find_spec(_NEEDED_PACKAGE) is None:
        raise SetupError(f"that needs the Python package {_NEEDED_PACKAGE}: install fadump[qemu]")


def _check_kernel(guest: Guest) -> None:
    """:raises SetupError: it can't be followed into its kernel."""
    if guest.platform is Platform.POWERNV and guest.kernel is not None:
        from fadump.machine.qemu.powernv import PowernvBoard  # noqa: PLC0415 - a slow start, which the other has not

        PowernvBoard(guest.kernel)


def _start_firmware(words: Sequence[str], guest: Guest) -> list[str]:
    """:raises SetupError: the host has no room for the guest's memory.
    :raises UsageError: the caller's gdb can't have its place.
    """
    listener = None if guest.gdb is None else guest.gdb.listen()
    ram_fds = tuple(guest_ram_file(backend.size_bytes, guest.ram_directory) for backend in guest.backends)
    pairs = {name: socket.socketpair() for name in ("gdb", "qmp", "life")}
    theirs = {name: pair[1].detach() for name, pair in pairs.items()}
    ours = {name: pair[0] for name, pair in pairs.items()}
    life = ours.pop("life")
    started = StartedQemu(
        ram_fds,
        ours,
        life,
        guest.reset_address,
        is_held=guest.is_held,
        ends_at_reboot=guest.ends_at_reboot,
        listener=listener,
        gdb_device="" if guest.gdb is None else guest.gdb.text,
    )
    started.hold()
    if os.fork() == 0:
        sockets = [life, *ours.values(), *([] if listener is None else [listener])]
        _keep_only({*ram_fds, *(end.fileno() for end in sockets)}, stderr=not guest.is_daemon)
        sys.exit(_guard(guest, started))
    configuration_fd = os.memfd_create("fadump-qemu-configuration")
    os.write(configuration_fd, monitor_configuration(theirs["qmp"]).encode())
    for fd in (*ram_fds, *theirs.values(), configuration_fd):
        os.set_inheritable(fd, True)
    return rewrite(words, guest, ram_fds, theirs["gdb"], configuration_fd)


def _keep_only(fds: AbstractSet[int], *, stderr: bool) -> None:
    """What QEMU inherits ends with QEMU: whoever waits for that must not have to wait for us."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1) if stderr else (0, 1, 2):
        os.dup2(nowhere, fd)
    above = 3
    for fd in sorted(fds):
        os.closerange(above, fd)
        above = fd + 1
    os.closerange(above, os.sysconf("SC_OPEN_MAX"))


def _guard(guest: Guest, started: StartedQemu) -> int:
    """Serve the guest in a process of its own, and end QEMU if that is killed."""
    os.setsid()
    for number in ENDING:  # we end when QEMU does, which may have a use for them
        signal.signal(number, signal.SIG_IGN)
    pid = os.fork()
    if pid == 0:
        from fadump.emulator.serve import serve  # noqa: PLC0415 - a slow start, and QEMU starts meanwhile

        return serve(guest, started)
    if started.listener is not None:
        started.listener.close()
    _pid, status = os.waitpid(pid, 0)
    if status:
        if guest.gdb is not None:
            guest.gdb.forget()
        with suppress(OSError):
            started.connections["qmp"].send(_QUIT)
        select.select([started.life], [], [])  # QEMU may not read what comes from an end that is closed
    return 0


def _say(sentence: str) -> None:
    print(printable(f"fadump: {sentence}"), file=sys.stderr)
