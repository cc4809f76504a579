import pytest

from fadump.linux.system import CrashedSystem
from tests.linux.state_kernel import StateKernel

LINE = b"root=/dev/sda fadump=on"


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_what_the_system_did_as_a_whole(byte_order):
    kernel = StateKernel([[{"pid": 1}], [{"pid": 7, "name": b"busy"}]], byte_order)
    kernel.add("saved_command_line", "Q", kernel.place(LINE + b"\0"))
    kernel.add("tainted_mask", "Q", 1 << 9)
    kernel.add("avenrun", "3Q", 2048 * 3, 1024, 0)
    kernel.add("__cpu_present_mask", "QQ", 7, 0)
    kernel.add_run_queues([3, 0], [7, None], [5_000_000_000, 4_000_000_000])
    found = CrashedSystem(kernel.dump()).activity
    assert (found.command_line, found.taint, found.taint_words) == (LINE.decode(), "W", ("W: the kernel had warned",))
    assert (found.load, found.uptime_ns) == ((3.0, 0.5, 0.0), 5_000_000_000)
    assert (found.online, found.offline, found.idle) == ((0, 1), (2,), (1,))
    assert [(queue.cpu, queue.runnable, queue.is_idle) for queue in found.run_queues] == [(0, 3, False), (1, 0, True)]
    assert found.run_queues[0].current.name == "busy" and found.run_queues[1].current is None
    assert found.unknown == ()


def test_what_is_not_known_is_named_and_harms_nothing_else():
    kernel = StateKernel([[{"pid": 1}]])
    kernel.add("tainted_mask", "Q", 0)
    kernel.add("saved_command_line", "Q", 8)
    found = CrashedSystem(kernel.dump()).activity
    assert (found.command_line, found.taint, found.load, found.uptime_ns) == (None, "", None, None)
    assert [sentence.partition(":")[0] for sentence in found.unknown] == ["run queues", "command line", "load"]


def test_a_run_queue_nowhere_is_named():
    kernel = StateKernel([[{"pid": 1}]])
    kernel.add_run_queues([1, 1], [1, 1])
    offsets = kernel.names["D__per_cpu_offset"]
    kernel.poke(offsets + 8, kernel.pack("Q", 1 << 50))
    found = CrashedSystem(kernel.dump()).activity
    assert [queue.cpu for queue in found.run_queues] == [0]
    assert any(sentence.startswith("run queue of CPU 1: ") for sentence in found.unknown)
