"""Tasks and their stacks as drgn reads them, by debug information."""

from drgn import TypeKind
from drgn.helpers.linux.mm import task_rss
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_cpu, task_state_to_char

from fadump.abi.linux.page_table import PAGE_OFFSET

KERNEL_THREAD = 0x0020_0000
ENDED = "ZX"


def all_of(task):
    """What is known of one of our tasks."""
    own = (task.address, task.pid, task.process, task.parent, task.name, task.state, task.cpu, task.user)
    return (*own, task.started_ns, task.user_ns, task.system_ns, task.resident_bytes, task.is_kernel_thread)


def all_by_drgn(program):
    """The same by drgn, of all tasks."""
    page_bytes = program["PAGE_SIZE"].value_()
    for task in for_each_task(program):
        resident = _resident_pages(program, task) * page_bytes if task.mm else 0
        yield (
            *(task.value_(), task.pid.value_(), task.tgid.value_(), task.real_parent.tgid.value_()),
            *(task.comm.string_().decode(), task_state_to_char(task), task_cpu(task)),
            *(task.real_cred.uid.val.value_(), task.start_boottime.value_(), task.utime.value_(), task.stime.value_()),
            *(resident, bool(task.flags & KERNEL_THREAD)),
        )


def differing_stacks(system, program):
    """The names of tasks whose stacks differ from drgn's, with both, and how many were compared.

    drgn has no frame for what is in user space, and one for each inlined function.
    """
    compared, differing = 0, {}
    for group in system.stacks:
        for task in group.tasks:
            if group.cpus or task.state in ENDED:
                continue
            theirs = [frame for frame in program.stack_trace(task.pid) if not frame.is_inline]
            calls = [frame.pc for frame in theirs if frame.pc >= PAGE_OFFSET]
            ours = [frame.pc for frame in group.backtrace.frames if frame.pc >= PAGE_OFFSET]
            compared += 1
            if calls != ours:
                differing[task.name] = ([f"{pc:x}" for pc in ours], [f"{pc:x}" for pc in calls])
    return compared, differing


def _resident_pages(program, task):
    """Before Linux 6.2, drgn adds what threads have counted and the kernel hasn't taken over yet."""
    counts = task.mm.rss_stat
    if counts.type_.kind == TypeKind.ARRAY:
        return task_rss(program, task).total
    return sum(max(0, counts.count[number].counter.value_()) for number in (0, 1, 3))
