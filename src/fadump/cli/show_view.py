"""How ``fadump show`` prints what a dump says."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.abi.linux.pt_regs import DATA_TRAPS, TRAPS, led_to_dump
from fadump.cli.show_log import show_log_end
from fadump.linux.cpus.backtrace import Backtrace, Frame
from fadump.linux.cpus.cpu import Cpu
from fadump.linux.opal import OpalCore
from fadump.linux.pages.page_class import PageClass
from fadump.linux.state.task_stacks import StackGroup
from fadump.linux.state.tasks import Task
from fadump.linux.summary import MemoryRange, Summary, cpu_name
from fadump.linux.vmlinux.source_lines import FrameLines, inlined_and_own
from fadump.printable import MOST_LISTED, counted, printable
from fadump.progress import binary_size
from fadump.vmcore.contract import READABLE, State

_BAR_CELLS = 60
"""Of all pages together, where the terminal has room."""
_GAP_CELLS = 6
_LABEL_CELLS = 9
_MIB = 1 << 20
_MOST_RANGES = 64
_LATEST_SECONDS = 253_402_300_799
"""The last second of the year 9999."""

_CLASSES = {
    PageClass.KERNEL: ("kernel", "red"),
    PageClass.USER: ("user", "blue"),
    PageClass.CACHE: ("cache", "cyan"),
    PageClass.CACHE_PRIVATE: ("cache, private", "magenta"),
    PageClass.FREE: ("free", "green"),
    PageClass.HWPOISON: ("broken", "yellow"),
    PageClass.OFFLINE: ("offline", "white"),
    PageClass.UNKNOWN: ("unknown", "bright_black"),
}


def show_summary(summary: Summary, console: Console, lines: FrameLines, *, verbose: bool = False) -> None:
    """Print a summary for people; what says little only with ``verbose``."""
    for label, text in head(summary):
        console.print(Text(f"{label:{_LABEL_CELLS}}", "bold") + Text(_one_line(text)))
    if summary.log_end is not None and summary.log_end.records:
        console.print()
        show_log_end(summary.log_end, console, verbose=verbose)
    idle = [] if verbose else [cpu for cpu in summary.cpus if cpu.is_idle and not cpu.crashed]
    for cpu in sorted(summary.cpus, key=lambda cpu: not cpu.crashed):
        if cpu not in idle:
            console.print()
            _show_cpu(cpu, summary.running_on(cpu), console, lines if cpu.crashed else {}, verbose=verbose)
    if idle:
        console.print()
        console.print(Text(f"{_numbers(idle)}: idle (-v shows where)", "bold"))
    console.print()
    _show_memory(summary, console)
    if summary.page_counts is not None and summary.page_bytes is not None:
        console.print()
        _show_pages(summary, summary.page_bytes, console)
    if summary.tasks is not None or summary.wants_vmlinux:
        console.print()
        _show_tasks(summary, console, verbose=verbose)
    for group in summary.stacks:
        if not group.cpus and (verbose or group.is_blocked or not _is_kernels(group.tasks)):
            console.print()
            _show_stack(group, console, verbose=verbose)


def head(summary: Summary) -> Iterator[tuple[str, str]]:
    """What is said in one line each: its label and text."""
    if summary.opal is not None:
        yield from _opal(summary, summary.opal)
        return
    name = "Linux" if summary.kernel is None else summary.kernel.system
    version = "" if summary.kernel is None else f", {summary.kernel.version}"
    yield "Kernel", f"{name} {summary.release or 'of unknown release'}, {summary.machine}{version}"
    if summary.kernel is not None and summary.kernel.node != "(none)":
        yield "Host", summary.kernel.node
    ending = summary.ending
    if ending is not None and ending.hardware is not None:
        yield "Machine", ending.hardware
    yield "Crashed", ", ".join(_when(summary)) or "at an unknown time"
    if ending is not None:
        yield "Panic", ending.panic or _without_panic(summary.cpus)
        if ending.cause is not None:
            yield "Cause", ending.cause
        if ending.task is not None:
            yield "Task", f"{ending.task.name}, PID {ending.task.pid}"
    yield "Dump", ", ".join(_file(summary))
    if summary.erased is not None:
        erased = ", ".join(_erased(summary.erased))
        if erased:
            yield "Erased", erased
    yield "CPUs", ", ".join(_cpu_counts(summary))


def _opal(summary: Summary, opal: OpalCore) -> Iterator[tuple[str, str]]:
    yield "OPAL", f"its own core, {summary.machine}, entered at {opal.entry:#x}; gdb has its addresses"
    if opal.by_itself is not None:
        yield "Crashed", "OPAL itself has ended" if opal.by_itself else "the kernel asked for a dump"
    yield "Dump", ", ".join(_file(summary))
    yield "CPUs", ", ".join(_cpu_counts(summary))


def _without_panic(cpus: Sequence[Cpu]) -> str:
    """An Oops, too, may lead to the dump without panic(): Linux arch/powerpc/kernel/traps.c, oops_end()."""
    traps = [cpu.registers["trap"] for cpu in cpus if cpu.crashed]
    if not traps:
        return "none in the log: the kernel may have had no part in its end"
    if not traps[0]:
        return "none in the log: something else led the kernel to the dump"
    return f"none: {led_to_dump(traps[0])}"


def _cpu_counts(summary: Summary) -> Iterator[str]:
    """How many CPUs there were, by the kernel, and of how many the dump has registers, if that differs."""
    crashed = [cpu_name(cpu) for cpu in summary.cpus if cpu.crashed]
    offline = sum(cpu.online is False for cpu in summary.cpus)
    if summary.online is not None:
        yield f"{summary.online} online"
    if offline:
        yield f"{offline} offline"
    if summary.online is None or len(summary.cpus) != summary.online + offline:
        count = len(summary.cpus)
        yield f"registers of {count}" if count else "the dump has no registers of any"
    if crashed:
        yield f"crashed on {', '.join(crashed)}"


def _when(summary: Summary) -> Iterator[str]:
    if summary.crash_time is not None and 0 <= summary.crash_time <= _LATEST_SECONDS:
        yield f"{datetime.fromtimestamp(summary.crash_time, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if summary.ending is not None and summary.ending.uptime_ns is not None:
        which = "" if summary.ending.panic is not None else "last message "
        yield f"{which}{summary.ending.uptime_ns / 1e9:.3f} s after boot"


def _file(summary: Summary) -> Iterator[str]:
    readable = sum(summary.bytes_in(state) for state in READABLE)
    total = sum(memory.range.size_bytes for memory in summary.memory)
    yield summary.format
    yield f"{binary_size(readable)} of {binary_size(total)} of memory"
    if summary.page_bytes is not None:
        yield f"pages of {summary.page_bytes >> 10} KiB"
    if summary.mmu is not None:
        yield f"{summary.mmu} MMU"
    if summary.erased is not None:
        yield "some data erased on purpose"


def _erased(text: str) -> Iterator[str]:
    """What was erased, by makedumpfile's text of it: a line for each piece, "erase key.payload size 32"."""
    times = Counter(words[1] for line in text.splitlines() if len(words := line.split()) > 1 and words[0] == "erase")
    for expression, count in list(times.items())[:MOST_LISTED]:
        yield expression if count == 1 else f"{expression} ({count} times)"
    if len(times) > MOST_LISTED:
        yield f"{len(times) - MOST_LISTED} more"


