"""What a report tells, in which order.

Each section is short; what is long is folded, and limited: a report of the largest system stays one that can be mailed.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.linux.cpus.backtrace import Backtrace, Frame
from fadump.linux.cpus.cpu import Cpu
from fadump.linux.log.end import LogEnd
from fadump.linux.state.task_stacks import StackGroup
from fadump.linux.state.tasks import Task
from fadump.linux.summary import Summary, cpu_name
from fadump.linux.vmlinux.source_lines import FrameLines, inlined_and_own
from fadump.printable import counted
from fadump.progress import binary_size
from fadump.report.dump_sections import of_dump, of_memory, of_missing
from fadump.report.findings import Findings
from fadump.report.redact import Words
from fadump.report.state_sections import of_devices, of_incidents, of_modules
from fadump.report.story import Block, Bullets, Facts, Folded, Line, Lines, Paragraph, Section, Story, Table, Tone
from fadump.report.verdict import judge
from fadump.report.verdict.places import place_of_waiting

_LATEST_SECONDS = 253_402_300_799
_LOG_BEFORE, _LOG_AFTER, _MOST_LOG = 6, 34, 300
_MOST_FRAMES, _MOST_CPUS, _MOST_GROUPS, _MOST_TASKS, _MOST_NAMED = 48, 48, 60, 400, 12
_NO_LINES: FrameLines = MappingProxyType({})
_OPINION = "A first opinion, which drgn or crash and the kernel's source can prove."


def tell(findings: Findings, words: Words) -> Story:
    """The story of a crash."""
    summary, dump = findings.summary, findings.dump
    sections = [
        _verdict(findings, words),
        _facts(findings, words),
        _crashing_stack(findings, words),
        _log(summary, words),
        _cpus(findings, words),
        _blocked(summary, words),
        _tasks(summary, words),
        of_incidents(findings, words),
        of_modules(findings, words),
        of_memory(findings, words),
        of_devices(findings, words),
        of_dump(summary, dump, words),
        of_missing(findings, words),
    ]
    release = words.tell(summary.release or "unknown release")
    source = "the dump, and debug information of its kernel" if findings.lines else "the dump alone"
    return Story(
        "Crash report",
        f"Linux {release}, {words.tell(summary.machine)}, {_when(summary)}",
        sections,
        f"Made by fadump from {source}. {_OPINION}",
    )


def _verdict(findings: Findings, words: Words) -> Section:
    verdict = judge(findings)
    source = findings.lines.get(verdict.at, ()) if verdict.at is not None else ()
    rows = [
        ("Where", words.tell(verdict.where)),
        ("To blame", words.tell(verdict.blame or "nothing that this dump names")),
        *(("Source", words.tell(str(line))) for line in source[:1]),
        ("How sure", verdict.certainty.value),
        ("Next step", words.tell(verdict.next_step)),
    ]
    because: list[Block] = [Bullets([words.tell(text) for text in verdict.because])] if verdict.because else []
    return Section("verdict", "Verdict", [Paragraph(words.tell(verdict.what), Tone.LEAD), Facts(rows), *because])


def _when(summary: Summary) -> str:
    if summary.crash_time is None or not 0 <= summary.crash_time <= _LATEST_SECONDS:
        return "at an unknown time"
    return f"{datetime.fromtimestamp(summary.crash_time, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _facts(findings: Findings, words: Words) -> Section:
    summary, activity = findings.summary, findings.activity
    ending, kernel = summary.ending, summary.kernel
    rows = [("Kernel", f"Linux {summary.release or 'of unknown release'}, {summary.machine}")]
    if kernel is not None:
        rows.append(("Version", kernel.version))
        if kernel.node != "(none)":
            rows.append(("Host", kernel.node))
    if ending is not None and ending.hardware is not None:
        rows.append(("Machine", ending.hardware))
    rows.append(("Crashed", _when(summary)))
    if ending is not None:
        if ending.uptime_ns is not None:
            rows.append(("Up for", _duration(ending.uptime_ns)))
        rows.append(("Panic", ending.panic or "none in the log"))
        rows += [("Cause", ending.cause)] if ending.cause is not None else []
        rows += [("Task", f"{ending.task.name}, PID {ending.task.pid}")] if ending.task is not None else []
    crashed = [cpu_name(cpu) for cpu in summary.cpus if cpu.crashed]
    online = f"{summary.online} online" if summary.online is not None else f"registers of {len(summary.cpus)}"
    rows.append(("CPUs", ", ".join([online, *(f"crashed on {name}" for name in crashed)])))
    if summary.tasks is not None:
        rows.append(("Tasks", _task_counts(summary.tasks)))
    if activity is not None and activity.load is not None:
        rows.append(("Load", ", ".join(f"{load:.2f}" for load in activity.load) + " over 1, 5 and 15 minutes"))
    if activity is not None and activity.command_line is not None:
        rows.append(("Command line", words.command_line(activity.command_line)))
    return Section("system", "The system", [Facts([(label, words.tell(text)) for label, text in rows])])


def _duration(nanoseconds: int) -> str:
    minutes, seconds = divmod(nanoseconds // 1_000_000_000, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (
        f"{counted(days, 'day')} {hours:02}:{minutes:02}:{seconds:02}"
        if days
        else f"{hours:02}:{minutes:02}:{seconds:02}"
    )


def _task_counts(tasks: Sequence[Task]) -> str:
    kernels = sum(bool(task.is_kernel_thread) for task in tasks)
    blocked = sum(task.is_blocked for task in tasks)
    return f"{len(tasks)}, of which {kernels} kernel threads; {blocked} blocked"


def _crashing_stack(findings: Findings, words: Words) -> Section:
    summary, at = findings.summary, judge(findings).at
    crashed = [cpu for cpu in summary.cpus if cpu.crashed]
    blocks: list[Block] = []
    for cpu in crashed:
        blocks.append(Paragraph(words.tell(_cpu_title(summary, cpu)), Tone.PLAIN))
        blocks += _stack(cpu.backtrace, words, f"The stack of {cpu_name(cpu)}", findings.lines, at)
        blocks.append(Folded("Registers", [_registers(cpu)]))
    if not crashed:
        blocks.append(Paragraph("Which CPU crashed isn't known: the stacks of all are below.", Tone.WARNING))
    return Section("stack", "The stack that crashed", blocks)


def _cpu_title(summary: Summary, cpu: Cpu) -> str:
    task = summary.running_on(cpu)
    states = {"crashed": cpu.crashed, "offline": cpu.online is False, "in user space": cpu.in_user_space}
    states["idle"] = cpu.is_idle
    running = "" if task is None or cpu.is_idle else f", running {task.name}, PID {task.pid}"
    name = cpu_name(cpu)
    return ", ".join([name[0].upper() + name[1:], *(state for state, holds in states.items() if holds)]) + running


def _registers(cpu: Cpu) -> Lines:
    """Those that say where it was; others may hold a user's data."""
    names = {"NIP": "nip", "LR": "link", "R1": "gpr1", "MSR": "msr", "CTR": "ctr", "TRAP": "trap", "DAR": "dar"}
    names["DSISR"] = "dsisr"
    return Lines([Line(f"{label:6}{cpu.registers[name]:016x}") for label, name in names.items()], "Registers")


