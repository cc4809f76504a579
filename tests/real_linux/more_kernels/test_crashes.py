"""Real crashes, provoked in known functions, and whom a report blames by the filtered dump alone. `make test-kernels`.

That is known by what was provoked; drgn, by debug information, sees the same stack.
"""

import os
import re
import shlex
import subprocess
from pathlib import PurePath

import pytest
from drgn.helpers.linux.printk import get_dmesg
from drgn.helpers.linux.sched import cpu_curr

import fadump
from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.capture.options import Format, SaveOptions
from fadump.kit.kernel import NEWEST_SERIES, build_kernel, newest_series
from fadump.vmcore.dump import open_dump
from tests.capture.saving import save_file
from tests.kit.debuginfod_server import Server
from tests.real_linux.fadump_command import COMMAND
from tests.real_linux.more_kernels.built_modules import module_of_crashes
from tests.real_linux.more_kernels.crash_output import modules_by_crash, stacks_by_crash, tasks_by_crash
from tests.real_linux.more_kernels.crash_stories import (
    FUSE_IS_MUTE,
    NFS,
    CrashingMachine,
    Story,
    in_order,
    provoked,
    reported,
)
from tests.real_linux.page_truth import read_by_drgn
from tests.real_linux.readers import check_crash
from tests.real_linux.scenario import MIB, Scenario

TOOLS = "powerpc64le-linux-gnu-"
SERIES = ["6.12", "6.1", NEWEST_SERIES]
STORIES = {
    "panic": provoked("PANIC", "The kernel gave up: dumptest"),
    "bug": provoked("BUG", "The kernel stopped at a check of its own, at "),
    "warning": provoked("WARNING", "The kernel warned at ", before="echo 1 >/proc/sys/kernel/panic_on_warn; "),
    "null": provoked("EXCEPTION", "The kernel followed a pointer that was NULL"),
    "null-call": provoked(
        "EXEC_NULL", "The kernel called a function by a pointer that was NULL", function="execute_location"
    ),
    "sysrq": Story(
        "echo c >/proc/sysrq-trigger",
        "The system was crashed on purpose, by SysRq c",
        "sh (PID ",
        "certain",
        "sysrq_handle_crash",
        in_module=False,
    ),
    "oom-of-a-program": Story(
        "echo 1 >/proc/sys/vm/panic_on_oom; tail /dev/zero",
        "The system ran out of memory",
        "tail (PID ",
        "unsure",
        "out_of_memory",
        in_module=False,
    ),
    "oom-of-files": Story(
        "echo 1 >/proc/sys/vm/panic_on_oom; mkdir /full; mount -t tmpfs -o size=100% full /full; "
        "dd if=/dev/zero of=/full/file bs=1M",
        "The system ran out of memory",
        "files in tmpfs, or shared memory",
        "unsure",
        "out_of_memory",
        in_module=False,
    ),
}
NOBODY_ANSWERS = f"""
{FUSE_IS_MUTE}
mkdir -p /fuse /nfs
ip link set lo up
(exec 3<>/dev/fuse; mount -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 deaf /fuse; exec sleep 1000) &
until grep -q ' /fuse ' /proc/mounts; do usleep 100000; done
stat /fuse/first &
waits_in fuse_simple_request $!
sleep 1000 | nc -l -p 2049 >/asked &
until grep -q :0801 /proc/net/tcp6; do usleep 100000; done
for version in 4.1 4.0; do mount -t nfs4 -o vers=$version,addr=127.0.0.1,clientaddr=127.0.0.1 127.0.0.1:/ /nfs; done &
until [ -s /asked ] && grep -q 'State:.D' /proc/$(pidof mount)/status; do usleep 100000; done
echo HUNG_TASK >/sys/kernel/debug/provoke-crash/DIRECT &
waits_in lkdtm_HUNG_TASK $!
echo c >/proc/sysrq-trigger
"""
"""Servers that take a request and never answer; who waits for them; who waits for the latter; a module that sleeps.

No kernel here has both versions of NFS: mounting by the other ends at once.
"""
WAITS = [
    ("touch", "a FUSE server's answer"),
    ("touch", "a mutex"),
    ("stat", "a FUSE server's answer"),
    ("mount", "an RPC server's answer, as NFS's"),
]
"""In the order in which the script starts them."""


