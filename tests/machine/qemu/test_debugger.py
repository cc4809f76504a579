"""Somebody's gdb and the machine share one guest, in a real QEMU: whose turn it is, and that neither loses a stop."""

import threading
import time
from contextlib import contextmanager

import pytest

from fadump.firmware.contract import Answer, FirmwareCall
from fadump.machine.contract import Called, GuestReset, Handover, LetGo, StopAt
from fadump.memory.ranges import RangeSet
from tests.machine.qemu.gdb_script import OUR_STOP, ROUNDS, SECONDS, Gdb, served, stops_at_reads
from tests.machine.qemu.small_kernel import (
    ARGUMENTS,
    BRANCH,
    CALL,
    HOLD,
    LOADED,
    PAGE,
    RETURNED,
    TOKEN,
    TREE,
    build_kernel,
)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    return build_kernel(tmp_path_factory.mktemp("kernel"))


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


def test_a_watchpoint_is_gdbs(kernel):
    with served(kernel) as (firmware, port):
        while not firmware.calls:
            firmware.serve()
        before = firmware.calls
        hits = firmware.while_running(stops_at_reads, port, ARGUMENTS)
        assert hits == [(f"T05thread:p01.01;rwatch:{ARGUMENTS:016x};", PAGE + 4)] * 3
        assert firmware.calls >= before + 2  # between them
        assert firmware.machine.served.foreign_stops == 0


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
