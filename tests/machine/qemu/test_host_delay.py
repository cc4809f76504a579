"""Time that a process waits for a processor, with real processes that share one."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fadump.machine.contract import Called, GuestReset, Handover
from fadump.machine.qemu.host_delay import HostDelay
from fadump.signals import time_limit
from tests.machine.qemu.small_kernel import HOLD, build_kernel, machine_with

SECONDS = 120
SPINS = "import sys; sys.stdout.write('.'); sys.stdout.flush()\nwhile True: pass"
SPINS_IN_THREADS = """
import hashlib, sys, threading
def spin(data=bytes(1 << 20)):
    while True:
        hashlib.sha256(data)
for _ in range(6):
    threading.Thread(target=spin).start()
sys.stdout.write('.'); sys.stdout.flush()
"""
SLEEPS = "import sys, time; sys.stdout.write('.'); sys.stdout.flush()\nwhile True: time.sleep(1000)"


@contextmanager
def started(program, cpu):
    command = ["taskset", "-c", str(cpu), sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.read(1) == b"."
            yield process.pid
        finally:
            process.kill()


def qemu():
    """The process of the only QEMU that is ours."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    (process,) = [child for child in children if Path(f"/proc/{child}/comm").read_text().startswith("qemu")]
    return process


@pytest.fixture
def cpu():
    return min(os.sched_getaffinity(0))


def test_two_that_want_one_processor_wait_and_one_that_sleeps_does_not(cpu):
    with ExitStack() as ends, time_limit(SECONDS):
        pids = [ends.enter_context(started(program, cpu)) for program in (SPINS, SPINS, SLEEPS)]
        delays = [HostDelay(pid) for pid in pids]
        while min(delay.seconds() for delay in delays[:2]) < 1:
            pass
        assert delays[2].seconds() < min(delay.seconds() for delay in delays[:2]) / 2


def test_threads_that_wait_at_the_same_time_wait_no_longer_than_time_passes(cpu):
    with started(SPINS_IN_THREADS, cpu) as pid, time_limit(SECONDS):
        began = time.monotonic()
        delay = HostDelay(pid)
        while delay.seconds() < 2:
            assert delay.seconds() <= time.monotonic() - began


def test_what_was_waited_before_the_first_look_does_not_count(cpu):
    with ExitStack() as ends, time_limit(SECONDS):
        pid, _other = [ends.enter_context(started(SPINS, cpu)) for _ in range(2)]
        first = HostDelay(pid)
        while first.seconds() < 1:
            pass
        assert HostDelay(pid).seconds() < first.seconds()


def test_a_process_that_is_gone_waits_no_more(cpu):
    with started(SPINS, cpu) as pid:
        delay = HostDelay(pid)
    before = delay.seconds()
    assert delay.seconds() == before


def test_a_machines_clock_stands_still_while_another_has_its_processor(tmp_path, cpu):
    """The guest is in a loop of its own; a program wants the same processor all the time."""
    with machine_with(build_kernel(tmp_path)) as machine, started(SPINS, cpu), time_limit(SECONDS):
        handover = machine.next_event(SECONDS)
        assert isinstance(handover, Handover)
        machine.enter(handover, frozenset())
        machine.memory.write(HOLD, (1).to_bytes(4, "big"))
        machine.press_reset()
        assert isinstance(machine.next_event(SECONDS), GuestReset)
        subprocess.run(["taskset", "-a", "-c", "-p", str(cpu), qemu()], check=True, capture_output=True)
        before = time.monotonic(), machine.clock()
        passed = counted = 0.0
        while passed - counted < 1:
            machine.call_after(0)
            assert isinstance(machine.next_event(SECONDS), Called)
            now = machine.clock() - before[1]
            assert now >= counted
            passed, counted = time.monotonic() - before[0], now
        machine.call_after(0.5)
        assert isinstance(machine.next_event(SECONDS), Called)
        assert machine.clock() - before[1] >= counted + 0.5
