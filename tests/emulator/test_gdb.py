"""A gdb of the caller's own, where their -gdb says: it has the guest as in QEMU, and the firmware goes on.

The guest is a kernel that calls firmware for ever: each of its calls has been served that has returned.
"""

import os
import signal
import socket
import subprocess
from contextlib import contextmanager, suppress

import pytest

from tests.emulator.running import SECONDS, Monitor, children, ended, program, running
from tests.machine.qemu.gdb_script import Gdb, free_port
from tests.machine.qemu.small_kernel import HOLD, LOADED, TREE, build_kernel

MACHINE = "pseries,x-vof=on,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"
QEMU = "/usr/bin/qemu-system-ppc64"
CALL = LOADED + 0x30
RETURNED = LOADED + 0x48
HOLDING = LOADED + 0xC
"""Where it waits as long as HOLD says so."""
COUNT = 31
"""The register that counts the calls which have returned."""
PASSED_ON = 30
FIRST_INSTRUCTION = 0x100
ROUNDS = 10
CALLS = 20
GOING = ("running", "debug")
"""QEMU's words for a guest that nobody holds: it is stopped for each of its calls."""
TRAP, INTERRUPTED = "T05thread:p01.01;", "T02thread:p01.01;"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    return build_kernel(tmp_path_factory.mktemp("kernel"))


@contextmanager
def emulator(directory, kernel, *words, device=None, early=()):
    """A running emulator with a gdb device, its caller's monitor, and the place where gdb attaches."""
    port = free_port()
    monitor = Monitor(*early)
    guest = ["-m", "256M", "-nodefaults", "-nographic", "-M", MACHINE, "-kernel", kernel, "-initrd", kernel]
    with running(directory, *guest, "-gdb", device or f"tcp::{port}", *words, monitor=monitor) as process:
        monitor.ask("query-status")  # QEMU is there, and so is the port
        yield process, monitor, port


def qemus_gdb(port):
    """A gdb at QEMU's own stub, which takes the port over at some time."""
    while True:
        with suppress(ConnectionError):
            gdb = Gdb(port)
            if gdb.ask("?") is not None:
                return gdb
            gdb.socket.close()


def break_at(gdb, address):
    assert gdb.ask(f"Z0,{address:x},4") == "OK"


def step_and_go(gdb):
    """As gdb goes on from its breakpoint at CALL."""
    assert gdb.ask(f"z0,{CALL:x},4") == "OK"
    assert gdb.ask("vCont;s:p1.1;c:p1.-1") == TRAP
    break_at(gdb, CALL)
    return gdb.ask("vCont;c:p1.-1")


def test_a_gdb_attaches_to_a_guest_that_runs_and_firmware_goes_on(tmp_path, kernel):
    with emulator(tmp_path, kernel) as (process, monitor, port):
        with Gdb(port) as gdb:
            assert gdb.ask("?") == INTERRUPTED
            break_at(gdb, CALL)
            assert gdb.ask("vCont;c") == TRAP
            counts = []
            for _round in range(ROUNDS):
                assert step_and_go(gdb) == TRAP
                assert (gdb.pc(), gdb.register(PASSED_ON)) == (CALL, 0)
                counts.append(gdb.register(COUNT))
            assert counts == list(range(counts[0], counts[0] + ROUNDS))
            assert gdb.ask("D;1") == "OK"
        assert monitor.ask("query-status")["status"] in GOING
        counts = []
        while len(set(counts)) < ROUNDS:
            with Gdb(port) as gdb:
                assert gdb.ask("?") == INTERRUPTED
                counts.append(gdb.register(COUNT))
        assert counts == sorted(counts)
        monitor.ask("query-status")  # reads what has piled up, behind which the next answer would be lost
        monitor.ask("quit")
        assert process.wait() == 0
        assert process.stderr.read() == b""


def test_a_held_guest_waits_for_its_gdb(tmp_path, kernel):
    with emulator(tmp_path, kernel, "-S") as (_process, monitor, port), Gdb(port) as gdb:
        assert gdb.ask("?") == INTERRUPTED
        assert gdb.pc() == FIRST_INSTRUCTION
        assert monitor.ask("query-status")["status"] == "prelaunch"
        break_at(gdb, LOADED)
        assert gdb.ask("vCont;c") == TRAP
        assert gdb.pc() == LOADED
        assert gdb.ask("D;1") == "OK"
        assert monitor.ask("query-status")["status"] in GOING


def test_a_gdb_that_leaves_a_held_guest_lets_it_go(tmp_path, kernel):
    with emulator(tmp_path, kernel, "-S") as (_process, monitor, port):
        with Gdb(port) as gdb:
            assert gdb.ask("?") == INTERRUPTED
            assert gdb.ask("D;1") == "OK"
        monitor.wait_for("RESUME")
        assert monitor.ask("query-status")["status"] in GOING


def test_a_connection_that_asks_nothing_changes_nothing(tmp_path, kernel):
    with emulator(tmp_path, kernel, "-S") as (_process, monitor, port):
        with Gdb(port):
            pass
        with Gdb(port) as gdb:
            assert gdb.ask("?") == INTERRUPTED
            assert gdb.pc() == FIRST_INSTRUCTION
        monitor.wait_for("RESUME")


def test_a_guest_that_gdb_has_can_be_let_go_by_the_monitor(tmp_path, kernel):
    with emulator(tmp_path, kernel, "-S") as (_process, monitor, port), Gdb(port) as gdb:
        gdb.ask("?")
        break_at(gdb, CALL)
        while gdb.pc() != CALL:  # gdb isn't told, and its question stops the guest again
            stops = monitor.events.count("STOP")
            monitor.ask("cont")
            monitor.wait_for("STOP", stops + 1)
        assert step_and_go(gdb) == TRAP