def _numbers(cpus: Sequence[Cpu]) -> str:
    """Names of several CPUs: "CPUs 0-3, 7"."""
    numbers = sorted(cpu.number for cpu in cpus if cpu.number is not None)
    if len(numbers) != len(cpus):
        return counted(len(cpus), "CPU")
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    text = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return f"CPU{'s' if len(numbers) > 1 else ''} {text}"


def _show_cpu(cpu: Cpu, task: Task | None, console: Console, lines: FrameLines, *, verbose: bool) -> None:
    registers = cpu.registers
    states = {
        "which crashed": cpu.crashed,
        "offline": cpu.online is False,
        "in user space": cpu.in_user_space,
        "in firmware": cpu.in_firmware and cpu.pir is None,  # OPAL's core is about nothing else
    }
    title = ", ".join([cpu_name(cpu), *(state for state, is_so in states.items() if is_so)])
    title += "" if task is None else f", running {_one_line(task.name)}, PID {task.pid}"
    console.print(Text(title[0].upper() + title[1:], "bold"))
    console.print(f"  NIP {registers['nip']:016x}  LR {registers['link']:016x}  R1 {registers['gpr1']:016x}")
    if cpu.crashed and registers["trap"] in TRAPS:
        where = f"  DAR {registers['dar']:016x}  DSISR {registers['dsisr']:08x}"
        console.print(f"  interrupt {registers['trap']:#x}{where if registers['trap'] in DATA_TRAPS else ''}")
    _show_frames(cpu.backtrace, console, lines, verbose=verbose)


def _place(frame: Frame) -> str:
    if frame.pc < PAGE_OFFSET and frame.trap is not None:
        return "in user space"
    return "" if frame.symbol is None else _one_line(str(frame.symbol))


def _one_line(text: str) -> str:
    """Text out of the dump, which may be anything."""
    return printable(text.replace("\n", "\\n"))


