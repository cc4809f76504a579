"""What ``fadump show --json`` prints of a dump, for programs."""

from dataclasses import asdict

from fadump.linux.cpus.backtrace import Backtrace
from fadump.linux.cpus.cpu import Cpu
from fadump.linux.state.task_stacks import StackGroup
from fadump.linux.state.tasks import Task
from fadump.linux.summary import Summary
from fadump.linux.vmlinux.source_lines import FrameLines


def as_json(summary: Summary, lines: FrameLines) -> dict[str, object]:
    """A summary as one JSON object; sizes are in bytes, addresses are numbers."""
    ending = summary.ending
    return {
        "result": "incomplete" if summary.missing else "complete",
        "kind": "dump" if summary.opal is None else "opalcore",
        "format": summary.format,
        "machine": summary.machine,
        "release": summary.release,
        "version": None if summary.kernel is None else summary.kernel.version,
        "node": None if summary.kernel is None else summary.kernel.node,
        "page_size": summary.page_bytes,
        "mmu": summary.mmu,
        "crash_time": summary.crash_time,
        "uptime_ns": None if ending is None else ending.uptime_ns,
        "panic": None if ending is None else ending.panic,
        "cause": None if ending is None else ending.cause,
        "task": None if ending is None or ending.task is None else {"pid": ending.task.pid, "name": ending.task.name},
        "hardware": None if ending is None else ending.hardware,
        "cpus": [
            _cpu_json(cpu, lines if cpu.crashed else {}) | {"task": _task_json(summary.running_on(cpu))}
            for cpu in summary.cpus
        ],
        "tasks": None if summary.tasks is None else [_task_json(task) for task in summary.tasks],
        "stacks": [_stack_json(group) for group in summary.stacks],
        "memory": [
            {
                "start": memory.range.start,
                "end": memory.range.end,
                **{str(state): size for state, size in memory.bytes_in.items()},
            }
            for memory in summary.memory
        ],
        "pages": None
        if summary.page_counts is None
        else {page_class.name.lower(): count for page_class, count in summary.page_counts.items()},
        "erased": summary.erased,
        "opal": None
        if summary.opal is None
        else {"entry": summary.opal.entry, "ended_by_itself": summary.opal.by_itself},
        "missing": list(summary.missing),
    }


def _task_json(task: Task | None) -> dict[str, object] | None:
    if task is None:
        return None
    return {
        "pid": task.pid,
        "process": task.process,
        "parent": task.parent,
        "state": task.state,
        "name": task.name,
        "cpu": task.cpu,
        "user": task.user,
        "started_ns": task.started_ns,
        "user_ns": task.user_ns,
        "system_ns": task.system_ns,
        "resident_bytes": task.resident_bytes,
        "kernel_thread": task.is_kernel_thread,
    }


def _stack_json(group: StackGroup) -> dict[str, object]:
    return {
        "pids": [task.pid for task in group.tasks],
        "state": group.tasks[0].state,
        "cpus": list(group.cpus),
        "waits_for": group.waits_for,
        "backtrace": _frames_json(group.backtrace, {}),
    }


def _frames_json(backtrace: Backtrace, lines: FrameLines) -> list[dict[str, object]]:
    return [
        {
            "address": frame.pc,
            "stack_pointer": frame.sp,
            "symbol": None if frame.symbol is None else frame.symbol.name,
            "offset": None if frame.symbol is None else frame.symbol.offset,
            "module": frame.symbol.module or None if frame.symbol is not None else None,
            "trap": frame.trap,
            "source": [asdict(line) for line in lines.get(frame.pc, ())],
        }
        for frame in backtrace.frames
    ]


def _cpu_json(cpu: Cpu, lines: FrameLines) -> dict[str, object]:
    return {
        "number": cpu.number,
        "pir": cpu.pir,
        "crashed": cpu.crashed,
        "online": cpu.online,
        "registers": dict(cpu.registers),
        "in_user_space": cpu.in_user_space,
        "in_firmware": cpu.in_firmware,
        "backtrace": _frames_json(cpu.backtrace, lines),
    }
