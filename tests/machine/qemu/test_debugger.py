"""Somebody's gdb and the machine share one guest, in a real QEMU: what gdb sees, and what it can't disturb."""

import re
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from fadump.firmware.contract import Answer, FirmwareCall
from fadump.machine.contract import Called, GuestReset, Handover, LetGo, StopAt
from fadump.machine.qemu.gdb_commands import Shown
from fadump.machine.qemu.served_guest import ServedGuest
from fadump.memory.ranges import RangeSet
from tests.machine.qemu.gdb_script import SECONDS, Gdb, Served, free_port
from tests.machine.qemu.small_kernel import (
    ARGUMENTS,
    HOLD,
    LINUX_BEGINS,
    LOADED,
    RTAS,
    TOKEN,
    TREE,
    build_kernel,
    machine_with,
)

CALL, BRANCH, RETURNED = LOADED + 0x30, LOADED + 0x44, LOADED + 0x48
"""Instructions of the small kernel: where a call begins, where it is made, and where it returns to."""
PAGE = RTAS + 0x20
OUR_STOP = PAGE + 0x18
"""Where the machine stops its guest: behind the load, a comparison of four instructions and the way round."""
ROUNDS = 20


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    return build_kernel(tmp_path_factory.mktemp("kernel"))


@contextmanager
def served(kernel, **options):
    port = free_port()
    with machine_with(kernel, gdb_port=port, **options) as machine:
        yield Served(machine), port


def test_gdb_stops_the_guest_looks_at_it_and_lets_it_go(kernel):
    def script(port):
        with Gdb(port) as gdb:
            assert "multiprocess+" in gdb.ask("qSupported:multiprocess+;swbreak+")
            assert gdb.ask("?") == "T02thread:p01.01;"
            threads = gdb.ask("qfThreadInfo")
            memory = bytes.fromhex(gdb.ask(f"m{TREE:x},40"))
            assert gdb.ask(f"M{RTAS + 0x800:x},2:abcd") == "OK"
            assert gdb.ask("D;1") == "OK"
        return threads, memory

    with served(kernel) as (firmware, port):
        while not firmware.calls:
            firmware.serve()
        threads, memory = firmware.while_running(script, port)
        assert (threads, memory) == ("mp01.01", firmware.machine.memory.read(TREE, 0x40))
        assert firmware.machine.memory.read(RTAS + 0x800, 2) == b"\xab\xcd"
        before = firmware.calls
        while firmware.calls < before + ROUNDS:
            firmware.serve()


