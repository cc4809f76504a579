"""What somebody's gdb asks of a guest in a real QEMU: the answers that it gets, and what it can't disturb."""

import re
import socket

import pytest

from fadump.machine.qemu import served_guest
from fadump.machine.qemu.gdb_commands import Shown
from tests.machine.qemu.gdb_script import OUR_STOP, ROUNDS, Gdb, served
from tests.machine.qemu.small_kernel import (
    ARGUMENTS,
    CALL,
    HOLD,
    LINUX_BEGINS,
    PAGE,
    RETURNED,
    RTAS,
    TREE,
    build_kernel,
)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    return build_kernel(tmp_path_factory.mktemp("kernel"))


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


def test_what_the_machine_has_put_into_memory_is_hidden(kernel, monkeypatch):
    def script(port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            answers = [gdb.ask(f"m{start:x},8") for start in (TREE - 4, TREE + 2, TREE - 8, TREE + 4)]
            in_linear_map = gdb.ask(f"m{0xC << 60 | TREE:x},4")
            refused = [gdb.ask(f"M{start:x},2:5555") for start in (TREE, TREE - 1, TREE + 3)]
            return answers, in_linear_map, refused, gdb.ask(f"M{TREE + 4:x},2:5555")

    monkeypatch.setattr(served_guest, "shown_in", lambda _phase: Shown("little", {TREE: b"\1\2\3\4"}))
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