@pytest.fixture(scope="module", params=SERIES)
def machine(request, tmp_path_factory):
    """A kernel as it comes, with lkdtm loaded as a module from elsewhere."""
    series = newest_series() if request.param == NEWEST_SERIES else request.param
    kernel, directory = build_kernel(series), tmp_path_factory.mktemp("crashes")
    lkdtm = module_of_crashes(kernel)
    own = {path.stem: path for path in kernel.modules.rglob("*.ko")}
    modules = in_order(directory / "modules", [lkdtm, own["fuse"], *(own[name] for name in NFS)])
    with Scenario(directory, kernel, "oops=panic", memory_bytes=1024 * MIB, modules=modules) as scenario:
        yield CrashingMachine(directory, scenario), kernel, lkdtm


@pytest.mark.parametrize("name", STORIES)
def test_the_culprit_is_blamed(machine, name):
    crashing, kernel, lkdtm = machine
    story = STORIES[name]
    dump = crashing.dump_of(name, story.script)
    found = reported(dump)
    assert found["what"].startswith(story.what)
    assert (found["blame"].startswith(story.blame), found["certainty"]) == (True, story.certainty), found
    assert found["where"].startswith(f"in {story.function}()")
    with fadump.open(dump) as system:
        frames = [frame for frame in system.crashed_cpu.backtrace.frames if frame.pc >= PAGE_OFFSET]
    program = program_of(dump, kernel, lkdtm)
    ours, theirs = [frame.pc for frame in frames], stack_by_drgn(program)
    assert [pc for pc in ours if pc in theirs] == theirs
    assert set(ours) - set(theirs) <= code_in_log(program)
    (provoked_in,) = [frame for frame in frames if frame.symbol.name == story.function]
    assert program.symbol(provoked_in.pc).name == story.function
    assert provoked_in.symbol.module == ("lkdtm" if story.in_module else "")


def test_the_lines_of_a_modules_function_come_from_a_server(machine, tmp_path, monkeypatch):
    crashing, kernel, lkdtm = machine
    dump = crashing.dump_of("null", STORIES["null"].script)
    with fadump.open(dump) as system:
        (module,) = [module for module in system.modules.modules if module.name == "lkdtm"]
        (frame,) = [
            frame
            for frame in system.crashed_cpu.backtrace.frames
            if frame.symbol is not None and frame.symbol.name == STORIES["null"].function
        ]
    monkeypatch.setenv("FADUMP_CACHE", str(tmp_path / "cache"))
    with Server({f"/buildid/{module.build_id}/debuginfo": lkdtm.read_bytes()}) as server:
        monkeypatch.setenv("DEBUGINFOD_URLS", server.address)
        reported(dump, "--debuginfod", "--vmlinux", kernel.vmlinux, "-o", tmp_path / "report.txt")
        assert server.asked == [f"/buildid/{module.build_id}/debuginfo"]
    (line,) = re.findall(r"^Source +(lkdtm_EXCEPTION\(\) \S+)$", (tmp_path / "report.txt").read_text(), re.MULTILINE)
    offset = symbol_value(lkdtm, frame.symbol.name) + frame.symbol.offset
    assert PurePath(line.split()[-1]).name == PurePath(addr2line(lkdtm, offset)).name


