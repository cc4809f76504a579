import contextlib
import json
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.cli import check, dmesg, show, show_view
from fadump.errors import FadumpError
from fadump.linux.summary import summarize
from fadump.linux.system import CrashedSystem
from fadump.memory.devicetree import DeviceTree, Node
from fadump.printable import MOST_LISTED
from tests.linux import task_kernel
from tests.linux.crashed_kernel import INNER, OUTER, crashed_kernel
from tests.linux.kernel_builder import PAGE_OFFSET, VMEMMAP_START, Log, Message, add_kallsyms
from tests.linux.smp_builder import SmpKernel
from tests.linux.task_kernel import KERNEL_THREAD, TaskKernel
from tests.linux.test_pages import add_sections
from tests.linux.test_symbols import vmlinux
from tests.vmcore.core_builder import Load, build_core, note, prstatus


@pytest.fixture
def run(run_command):
    return partial(run_command, show)


def test_what_crashed_when_and_why(run):
    status, out, err = run(crashed_kernel().core())
    assert (status, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[:6] == [
        "Kernel   Linux 6.12.0-fake, ppc64le",
        "Crashed  2026-11-23 21:22:15 UTC, 0.902 s after boot",
        "Panic    sysrq triggered crash",
        "Cause    sysrq: Trigger a crash",
        "Dump     elf, 1.0 MiB of 1.0 MiB of memory, pages of 64 KiB, radix MMU",
        "CPUs     1 online, crashed on CPU 0",
    ]
    assert "CPU 0, which crashed" in lines
    assert any(line.endswith("inner+0x4/0x1000") for line in lines)
    assert any(line.endswith("outer+0x8/0x100") for line in lines)
    assert any(line.split()[:2] == ["free", "0.1"] for line in lines)
    assert any(line.split()[:2] == ["kernel", "0.9"] for line in lines)


def test_the_logs_end_stands_above_the_stacks_with_its_first_sign_marked(run):
    lines = [line.rstrip() for line in run(crashed_kernel().core())[1].splitlines()]
    start = lines.index("The log's end, and the first sign of it")
    assert lines[start + 1 : start + 4] == [
        "  [    0.000000] Linux version 6.12.0-fake",
        "> [    0.900000] sysrq: Trigger a crash",
        "  [    0.901849] Kernel panic - not syncing: sysrq triggered crash",
    ]
    assert start < lines.index("CPU 0, which crashed") < next(n for n, line in enumerate(lines) if "Physical" in line)


def test_of_a_long_log_a_few_messages_are_shown(run):
    kernel = crashed_kernel(with_log=False)
    texts = [b"early", *([b"calm"] * 20), b"BUG: trouble", *([b"more"] * 20), b"late"]
    Log(kernel, [Message(text) for text in texts], count_bits=7, text_bits=14)
    out = run(kernel.core())[1]
    assert "  ... 18 messages before\n" in out and "  ... 13 messages after (fadump dmesg)\n" in out
    assert (out.count("] calm"), out.count("> [    0.000000] BUG: trouble"), out.count("] more")) == (3, 1, 8)
    assert "early" not in out and "late" not in out
    verbose = run(kernel.core(), "-v")[1]
    assert verbose.count("] calm") == 20 and "early" in verbose and "late" in verbose


def test_idle_cpus_are_one_line_and_stack_pointers_are_for_those_who_ask(run):
    kernel = crashed_kernel(with_symbols=False)
    add_kallsyms(kernel, {"T_stext": PAGE_OFFSET, "Tdo_idle": INNER, "Touter": OUTER, "Tend": OUTER + 0x100})
    shown, verbose = run(kernel.core())[1], run(kernel.core(), "-v")[1]
    assert "1 CPU: idle (-v shows where)\n" in shown and "do_idle" not in shown
    assert "do_idle+0x4" in verbose and "idle (" not in verbose
    pointer = f"{kernel.cpus[0]['gpr1']:016x} {INNER + 4:016x} "
    assert pointer in verbose and pointer not in run(crashed_kernel().core())[1]


@pytest.mark.parametrize(
    ("kernel", "shown"),
    [
        (SmpKernel(1, online=0b1111, crashing=2), "4 online, registers of 1, crashed on CPU 2"),
        (SmpKernel(2, online=0b1, crashing=0), "1 online, registers of 2"),
        (SmpKernel(4, online=0b1101, present=0b1111, owners=[0, 1, None, 3]), "3 online, 1 offline"),
        (SmpKernel(3), "registers of 3"),
    ],
)
def test_the_kernels_mask_says_how_many_cpus_were_online(run, kernel, shown):
    _status, out, _err = run(kernel.core())
    assert f"CPUs     {shown}" in [line.rstrip() for line in out.splitlines()]


def test_pages_of_which_no_structure_can_be_read_are_told(run):
    kernel = crashed_kernel()
    add_sections(kernel, {0: VMEMMAP_START + 0x4000_0000})
    status, _out, err = run(kernel.core())
    assert status == 1
    assert "pages: the kernel's tables say where their structures are, but none can be read" in err


def test_what_was_erased_on_purpose_is_told(run):
    erased = b"erase task_struct.comm 16\n"
    data = build_core([Load(0x1000, bytes(0x2000))], [note("ERASEINFO", 0, erased)])
    assert "some data erased on purpose" in run(data)[1]
    assert "Erased   task_struct.comm\n" in run(data)[1]
    many = b"".join(b"erase v%d size 8\nerase v%d nullify\n" % (number, number) for number in range(10))
    shown = run(build_core([Load(0x1000, bytes(0x2000))], [note("ERASEINFO", 0, many + b"\xff\0erase")]))[1]
    assert f"Erased   {', '.join(f'v{number} (2 times)' for number in range(8))}, 2 more\n" in shown
    assert json.loads(run(data, "--json")[1])["erased"] == erased.decode()
    assert json.loads(run(crashed_kernel().core(), "--json")[1])["erased"] is None


def test_the_same_as_json(run):
    status, out, _err = run(crashed_kernel().core(), "--json")
    found = json.loads(out)
    assert status == 0
    assert (found["kind"], found["release"], found["mmu"], found["page_size"]) == (
        "dump",
        "6.12.0-fake",
        "radix",
        0x10000,
    )
    assert (found["panic"], found["crash_time"], found["uptime_ns"]) == ("sysrq triggered crash", 1795468935, 901849198)
    (cpu,) = found["cpus"]
    assert (cpu["number"], cpu["crashed"], cpu["registers"]["nip"]) == (0, True, INNER + 4)
    assert [frame["symbol"] for frame in cpu["backtrace"]] == ["inner", "outer"]
    assert found["pages"]["free"] == 1 and found["pages"]["cache"] == 1
    assert found["memory"][0]["stored"] == 1 << 20


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_bars_fit_the_terminal_and_keep_their_proportion(run, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    _status, out, _err = run(crashed_kernel().core())
    lines = [line.rstrip() for line in out.splitlines()]
    (kernel,) = (line for line in lines if line.startswith("kernel"))
    (free,) = (line for line in lines if line.startswith("free"))
    assert len(kernel) <= columns and "…" not in kernel
    assert 0 < free.count("█") < kernel.count("█") <= 60


def test_a_dump_without_registers_says_so(run):
    kernel = crashed_kernel()
    kernel.cpus = []
    assert "CPUs     1 online, the dump has no registers of any\n" in run(kernel.core())[1]


def test_what_is_missing_is_named_and_the_rest_is_shown(run):
    status, out, err = run(crashed_kernel(with_log=False, with_symbols=False).core())
    assert status == 1
    assert "symbols: the dump's VMCOREINFO doesn't have SYMBOL(kallsyms_num_syms)" in err
    assert "log: the dump's VMCOREINFO doesn't have SYMBOL(prb)" in err
    assert "A CPU of unknown number" in out and "radix MMU" in out


def test_a_dump_without_vmcoreinfo_has_memory_and_registers(run):
    status, out, err = run(build_core([Load(0x1000, bytes(0x2000))], [prstatus({"nip": 0x1234})]))
    assert status == 1
    assert err == (
        "fadump: the kernel: the dump has no VMCOREINFO, nor was it found in memory: "
        "without it, nothing of the kernel can be found\n"
    )
    assert "0x1000..0x3000" in out and "NIP 0000000000001234" in out
    assert "CPUs     registers of 1\n" in out and "vmlinux" not in out


def test_a_dump_of_another_machine_shows_what_its_format_has(run):
    info = note("VMCOREINFO", 0, b"OSRELEASE=6.1.0-13-amd64\nPAGESIZE=4096\n")
    status, out, err = run(build_core([Load(0x1000, bytes(0x2000))], [note("CORE", 1, bytes(336)) + info], machine=62))
    assert status == 1
    assert err == "fadump: the kernel: this is a dump of x86_64: only the Linux of ppc64 can be looked into\n"
    assert out.startswith("Kernel   Linux 6.1.0-13-amd64, x86_64\n") and "0x1000..0x3000" in out


def test_who_crashed_and_on_what(run):
    kernel = crashed_kernel(with_log=False)
    texts = [b"Kernel panic - not syncing: no", b"CPU: 0 PID: 74 Comm: sh Not tainted 6", b"Hardware name: a box of:x"]
    Log(kernel, [Message(text) for text in texts])
    _status, out, _err = run(kernel.core())
    assert "Task     sh, PID 74\n" in out and "Machine  a box of:x\n" in out
    found = json.loads(run(kernel.core(), "--json")[1])
    assert (found["task"], found["hardware"]) == ({"pid": 74, "name": "sh"}, "a box of:x")


def test_a_terminal_is_told_nothing_by_a_dump(run):
    kernel = crashed_kernel(with_log=False, with_symbols=False)
    texts = [b"Kernel panic - not syncing: \x1b[2J", b"CPU: 0 PID: 74 Comm: \x1b]0; Not tainted"]
    Log(kernel, [Message(text) for text in texts])
    kernel.facts["OSRELEASE"] = "6.12\x1b"
    out = run(kernel.core())[1]
    assert "\x1b" not in out and out.count("\\x1b") == 5
    out = run(DeviceTree(Node("", {"na\x1bme": b""}, [Node("no\x1bde", {}, [])]), []).encode())[1]
    assert "\x1b" not in out and out.count("\\x1b") == 2


def test_without_a_panic_the_last_message_is_not_the_crash(run):
    kernel = crashed_kernel(with_log=False)
    Log(kernel, [Message(b"login:", 5_000_000)])
    _status, out, _err = run(kernel.core())
    assert "Crashed  2026-11-23 21:22:15 UTC, last message 0.005 s after boot\n" in out
    assert "Panic    none in the log: something else led the kernel to the dump\n" in out


@pytest.mark.parametrize(
    ("trap", "sentence"),
    [
        (0x100, "none: a system reset interrupt (NMI) led straight to the dump"),
        (0x300, "none: a bad data access led straight to the dump"),
        (0x1234, "none: interrupt 0x1234 led straight to the dump"),
        (0, "none in the log: something else led the kernel to the dump"),
        (None, "none in the log: the kernel may have had no part in its end"),
    ],
)
def test_an_end_without_panic_is_told_by_the_interrupt(trap, sentence):
    kernel = crashed_kernel(with_log=False)
    Log(kernel, [Message(b"BUG: no panic")])
    kernel.cpus[0] |= {"trap": trap or 0, "dar": 0x18}
    with CrashedSystem(kernel.dump()) as system:
        summary = summarize(system)
    if trap is None:
        (cpu,) = summary.cpus
        summary = replace(summary, cpus=(replace(cpu, crashed=False),))
    assert dict(show_view.head(summary))["Panic"] == sentence


def test_the_interrupt_of_a_crash_is_shown_with_its_address(run):
    kernel = crashed_kernel()
    kernel.cpus[0] |= {"trap": 0x300, "dar": 0x18, "dsisr": 0x4000_0000}
    assert "\n  interrupt 0x300  DAR 0000000000000018  DSISR 40000000\n" in run(kernel.core())[1]
    kernel.cpus[0] |= {"trap": 0x100}
    assert "\n  interrupt 0x100\n" in run(kernel.core())[1]
    kernel.cpus[0] |= {"trap": 0}
    assert "interrupt" not in run(kernel.core())[1]


@pytest.mark.parametrize("image", [b"text", vmlinux(build_id=b"another"), vmlinux().replace(b"_stext", b"_xtext")[:64]])
def test_a_vmlinux_that_does_not_fit_is_one_sentence_and_the_dumps_own_symbols_serve(run, tmp_path, image):
    path = tmp_path / "vmlinux"
    path.write_bytes(image)
    kernel = crashed_kernel()
    kernel.facts["BUILD-ID"] = "0102"
    status, out, err = run(kernel.core(), "--vmlinux", str(path))
    assert status == 1 and "inner+0x4/0x1000" in out and "No tasks" not in out
    assert err.startswith(f"fadump: vmlinux: {path}") and err.count("\n") == 1


@pytest.mark.parametrize("part", [3, 10, 60, 99])
def test_a_dump_cut_short_shows_what_is_there(run, part):
    core = crashed_kernel().core()
    status, out, err = run(core[: len(core) * part // 100])
    assert status == 1
    assert "cut short" in err and "of memory should be in the file and isn't\n" in err
    assert out.startswith("Kernel   Linux 6.12.0-fake")


@pytest.mark.parametrize("command", [show, dmesg, check])
def test_many_faults_are_counted(run_command, command):
    whole = build_core([Load(0x1000 * number, bytes(16)) for number in range(100)])
    status, out, err = run_command(command, whole[: 64 + 100 * 56])
    assert status == 1
    said = [line for line in (out + err).splitlines() if "cut short" in line]
    assert len(said) == MOST_LISTED and "and 92 more like that" in out + err


@given(st.data())
def test_any_damage_is_shown_or_an_error(data):
    core = bytearray(crashed_kernel().core())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, 0x2000) | st.integers(0, len(core) - 9))
        core[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    with contextlib.suppress(FadumpError):
        summarize_bytes(bytes(core))


def summarize_bytes(core):
    from tests.vmcore.dump_helpers import open_bytes

    with CrashedSystem(open_bytes(core)) as system:
        assert summarize(system).format


def test_tasks_and_their_stacks_are_shown_without_a_vmlinux(run):
    deep, flat = (task_kernel.MIDDLE + 8, task_kernel.OUTER + 8), (task_kernel.OUTER + 8,)
    blocked = {"pid": 7, "name": b"stuck\x1b", "state": 2, "stack": deep, "user": 65534, "cpu": 1, "parent": 1}
    threads = [{"pid": pid, "state": 0x402, "stack": flat, "flags": KERNEL_THREAD} for pid in (8, 9)]
    kernel = TaskKernel([[{"pid": 1, "name": b"init", "stack": flat}], [blocked], threads])
    kernel.names = {("Tmutex_lock" if name == "Tmiddle" else name): at for name, at in kernel.names.items()}
    _status, out, _err = run(kernel.core())
    lines = out.splitlines()
    table = lines.index("Thread  Process  Parent  CPU   User  State  Memory  Name")
    assert lines[table + 2].split() == ["7", "7", "1", "1", "65534", "D", "stuck\\x1b"]
    assert lines[table + 3] == "... and 2 kernel threads (-v shows all)"
    stack = lines.index("Blocked, waiting for a mutex: stuck\\x1b (7)")
    assert [line.split()[-1] for line in lines[stack + 1 : stack + 3]] == ["mutex_lock+0x8/0x1000", "outer+0x8/0x1000"]
    assert "Sleeping: init (1)" in lines and "Idle" not in out
    assert "Idle: task (8), task (9)" in run(kernel.core(), "-v")[1]
    found = json.loads(run(kernel.core(), "--json")[1])
    assert [task["pid"] for task in found["tasks"]] == [1, 7, 8, 9] and found["tasks"][2]["kernel_thread"]
    assert (found["stacks"][0]["pids"], found["stacks"][0]["waits_for"]) == ([7], "a mutex")
    assert found["stacks"][0]["backtrace"][0]["symbol"] == "mutex_lock"