def _show_memory(summary: Summary, console: Console) -> None:
    states = [state for state in State if summary.bytes_in(state)]
    rows = [[str(memory.range), *_sizes(memory, states)] for memory in summary.memory[:_MOST_RANGES]]
    _show_table(["Physical memory", *states], rows, console, right=range(1, len(states) + 1))
    if len(summary.memory) > _MOST_RANGES:
        console.print(f"... and {len(summary.memory) - _MOST_RANGES} more ranges")


def _sizes(memory: MemoryRange, states: list[State]) -> list[str]:
    return [binary_size(memory.bytes_in[state]) if memory.bytes_in[state] else "" for state in states]


def _show_tasks(summary: Summary, console: Console, *, verbose: bool) -> None:
    if summary.tasks is None:
        console.print("No tasks: the kernel has no BTF, which would describe its task_struct; a --vmlinux would, too.")
        return
    rows = [
        [
            *(_number(value) for value in (task.pid, task.process, task.parent, task.cpu, task.user)),
            task.state,
            "" if not task.resident_bytes else binary_size(task.resident_bytes),
            _one_line(f"[{task.name}]" if task.is_kernel_thread else task.name),
        ]
        for task in summary.tasks
        if verbose or task.is_blocked or not task.is_kernel_thread
    ]
    heads = ["Thread", "Process", "Parent", "CPU", "User", "State", "Memory", "Name"]
    _show_table(heads, rows, console, right=range(5))
    if len(rows) < len(summary.tasks):
        console.print(f"... and {counted(len(summary.tasks) - len(rows), 'kernel thread')} (-v shows all)")


def _is_kernels(tasks: Sequence[Task]) -> bool:
    return all(task.is_kernel_thread for task in tasks)


def _number(value: int | None) -> str:
    return "?" if value is None else str(value)


def _show_stack(group: StackGroup, console: Console, *, verbose: bool) -> None:
    """The stack of tasks that didn't run: those that did have it with their CPU."""
    named = [f"{_one_line(task.name)} ({task.pid})" for task in group.tasks[:MOST_LISTED]]
    more = [f"{len(group.tasks) - MOST_LISTED} more"] if len(group.tasks) > MOST_LISTED else []
    waits = "" if group.waits_for is None else f", waiting for {group.waits_for}"
    console.print(Text(f"{group.tasks[0].state_word.capitalize()}{waits}: {', '.join([*named, *more])}", "bold"))
    _show_frames(group.backtrace, console, {}, verbose=verbose)


def _show_frames(backtrace: Backtrace, console: Console, lines: FrameLines, *, verbose: bool) -> None:
    for frame in backtrace.frames:
        if frame.trap is not None:
            console.print(f"  --- interrupt {frame.trap:#x}")
        pointer = f"{frame.sp:016x} " if verbose else ""
        inlined, own = inlined_and_own(lines, frame)
        for line in inlined:
            console.print(Text(f"  {'':{len(pointer) + 16}} {_one_line(str(line))}, inlined in"))
        where = "" if own is None else _one_line(f"  {own.file}:{own.line}")
        console.print(Text(f"  {pointer}{frame.pc:016x} {_place(frame)}{where}".rstrip()))
    if backtrace.ended is not None:
        console.print(Text(f"  ... {backtrace.ended}", "yellow"))


def _show_pages(summary: Summary, page_bytes: int, console: Console) -> None:
    counts = {page_class: count for page_class, count in (summary.page_counts or {}).items() if count}
    shown = {page_class: style for page_class, style in _CLASSES.items() if page_class in counts}
    sizes = {page_class: f"{counts[page_class] * page_bytes / _MIB:.1f}" for page_class in shown}
    other_cells = (
        max((len(shown[page_class][0]) + len(sizes[page_class]) for page_class in shown), default=0) + _GAP_CELLS
    )
    cells = max(1, min(_BAR_CELLS, console.width - other_cells))
    total = sum(counts.values())
    block = "█" if console.encoding.startswith("utf") else "#"
    rows: list[list[str | Text]] = [
        [label, sizes[page_class], Text(block * max(1, round(counts[page_class] / total * cells)), colour)]
        for page_class, (label, colour) in shown.items()
    ]
    _show_table(["Pages", "MiB", ""], rows, console, right=range(1, 2))


def _show_table(heads: Sequence[str], rows: Sequence[Sequence[str | Text]], console: Console, right: range) -> None:
    """Columns two blanks apart, those numbered in ``right`` with their ends below each other; nothing is cut off."""
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    for style, row in [("bold", heads), *(("", row) for row in rows)]:
        line = Text()
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            pad = " " * (width - len(cell))
            line.append_text(Text(pad) if number in right else Text())
            line.append_text(cell if isinstance(cell, Text) else Text(cell, style))
            line.append_text(Text() if number in right else Text(pad)).append("  ")
        line.rstrip()
        console.print(line)