def test_crash_sees_the_same_tasks_stacks_and_modules(machine, crash, tmp_path):
    crashing, kernel, _lkdtm = machine
    dump = crashing.dump_of("waits", NOBODY_ANSWERS)
    (tmp_path / "crash").write_text(f'#!/bin/sh\nexec {shlex.join(crash.command)} "$@"\n')
    (tmp_path / "crash").chmod(0o755)
    (tmp_path / "commands").write_text("help -r\nps\nmod\nforeach bt\nquit\n")
    knows_modules = kernel.series != newest_series()  # crash 9.0.2 ends at its struct module
    words = ["crash", dump, "--vmlinux", kernel.vmlinux, "--", "-s", "-i", tmp_path / "commands"]
    words += [] if knows_modules else ["--no_modules"]
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "env": os.environ | path}
    done = subprocess.run([*COMMAND, *words], check=False, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    with fadump.open(dump) as system:
        check_crash(done.stdout, {cpu.number: cpu.registers for cpu in system.cpus})
        tasks = [task for task in tasks_by_crash(done.stdout) if task[0]]
        assert sorted(task[:-1] for task in tasks) == sorted(
            (task.pid, task.parent, task.cpu, task.address, task.state, task.name) for task in system.tasks
        )
        if kernel.series != "6.1":  # of older ones crash adds what threads have counted for themselves
            assert {task[0]: task[-1] for task in tasks} == {t.pid: t.resident_bytes >> 10 for t in system.tasks}
        modules = [(module.at, module.name, module.address, module.size_bytes) for module in system.modules.modules]
        assert sorted(modules_by_crash(done.stdout)) == (sorted(modules) if knows_modules else [])
        stacks, slept = stacks_by_crash(done.stdout), [group for group in system.stacks if not group.cpus]
        for group in slept:
            frames = [frame for frame in group.backtrace.frames if frame.pc >= PAGE_OFFSET]
            functions = [frame.pc for frame in frames]
            if not knows_modules and any(frame.symbol.module for frame in frames):
                continue  # crash leaves these out
            assert stacks[group.tasks[0].address] in (functions, functions[1:]), group  # without __switch_to() of 6.1
    assert len(slept) > 15


def test_drgn_names_the_functions_of_modules_whose_files_are_nowhere(machine, tmp_path):
    crashing, kernel, _lkdtm = machine
    dump = crashing.dump_of("null", STORIES["null"].script)
    vmlinux = tmp_path / "vmlinux"
    vmlinux.symlink_to(kernel.vmlinux)
    words = ["drgn", dump, "--vmlinux", vmlinux, "--", "-q", "-e", 'print(stack_trace(cpu_curr(prog["crashing_cpu"])))']
    environment = os.environ | {"FADUMP_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False, env=environment)
    assert "ksys_write (fs/read_write.c:" in done.stdout, done.stdout + done.stderr
    named = re.search(r"^#0  lkdtm_EXCEPTION\+0x4/0x[0-9a-f]+$", done.stdout, re.MULTILINE)
    with fadump.open(dump) as system:  # drgn walks no page tables without it
        assert (named is not None) == (b"NUMBER(RADIX_MMU)=1" in system.vmcoreinfo_text), done.stdout


def test_what_tasks_wait_for_is_said(machine):
    crashing, kernel, lkdtm = machine
    dump = crashing.dump_of("waits", NOBODY_ANSWERS)
    with fadump.open(dump) as system:
        waits = {task.pid: (task.name, group.waits_for) for group in system.stacks for task in group.tasks}
    assert [waits[pid] for pid in sorted(waits) if waits[pid][0] in ("stat", "touch", "mount")] == WAITS
    program = program_of(dump, kernel, lkdtm)
    sleeping = [thread for thread in program.threads() if not thread.object.on_cpu]
    (asleep,) = [thread.tid for thread in sleeping if "lkdtm_HUNG_TASK" in [f.name for f in thread.stack_trace()]]
    report = subprocess.run([*COMMAND, "report", dump], capture_output=True, text=True, check=True).stdout
    assert f"1 task blocked, waiting in lkdtm_HUNG_TASK() of the module lkdtm: sh ({asleep})" in report


def symbol_value(module, name):
    """Where a function is in its section."""
    said = subprocess.run([f"{TOOLS}nm", module], capture_output=True, text=True, check=True).stdout
    return int(re.search(rf"^([0-9a-f]+) [tT] {name}$", said, re.MULTILINE)[1], 16)


def addr2line(module, offset):
    """The file and the line at an offset of .text."""
    words = [f"{TOOLS}addr2line", "-j", ".text", "-e", module, f"{offset:#x}"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[0]


def program_of(dump, kernel, lkdtm):
    """drgn with debug information of all, and the dump as an ELF core: of a compressed one it needs the MMU stated."""
    core = dump.with_suffix(".elf")
    if not core.exists():
        with open_dump(dump) as opened:
            save_file(opened, core, SaveOptions(format=Format.ELF))
    program = read_by_drgn(core, kernel.vmlinux)
    program.load_debug_info([lkdtm])
    return program


def stack_by_drgn(program):
    """The addresses of code on the stack of the CPU that crashed; drgn itself knows that thread of a panic only.

    Behind a leaf function without a frame drgn takes a word of the stack for one, as Linux does, which says so.
    """
    trace = program.stack_trace(cpu_curr(program, program["crashing_cpu"].value_()))
    frames = [frame.pc for frame in trace if not frame.is_inline and frame.pc >= PAGE_OFFSET]
    unreliable = logged(program, r"\[([0-9a-f]{16})\] \S+ \(unreliable\)")
    return [pc for pc in frames if pc not in unreliable and is_code(program, pc)]


def is_code(program, address):
    try:
        program.symbol(address)
    except LookupError:
        return False
    return True


def code_in_log(program):
    """The addresses of code that Linux logs, in registers and in call traces.

    drgn misses what a leaf function was called from, the one itself if an interrupt has stopped it, and all behind it
    if the word of the stack leads nowhere.
    """
    in_traces = r"\[[0-9a-f]{16}\] \[([0-9a-f]{16})\] \S+(?: \[\S+\])?$"
    return logged(program, r"(?:NIP|LR) \[([0-9a-f]{16})\]") | logged(program, in_traces)


def logged(program, pattern):
    return {
        int(address, 16) for address in re.findall(pattern, get_dmesg(program).decode(errors="replace"), re.MULTILINE)
    }
