"""What we read out of a real dump, compared with drgn, which we did not write."""

import json
import subprocess
import sys
from pathlib import Path

import drgn
import numpy as np
import pytest
from drgn.helpers.linux.mm import pfn_to_page
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.printk import get_printk_records
from drgn.helpers.linux.sched import cpu_curr, task_state_to_char

import fadump
from fadump.linux.pages.page_class import PageClass
from fadump.linux.symbols.kallsyms import read_kallsyms
from fadump.memory.ranges import Range
from tests.real_linux.fadump_command import COMMAND

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "memory_by_class.py"
VMALLOC_START = 0xC008_0000_0000_0000


@pytest.fixture(scope="module")
def program(cycle):
    program = drgn.Program()
    program.set_core_dump(cycle.json["vmcore"])
    program.load_debug_info([cycle.json["vmlinux"]])
    return program


@pytest.fixture(scope="module")
def system(cycle):
    with fadump.open(cycle.json["vmcore"]) as system:
        yield system


def test_the_log_is_the_same(system, program):
    ours = [
        (record.sequence, record.timestamp_ns, record.facility, record.level, record.text) for record in system.log()
    ]
    theirs = [
        (record.seq, record.timestamp, record.facility, record.level, record.text.decode())
        for record in get_printk_records(program)
    ]
    assert ours == theirs
    assert len(ours) > 100


def test_every_symbol_has_the_same_address(system, program):
    ours = read_kallsyms(system.memory)
    theirs = {}
    for symbol in program.symbols():
        theirs.setdefault(symbol.name, set()).add(symbol.address)
    known = [symbol for symbol in ours if symbol.name in theirs]
    assert [symbol for symbol in known if symbol.address not in theirs[symbol.name]] == []
    assert len(known) > 0.9 * len(ours)


def test_the_vmlinux_has_them_too(system, cycle):
    with fadump.open(cycle.json["vmcore"], vmlinux=cycle.json["vmlinux"]) as other:
        for name in ("init_task", "panic", "swapper_pg_dir"):
            assert other.symbols.address(name) == system.symbols.address(name)


def test_the_tasks_are_the_same(cycle, program):
    with fadump.open(cycle.json["vmcore"], vmlinux=cycle.json["vmlinux"]) as system:
        ours = {(task.pid, task.process, task.name, task.state, task.address) for task in system.tasks}
    theirs = {
        (
            task.pid.value_(),
            task.tgid.value_(),
            task.comm.string_().decode(),
            task_state_to_char(task),
            task.value_(),
        )
        for task in for_each_task(program)
    }
    assert ours == theirs
    assert (1, 1, "init") in {task[:3] for task in ours}


def test_each_cpu_runs_the_same_task(cycle, program):
    with fadump.open(cycle.json["vmcore"], vmlinux=cycle.json["vmlinux"]) as system:
        for cpu in system.cpus:
            assert system.running_task(cpu.number).address == cpu_curr(program, cpu.number).value_()
            if cpu.crashed:
                assert system.running_task(cpu.number).pid == system.ending.task.pid


def test_memory_behind_the_page_tables_is_the_same(system, program):
    translation = system.memory.translation
    pieces = translation.mapped_within(Range.sized(VMALLOC_START, 1 << 30))
    pieces = [piece for piece in pieces if system.dump.why_not(piece.physical) is None]
    assert pieces
    for piece in pieces:
        length = min(piece.virtual.size_bytes, 0x1000)
        assert system.memory.read(piece.virtual.start, length) == program.read(piece.virtual.start, length)


def test_the_crash_is_found_on_the_cpu_that_crashed(system, program):
    (crashed,) = [cpu for cpu in system.cpus if cpu.crashed]
    assert crashed.number == program["crashing_cpu"].value_()
    names = [frame.symbol.name for frame in crashed.backtrace.frames if frame.symbol is not None]
    assert names[0] == "crash_fadump"
    assert names[names.index("panic") :][:3] == ["panic", "sysrq_handle_crash", "__handle_sysrq"]
    assert crashed.backtrace.frames[-1].trap in (0xC00, 0x3000)  # the system call of the guest's init: sc or scv
    assert system.ending.panic == "sysrq triggered crash"


def test_every_other_cpu_has_a_backtrace_to_its_start(system):
    for cpu in system.cpus:
        assert cpu.backtrace.ended is None
        if not cpu.crashed and not cpu.in_user_space:
            assert len(cpu.backtrace.frames) > 2


def test_the_classes_of_pages_are_those_that_drgn_sees(system, program):
    """makedumpfile's tests once more, on drgn's objects."""
    for block in system.page_classes.blocks:
        theirs = _classes(program, block.first_pfn, len(block.classes))
        assert np.array_equal(block.classes, theirs)
    free = sum(np.count_nonzero(block.classes == PageClass.FREE) for block in system.page_classes.blocks)
    assert free > 1000


def test_the_commands_show_it(cycle):
    shown = _run("show", cycle.json["vmcore"], "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert found["release"] == cycle.json["kernel_release"]
    assert found["panic"] == "sysrq triggered crash"
    assert found["task"]["name"] == "sh" and found["hardware"].startswith("IBM pSeries (emulated by qemu)")
    log = _run("dmesg", cycle.json["vmcore"])
    assert log.returncode == 0, log.stderr
    assert "Kernel panic - not syncing: sysrq triggered crash" in log.stdout


def test_a_dump_cut_short_still_has_its_log(cycle, tmp_path):
    cut = tmp_path / "vmcore"
    with Path(cycle.json["vmcore"]).open("rb") as whole:
        cut.write_bytes(whole.read(64 << 20))
    log = _run("dmesg", str(cut))
    assert log.returncode == 1
    assert "cut short" in log.stderr
    assert "Linux version" in log.stdout


def _run(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


def _classes(program, first_pfn, count):
    bits = {name: 1 << program.constant(f"PG_{name}") for name in ("lru", "private", "swapcache", "swapbacked", "head")}
    buddy, slab, hugetlb = (program.constant(f"PGTY_{name}") for name in ("buddy", "slab", "hugetlb"))
    base = pfn_to_page(program, 0)
    found, pfn = np.full(count, PageClass.KERNEL, np.uint8), 0
    while pfn < count:
        page = (base + first_pfn + pfn)[0].read_()
        flags, type_ = page.flags.value_(), page.page_type.value_() >> 24
        anonymous = page.mapping.value_() & 1 and type_ != slab
        is_head = flags & bits["head"]
        pages = 1 << ((base + first_pfn + pfn + 1).flags.value_() & 0xFF) if is_head else 1
        cache = flags & bits["lru"] or (flags & bits["swapcache"] and flags & bits["swapbacked"])
        page_class = PageClass.KERNEL
        if page.compound_head.value_() & 1:
            pages = 1
        elif type_ == buddy:
            page_class, pages = PageClass.FREE, 1 << page.private.value_()
        elif cache and not anonymous:
            page_class = PageClass.CACHE_PRIVATE if flags & bits["private"] else PageClass.CACHE
        elif anonymous or (is_head and type_ == hugetlb):
            page_class = PageClass.USER
        found[pfn : pfn + pages] = page_class
        pfn += pages
    return found


def test_the_example_draws_memory_by_class(system, cycle):
    command = [sys.executable, EXAMPLE, cycle.json["vmcore"]]
    drawn = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(drawn) == len(PageClass)
    counts = system.page_classes.count(list(system.dump.memory))
    (free,) = (line for line in drawn if line.startswith("free "))
    assert f" {counts[PageClass.FREE] * system.page_classes.page_bytes / (1 << 20):.1f} MiB  ###" in free