def _stack(
    backtrace: Backtrace, words: Words, label: str, source: FrameLines = _NO_LINES, marked: int | None = None
) -> Iterator[Block]:
    lines = []
    for frame in backtrace.frames[:_MOST_FRAMES]:
        if frame.trap is not None:
            lines.append(Line(f"--- interrupt {frame.trap:#x}"))
        inlined, own = inlined_and_own(source, frame)
        lines += [Line(f"{'':16} {words.tell(str(line))}, inlined in") for line in inlined]
        where = "" if own is None else f"  {own.file}:{own.line}"
        lines.append(Line(words.tell(_place(frame) + where), marked=frame.pc == marked))
    if len(backtrace.frames) > _MOST_FRAMES:
        lines.append(Line(f"... {len(backtrace.frames) - _MOST_FRAMES} more"))
    if lines:
        yield Lines(lines, label)
    if backtrace.ended is not None:
        yield Paragraph(f"It ends early: {words.tell(backtrace.ended)}", Tone.WARNING)


def _place(frame: Frame) -> str:
    if frame.pc < PAGE_OFFSET:
        return f"{frame.pc:016x} in user space"
    return f"{frame.pc:016x} {'?' if frame.symbol is None else frame.symbol}"


def _log(summary: Summary, words: Words) -> Section:
    end = summary.log_end
    if end is None or not end.records:
        return Section("log", "The log's end", [Paragraph("There is no log that can be read.", Tone.WARNING)])
    lines = _log_lines(end, words)
    sign = end.first_sign
    first = max(0, len(lines) - _LOG_BEFORE - _LOG_AFTER if sign is None else sign - _LOG_BEFORE)
    last = first + _LOG_BEFORE + _LOG_AFTER
    blocks: list[Block] = [Lines([line for lines_ in lines[first:last] for line in lines_], "The log's end")]
    if sign is not None:
        blocks.insert(0, Paragraph("The first sign of trouble is marked.", Tone.QUIET))
    if len(lines) > last - first:
        kept = lines[max(0, len(lines) - _MOST_LOG) :]
        total = end.earlier + len(lines)
        title = f"All {total} messages" if len(kept) == total else f"The last {len(kept)} messages of {total}"
        all_of_it = Lines([line for lines_ in kept for line in lines_], title)
        blocks.append(Folded(title, [all_of_it], "fadump dmesg prints all of it."))
    return Section("log", "The log's end", blocks)