def test_gdb_is_told_what_the_monitor_does_while_it_waits(tmp_path, kernel):
    with emulator(tmp_path, kernel, "-S") as (_process, monitor, port), Gdb(port) as gdb:
        gdb.ask("?")
        break_at(gdb, LOADED)
        assert gdb.ask("vCont;c") == TRAP
        assert gdb.ask(f"M{HOLD:x},4:00000001") == "OK"  # a guest that makes no calls: a stop in one would be lost
        assert gdb.ask(f"z0,{LOADED:x},4") == "OK"
        break_at(gdb, HOLDING)
        assert gdb.ask("vCont;c") == TRAP
        assert gdb.ask(f"z0,{HOLDING:x},4") == "OK"
        monitor.ask("query-status")
        monitor.events.clear()
        gdb.send("vCont;c")
        monitor.wait_for("RESUME")
        monitor.ask("stop")
        assert gdb.receive() == INTERRUPTED
        assert monitor.ask("query-status")["status"] == "paused"
        gdb.send("vCont;c")
        assert gdb.interrupt() == INTERRUPTED


def test_a_reset_leaves_gdb_its_breakpoints(tmp_path, kernel):
    with emulator(tmp_path, kernel, "-S") as (_process, monitor, port), Gdb(port) as gdb:
        gdb.ask("?")
        break_at(gdb, LOADED)
        assert gdb.ask("vCont;c") == TRAP
        for _reset in range(ROUNDS):
            assert gdb.pc() == LOADED
            assert gdb.ask(f"z0,{LOADED:x},4") == "OK"
            break_at(gdb, RETURNED)
            assert gdb.ask("vCont;c") == TRAP
            assert (gdb.register(COUNT), gdb.register(PASSED_ON)) == (0, 0)
            assert gdb.ask(f"z0,{RETURNED:x},4") == "OK"
            break_at(gdb, LOADED)
            gdb.send("vCont;c")
            monitor.ask("system_reset")
            assert gdb.receive() == TRAP


def test_a_reset_of_a_guest_that_gdb_has_is_seen_to_when_it_lets_go(tmp_path, kernel):
    with emulator(tmp_path, kernel) as (_process, monitor, port), Gdb(port) as gdb:
        gdb.ask("?")
        monitor.ask("system_reset")
        break_at(gdb, CALL)
        assert gdb.ask("vCont;c") == TRAP
        assert gdb.register(COUNT) == 0
        assert step_and_go(gdb) == TRAP


def test_a_guest_goes_on_after_a_reset_even_in_one_of_its_calls(tmp_path, kernel):
    with emulator(tmp_path, kernel) as (_process, monitor, _port):
        for _reset in range(ROUNDS):
            monitor.wait_for("RESUME", CALLS)
            monitor.ask("system_reset")
            monitor.events.clear()
        monitor.wait_for("RESUME", CALLS)


@pytest.mark.parametrize("killed", ["nobody", "server"])
def test_a_socket_in_the_file_system_goes_with_the_guest(tmp_path, kernel, killed):
    place = tmp_path / "gdb"
    with emulator(tmp_path, kernel, device=f"unix:{place},server=on,wait=off") as (process, monitor, _port):
        with Gdb(place) as gdb:
            assert gdb.ask("?") == INTERRUPTED
        (guard,) = children(process.pid)
        (server,) = children(guard)
        if killed == "server":
            os.kill(server, signal.SIGKILL)
        else:
            monitor.ask("quit")
        assert process.wait() == 0
        assert ended(guard, server)
        assert not place.exists()


def test_a_port_that_is_taken_is_an_error_in_qemus_words(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ["-m", "256M", "-nodefaults", "-nographic", "-gdb", f"tcp:127.0.0.1:{taken.getsockname()[1]}"]
        ours = subprocess.run([program(tmp_path), *words], capture_output=True, check=False, timeout=SECONDS)
        qemus = subprocess.run(
            ["/usr/bin/qemu-system-ppc64", *words], capture_output=True, check=False, timeout=SECONDS
        )
    assert qemus.returncode == 1
    assert b"Address already in use" in qemus.stderr
    assert (ours.returncode, ours.stderr) == (qemus.returncode, qemus.stderr)


def test_a_firmware_that_gives_up_leaves_gdb_to_qemu(tmp_path, kernel):
    """gdb breaks the device tree, so that the firmware can't serve its kernel."""
    with emulator(tmp_path, kernel, "-S") as (process, monitor, port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            break_at(gdb, LOADED)
            assert gdb.ask("vCont;c") == TRAP
            assert gdb.ask(f"M{TREE:x},4:00000000") == "OK"
            assert gdb.ask(f"z0,{LOADED:x},4") == "OK"
            break_at(gdb, CALL)
            assert gdb.ask("vCont;c") == "W00"
        assert process.stderr.readline().startswith(b"fadump: the guest goes on without FADump: ")
        with qemus_gdb(port) as gdb:
            gdb.send("c")
            gdb.interrupt()
        monitor.ask("quit")
        assert process.wait() == 0


def test_a_stub_that_the_monitor_gives_to_somebody_else_is_theirs(tmp_path, kernel):
    with emulator(tmp_path, kernel) as (process, monitor, port):
        with Gdb(port) as gdb:
            gdb.ask("?")
        other = free_port()
        monitor.ask("human-monitor-command", **{"command-line": f"gdbserver tcp::{other}"})
        assert process.stderr.readline() == (
            b"fadump: the guest goes on without FADump: while waiting for the guest: QEMU has closed its gdb stub\n"
        )
        with Gdb(other) as gdb:
            gdb.ask("?")
            gdb.send("c")
            gdb.interrupt()
        assert process.poll() is None