@pytest.mark.parametrize("goodbye", ["D", "D;1", "vKill;1"])
def test_a_gdb_that_is_told_to_leave_or_to_kill_lets_the_guest_go(kernel, goodbye):
    def script(port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            assert gdb.ask(goodbye) == "OK"

    with served(kernel) as (firmware, port):
        firmware.while_running(script, port)
        before = firmware.calls
        while firmware.calls < before + ROUNDS:
            firmware.serve()


def test_breakpoints_hit_in_between_calls_that_gdb_never_sees(kernel):
    def script(port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            assert gdb.ask(f"Z0,{CALL:x},4") == "OK"
            gdb.ask("vCont;c")
            return [(gdb.ask("vCont;c"), gdb.pc(), gdb.register(31)) for _round in range(1)] + [
                (step_and_go(gdb), gdb.pc(), gdb.register(31)) for _round in range(ROUNDS)
            ]

    def step_and_go(gdb):
        """As gdb goes on from a breakpoint."""
        assert gdb.ask(f"z0,{CALL:x},4") == "OK"
        assert gdb.ask("vCont;s:p1.1;c:p1.-1") == "T05thread:p01.01;"
        assert gdb.pc() == CALL + 4
        assert gdb.ask(f"Z0,{CALL:x},4") == "OK"
        return gdb.ask("vCont;c:p1.-1")

    with served(kernel) as (firmware, port):
        hits = firmware.while_running(script, port)
        assert {hit[:2] for hit in hits} == {("T05thread:p01.01;", CALL)}
        returned = [hit[2] for hit in hits[1:]]
        assert returned == list(range(returned[0], returned[0] + ROUNDS))
        assert firmware.machine.memory.read(ARGUMENTS + 12, 4) == (7).to_bytes(4, "big")
        assert firmware.machine.served.foreign_stops == 0


def test_steps_lead_over_a_call_that_the_firmware_serves(kernel):
    def script(port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            gdb.ask(f"Z0,{BRANCH:x},4")
            gdb.ask("vCont;c")
            gdb.ask(f"z0,{BRANCH:x},4")
            returned, path = gdb.register(31), []
            while not path or path[-1] != CALL:
                assert gdb.ask("vCont;s:p1.1;c:p1.-1") == "T05thread:p01.01;"
                path.append(gdb.pc())
            assert gdb.register(31) == returned + 1
            return path

    with served(kernel) as (firmware, port):
        path = firmware.while_running(script, port)
        assert path == [*range(PAGE, PAGE + 20, 4), OUR_STOP, RETURNED, RETURNED + 4, CALL]
        assert firmware.machine.memory.read(ARGUMENTS + 12, 4) == (7).to_bytes(4, "big")


def test_a_breakpoint_at_the_machines_own_is_gdbs_first(kernel):
    def script(port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            gdb.ask(f"Z0,{OUR_STOP:x},4")
            hits = []
            for _round in range(3):
                gdb.ask("vCont;c")
                hits.append((gdb.pc(), gdb.register(31)))
                assert gdb.ask(f"z0,{OUR_STOP:x},4") == "OK"
                assert gdb.ask("vCont;s:p1.1;c") == "T05thread:p01.01;"
                assert gdb.pc() == RETURNED
                assert gdb.ask(f"Z0,{OUR_STOP:x},4") == "OK"
            return hits

    with served(kernel) as (firmware, port):
        hits = firmware.while_running(script, port)
        first = hits[0][1]
        assert hits == [(OUR_STOP, first), (OUR_STOP, first + 1), (OUR_STOP, first + 2)]


def test_what_gdb_leaves_behind_goes_with_it_however_it_goes(kernel):
    def script(port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            for breakpoint_ in (f"0,{CALL:x},4", f"0,{BRANCH:x},4", f"2,{ARGUMENTS:x},4"):
                assert gdb.ask(f"Z{breakpoint_}") == "OK"
            gdb.send("vCont;c")
        with Gdb(port) as gdb:
            gdb.ask("?")
            gdb.ask("vCont;s:p1.1")
            gdb.socket.sendall(b"$m1000,")  # and gone

    with served(kernel) as (firmware, port):
        firmware.while_running(script, port)
        while not firmware.calls:  # it may not have come to its kernel yet
            firmware.serve()
        before = firmware.calls, firmware.machine.served.stops
        while firmware.calls < before[0] + ROUNDS:
            firmware.serve()
        assert firmware.machine.served.stops == before[1] + ROUNDS
        assert firmware.machine.served.foreign_stops == 0


HOSTILE = [
    b"\x03" * 50,
    b"+" * 5000 + b"-$$$#00#$",
    b"$g#00" * 20,
    b"$" + b"A" * 100_000,
    b"$vKill;1#6e$R00#92$!#21$bs#d5$qRcmd,71756974#xx$qRcmd,71756974#57$Qqemu.PhyMemMode:1#00",
    bytes(range(256)) * 40,
    b"$?#3f$vCont;#e0$vCont;x#58$vCont;s:p1.99#c8",
    b"$?#3f$Hgp1.99#50$p9999#59$mffffffffffffffff,ffff#9e$M0,4:zz#00$m0,fffff#a0$k#6b",
    b"$?#3f$c#63$c#63$g#67$?#3f",
    b"$?#3f$D#44$D#44$g#67$Z0,0,4#c5$z0,%x,4#00" % OUR_STOP,
    b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n",
]


@pytest.mark.parametrize("sent", HOSTILE, ids=range(len(HOSTILE)))
def test_a_broken_gdb_does_not_disturb_the_machine(kernel, sent):
    def script(port):
        for half in (len(sent), len(sent) // 2):
            with Gdb(port) as gdb:
                gdb.socket.sendall(sent[:half])
                gdb.socket.shutdown(socket.SHUT_WR)
                try:
                    while gdb.socket.recv(1 << 16):
                        pass
                except ConnectionError:
                    pass
        with Gdb(port) as gdb:
            assert re.fullmatch("T0[25]thread:p01.01;", gdb.ask("?"))
            assert gdb.ask("D") == "OK"

    with served(kernel) as (firmware, port):
        firmware.while_running(script, port)
        before = firmware.calls
        while firmware.calls < before + ROUNDS:
            firmware.serve()
        assert firmware.machine.served.foreign_stops == 0


def test_the_machines_breakpoint_can_not_be_taken_away(kernel):
    def script(port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            assert gdb.ask(f"z0,{OUR_STOP:x},4") == "OK"
            gdb.ask("D")

    with served(kernel) as (firmware, port):
        while firmware.calls < 1:
            firmware.serve()
        firmware.while_running(script, port)
        before = firmware.calls
        while firmware.calls < before + ROUNDS:
            firmware.serve()


def test_a_second_gdb_is_sent_away(kernel):
    def script(port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            with Gdb(port) as second:
                assert second.receive() is None
            assert gdb.ask("qC") == "QCp01.01"
            gdb.send("vCont;c")
            with Gdb(port) as second:
                assert second.receive() is None
            assert gdb.interrupt() == "T02thread:p01.01;"
        with Gdb(port) as next_one:
            assert next_one.ask("?")

    with served(kernel) as (firmware, port):
        firmware.while_running(script, port)


def test_whatever_is_asked_first_stops_the_guest(kernel):
    first = ["?", "qC", "Hg0", "p1f", "P1d=0000000000000000", f"m{CALL:x},4", f"M{ARGUMENTS + 16:x},1:00", "Z0,0,4"]

    def script(port):
        with Gdb(port) as gdb:
            values = gdb.ask("g")
        answers = {}
        for packet in [*first, f"G{values}"]:
            with Gdb(port) as gdb:
                answers[packet[0]] = gdb.ask(packet)
        return answers

    with served(kernel) as (firmware, port):
        answers = firmware.while_running(script, port)
    assert [answers.pop(kind) for kind in "GPMZH"] == ["OK"] * 5
    assert (answers["?"], answers["q"]) == ("T02thread:p01.01;", "QCp01.01")
    assert (len(answers["p"]), len(answers["m"])) == (16, 8)


def test_a_guest_that_never_calls_is_stopped_for_gdb(kernel):
    def script(port):
        with Gdb(port) as gdb:
            stopped = gdb.ask("?")
            gdb.send("vCont;c")
            return stopped, gdb.interrupt(), gdb.pc()

    with served(kernel) as (firmware, port):
        while not firmware.calls:
            firmware.serve()
        firmware.machine.memory.write(HOLD, b"\0\0\0\1")
        firmware.machine.press_reset()
        assert isinstance(firmware.machine.next_event(SECONDS), GuestReset)
        first, second, pc = firmware.while_running(script, port)
    assert (first, second) == ("T02thread:p01.01;", "T02thread:p01.01;")
    assert pc < CALL


def test_registers_of_a_big_endian_cpu_come_in_gdbs_order(kernel):
    def script(port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            gdb.ask(f"Z0,{RETURNED:x},4")
            gdb.ask("vCont;c")
            values = gdb.ask("g")
            assert gdb.ask(f"P1d={(0x1122334455667788).to_bytes(8, 'little').hex()}") == "OK"
            assert gdb.ask(f"G{'11' * 8}{values[16:]}")
            return values, gdb.pc(), gdb.register(0), gdb.register(29)

    with served(kernel) as (firmware, port):
        values, pc, first, changed = firmware.while_running(script, port)
        numbers = [int.from_bytes(bytes.fromhex(values[at : at + 16]), "little") for at in range(0, 34 * 16, 16)]
        assert (numbers[3], numbers[12], numbers[32], pc) == (ARGUMENTS, PAGE, RETURNED, RETURNED)
        assert len(values) == 2 * (34 * 8 + 4 + 8 + 8 + 4)  # 32 registers, pc, msr; cr, lr, ctr, xer
        assert int.from_bytes(bytes.fromhex(values[-40:-24]), "little") == RETURNED  # lr
        assert (first, changed) == (0x1111111111111111, 0)  # G has put the old ones back, but for r0


def test_registers_come_in_the_order_of_the_kernel_once_it_is_entered(tmp_path):
    call, new = CALL + 0x30, 0x1122334455667788

    def script(port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            before = gdb.pc()
            assert gdb.ask(f"M{HOLD:x},4:00000000") == "OK"
            gdb.ask(f"Z0,{call:x},4")
            gdb.ask("vCont;c")
            after = gdb.ask("p40"), gdb.ask("g")
            assert gdb.ask(f"P1d={new.to_bytes(8, 'big').hex()}") == "OK"
            return before, *after, gdb.ask("p1d")

    with served(build_kernel(tmp_path, LINUX_BEGINS)) as (firmware, port):
        firmware.machine.memory.write(HOLD, b"\0\0\0\1")
        before, pc, values, changed = firmware.while_running(script, port)
    assert before < call
    assert (pc, values[32 * 16 :][:16]) == (f"{call:016x}", f"{call:016x}")
    assert changed == f"{new:016x}"


def test_the_cpu_that_stops_is_the_one_that_is_asked_about_next(kernel):
    def script(port):
        with Gdb(port) as gdb:
            assert gdb.ask("?") == "T02thread:p01.01;"
            assert gdb.ask(f"Z0,{CALL:x},4") == "OK"
            assert gdb.ask("Hgp1.2") == "OK"
            other = gdb.pc()
            gdb.ask("vCont;c")
            return other, gdb.pc()

    with served(kernel, cpus=2) as (firmware, port):
        assert firmware.while_running(script, port) == (0x100, CALL)


def test_a_reset_is_none_of_gdbs_business(kernel):
    def script(port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            gdb.ask(f"Z0,{LOADED + 0x28:x},4")  # once in a boot
            gdb.ask("vCont;c")
            return gdb.pc()

    with served(kernel) as (firmware, port):
        while not isinstance(firmware.machine.next_event(60), Handover):
            pass
        with machine_reset_in_a_call(firmware):
            assert firmware.while_running(script, port) == LOADED + 0x28
        assert firmware.machine.served.foreign_stops == 0


@contextmanager
def machine_reset_in_a_call(firmware):
    """The machine is reset when its kernel calls for the fifth time."""
    answer = firmware.machine.answer

    def reset_once(call, outcome):
        if firmware.calls == 5:
            firmware.machine.reset(RangeSet())
        else:
            answer(call, outcome)

    firmware.machine.answer = reset_once
    firmware.machine.press_reset()
    firmware.machine.next_event(60)
    yield
    firmware.machine.answer = answer


def stays_silent(firmware):
    """The guest stands still for a while that is longer than it may be silent, and nothing comes of that."""
    firmware.silence_seconds = 0.2
    firmware.while_running(threading.Event().wait, 1)
    firmware.silence_seconds = 60
    assert firmware.events[-1] == Called()


def test_the_time_that_gdb_has_the_guest_does_not_count(kernel):
    def script(port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            before = time.monotonic(), firmware.machine.clock()
            threading.Event().wait(0.5)
            held = time.monotonic() - before[0], firmware.machine.clock() - before[1]
            gdb.ask("D")
            return held

    with served(kernel) as (firmware, port):
        started = time.monotonic(), firmware.machine.clock()
        held_seconds, counted_seconds = firmware.while_running(script, port)
        ended = time.monotonic(), firmware.machine.clock()
        assert (held_seconds >= 0.5, counted_seconds) == (True, 0)
        assert ended[0] - started[0] >= ended[1] - started[1] + held_seconds
        firmware.machine.call_after(0)
        while firmware.serve() != Called():
            pass


def test_the_guest_stands_still_for_gdb_at_the_handover(kernel):
    def script(port):
        with Gdb(port) as gdb:
            assert gdb.ask("?") == "T02thread:p01.01;"
            found = gdb.pc(), gdb.register(3), gdb.register(5)
            gdb.ask("D")
            return found

    with served(kernel, stop_at=StopAt.HANDOVER) as (firmware, port):
        assert firmware.machine.stand_still(StopAt.CRASH) is False
        handover = firmware.machine.next_event(60)
        assert isinstance(handover, Handover)
        assert firmware.machine.stand_still(StopAt.HANDOVER) is False
        firmware.machine.enter(handover, frozenset({TOKEN}))
        stays_silent(firmware)
        assert firmware.while_running(script, port) == (LOADED, TREE, 0)
        while not isinstance(firmware.serve(), FirmwareCall):
            pass


def test_the_guest_stands_still_for_gdb_in_its_last_call(kernel):
    def script(port):
        with Gdb(port) as gdb:
            assert gdb.ask("?") == "T05thread:p01.01;"
            found = gdb.pc(), gdb.register(3)
            gdb.send("vCont;c")
            with Gdb(port) as second:  # the machine goes on meanwhile
                second.receive()
            assert gdb.interrupt()
            return found

    with served(kernel, stop_at=StopAt.CRASH) as (firmware, port):
        while not isinstance(call := firmware.machine.next_event(60), FirmwareCall):
            firmware.machine.enter(call, frozenset({TOKEN}))
        assert firmware.machine.stand_still(StopAt.CRASH) is True
        stays_silent(firmware)
        let_go = LetGo()
        serve, firmware.serve = firmware.serve, lambda: resets(serve())

        def resets(event):
            if event == let_go:
                firmware.machine.answer(call, Answer(0))
            return event

        assert firmware.while_running(script, port) == (OUR_STOP, ARGUMENTS)
        assert let_go in firmware.events


def test_what_the_machine_has_put_into_memory_is_hidden(kernel, monkeypatch):
    def script(port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            answers = [gdb.ask(f"m{start:x},8") for start in (TREE - 4, TREE + 2, TREE - 8, TREE + 4)]
            in_linear_map = gdb.ask(f"m{0xC << 60 | TREE:x},4")
            refused = [gdb.ask(f"M{start:x},2:5555") for start in (TREE, TREE - 1, TREE + 3)]
            return answers, in_linear_map, refused, gdb.ask(f"M{TREE + 4:x},2:5555")

    monkeypatch.setattr(ServedGuest, "_shown", lambda _guest: Shown("little", {TREE: b"\1\2\3\4"}))
    with served(kernel) as (firmware, port):
        while not firmware.calls:
            firmware.serve()
        blob = firmware.machine.memory.read(TREE, 16)
        answers, in_linear_map, refused, written = firmware.while_running(script, port)
        shown = bytes(8) + b"\1\2\3\4" + blob[4:16]  # behind the kernel's code there is nothing
        assert [bytes.fromhex(answer) for answer in answers] == [shown[at : at + 8] for at in (4, 10, 0, 12)]
        assert in_linear_map == "01020304"
        assert (refused, written) == (["E0e"] * 3, "OK")
        assert firmware.machine.memory.read(TREE, 6) == blob[:4] + b"UU"


def test_gdb_is_told_of_the_machines_end(kernel):
    with served(kernel) as (firmware, port):

        def script():
            gdb = Gdb(port)
            gdb.ask("?")
            gdb.send("vCont;c")
            return gdb

        gdb = firmware.while_running(script)
    with gdb:
        assert (gdb.receive(), gdb.receive()) == ("W00", None)