def _log_lines(end: LogEnd, words: Words) -> list[list[Line]]:
    """Each message's lines."""
    told = words.tell_log(record.text for record in end.records)
    found = []
    for index, (record, text) in enumerate(zip(end.records, told, strict=True)):
        stamp = record.stamp
        if text is None:
            found.append([Line(f"{stamp}(the dump doesn't have this message's text)")])
            continue
        found.append([Line(f"{stamp}{line}", marked=index == end.first_sign) for line in text.split("\n")])
    return found


def _cpus(findings: Findings, words: Words) -> Section:
    summary = findings.summary
    if not summary.cpus:
        return Section("cpus", "CPUs", [Paragraph("The dump has no registers of any CPU.", Tone.WARNING)])
    idle = [cpu for cpu in summary.cpus if cpu.is_idle and not cpu.crashed]
    busy = sorted((cpu for cpu in summary.cpus if cpu not in idle), key=lambda cpu: not cpu.crashed)
    rows = [_cpu_row(findings, cpu, words) for cpu in busy[:_MOST_CPUS]]
    heads = ("CPU", "Did", "To run", "Task", "Where")
    blocks: list[Block] = [Table("CPUs that did something", heads, rows, right=(0, 2))] if rows else []
    if len(busy) > _MOST_CPUS:
        blocks.append(Paragraph(f"and {len(busy) - _MOST_CPUS} more that did something", Tone.QUIET))
    if idle:
        blocks.append(Paragraph(f"{counted(len(idle), 'CPU')} idle."))
    stacks: list[Block] = []
    for cpu in [cpu for cpu in busy if not cpu.crashed][:_MOST_CPUS]:
        title = words.tell(_cpu_title(summary, cpu))
        stacks += [Paragraph(title), *_stack(cpu.backtrace, words, title)]
    if stacks:
        blocks.append(Folded("Their stacks", stacks))
    return Section("cpus", "CPUs", blocks)


def _cpu_row(findings: Findings, cpu: Cpu, words: Words) -> Sequence[str]:
    task = findings.summary.running_on(cpu)
    queues = () if findings.activity is None else findings.activity.run_queues
    to_run = next((str(queue.runnable) for queue in queues if queue.cpu == cpu.number), "?")
    did = (
        "crashed"
        if cpu.crashed
        else "offline"
        if cpu.online is False
        else "user space"
        if cpu.in_user_space
        else "kernel"
    )
    symbols: dict[int | None, str] = {frame.pc: frame.symbol.name for frame in cpu.backtrace.frames if frame.symbol}
    blamed = judge(findings).at if cpu.crashed else None
    where = symbols.get(blamed) or next(iter(symbols.values()), "")
    ran = "" if task is None else f"{task.name} ({task.pid})"
    name = "?" if cpu.number is None else str(cpu.number)
    return name, did, to_run, words.tell(ran), words.tell(where)


def _blocked(summary: Summary, words: Words) -> Section:
    if summary.tasks is None:
        text = (
            "Tasks can't be told: the kernel has no BTF in this dump, and no vmlinux with debug information was given."
        )
        return Section("blocked", "Blocked tasks", [Paragraph(text, Tone.WARNING)])
    groups = [group for group in summary.stacks if _does_wait(group)]
    others = [group for group in summary.stacks if not _does_wait(group) and not group.cpus and group.backtrace.frames]
    blocks: list[Block] = [] if groups else [Paragraph("No task was blocked.")]
    for group in groups[:_MOST_GROUPS]:
        blocks += [Paragraph(_group_title(group, words)), Folded("The stack", list(_group_stack(group, words)))]
    if len(groups) > _MOST_GROUPS:
        blocks.append(Paragraph(f"and {len(groups) - _MOST_GROUPS} more stacks of blocked tasks", Tone.QUIET))
    folded: list[Block] = []
    for group in others[:_MOST_GROUPS]:
        folded += [Paragraph(_group_title(group, words)), *_group_stack(group, words)]
    if folded:
        blocks.append(Folded(f"Stacks of the others, {counted(len(others), 'group')} of equal ones", folded))
    return Section("blocked", "Blocked tasks", blocks)


def _does_wait(group: StackGroup) -> bool:
    """Whether its tasks are blocked, or wait for a server that may never answer."""
    return group.is_blocked or group.waits_for is not None


def _group_title(group: StackGroup, words: Words) -> str:
    named = [f"{task.name} ({task.pid})" for task in group.tasks[:_MOST_NAMED]]
    more = [f"{len(group.tasks) - _MOST_NAMED} more"] if len(group.tasks) > _MOST_NAMED else []
    waits = "" if group.waits_for is None else f", waiting for {group.waits_for}"
    if group.is_blocked and not waits:
        place = place_of_waiting(group.backtrace.frames, "")
        waits = "" if place is None else f", waiting in {place.name}"
    return words.tell(
        f"{counted(len(group.tasks), 'task')} {group.tasks[0].state_word}{waits}: {', '.join([*named, *more])}"
    )


def _group_stack(group: StackGroup, words: Words) -> Iterator[Block]:
    yield from _stack(group.backtrace, words, f"The stack of {words.tell(group.tasks[0].name)}")


def _tasks(summary: Summary, words: Words) -> Section:
    tasks = [task for task in summary.tasks or () if not task.is_kernel_thread]
    if not tasks:
        return Section("tasks", "Programs", [Paragraph("No program is known of.", Tone.QUIET)])
    largest = sorted(tasks, key=lambda task: -(task.resident_bytes or 0))
    rows = [_task_row(task, words) for task in largest[:_MOST_TASKS]]
    heads = ("PID", "Process", "Parent", "User", "State", "Memory", "Name")
    blocks: list[Block] = [Table("Programs", heads, rows, right=(0, 1, 2, 3, 5))]
    if len(tasks) > _MOST_TASKS:
        blocks.append(Paragraph(f"and {len(tasks) - _MOST_TASKS} with less memory", Tone.QUIET))
    return Section("tasks", "Programs", [Folded(f"{counted(len(tasks), 'thread')}, the largest first", blocks)])


def _task_row(task: Task, words: Words) -> Sequence[str]:
    numbers = ["?" if value is None else str(value) for value in (task.pid, task.process, task.parent, task.user)]
    memory = "" if not task.resident_bytes else binary_size(task.resident_bytes)
    return (*numbers, task.state_word, memory, words.tell(task.name))
