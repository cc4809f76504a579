"""The function that is blamed: where it went wrong, by a stack, else by the registers in the log.

A function that only does what its caller says, as memcpy() and spin locks do, or only finds out what has gone wrong
before, as list_del()'s check does, isn't blamed: its caller is. Linux: the functions' names, of several versions;
show_regs() in arch/powerpc/kernel/process.c.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.linux.cpus.backtrace import Frame
from fadump.linux.cpus.cpu import Cpu

FAULTS = frozenset({0x200, 0x300, 0x380, 0x400, 0x480, 0x600, 0x700})
"""The interrupts of an access or an instruction that is wrong."""
FETCHES = frozenset({0x400, 0x480})
"""Those of an instruction that can't be fetched: what the address is named for, as a variable, has not run."""
_MENDED = frozenset({0x300, 0x380, 0x400, 0x480, 0x600})
"""Those that the kernel may go on after: of a page, of a segment, of an address that isn't aligned."""
_FETCH_IN_LOG = "instruction fetch"
_SYSTEM_CALLS = frozenset({0xC00, 0x3000})
PLACE = r"(\S+?)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[([^\]\s]+)[^\]]*\])?"
"""A function in a message, and its module."""
_NIP = re.compile(rf"NIP \[([0-9a-f]{{1,16}})\] {PLACE}")
_LR = re.compile(rf"LR \[([0-9a-f]{{1,16}})\] {PLACE}")
_NOWHERE = "at an address where no code is"
_NO_FUNCTION = re.compile(r"NIP \[[0-9a-f]{1,16}\] 0x[0-9a-f]+$")

_MACHINERY = re.compile(
    r"crash_fadump|ppc_panic_.*|fadump_.*|\w*notifier_call_chain|v?panic|nmi_panic|__crash_kexec|crash_kexec|die"
    r"|__die|oops_end|_exception(?:_pkey)?|bad_page_fault|__bad_page_fault|dump_stack\w*|\w*check_panic_on_warn"
    r"|__warn\w*|warn_slowpath\w*|\w*report_bug\w*|\w*program_check\w*|\w*panic_on\w*|panic_\w+|nmi_panic_\w+"
    r"|(?:data|instruction)_access_\w+|alignment_\w+|machine_check_\w+|\w*do_page_fault|handle_page_fault|do_hash_\w+"
    r"|do_(?:bad_)?(?:slb_fault|segment_interrupt|page_fault_segv)"
)
"""What the kernel does in order to end: a function that has called these is told, or the one that a fault stopped."""
_HELPERS = re.compile(
    r"_*(?:do_|arch_)?(?:raw_|queued_)?(?:spin|read|write)_(?:try|un)?lock\w*|\w*yield_to_\w+"
    r"|osq_lock\w*|_?_?(?:rt_|ww_)?mutex_\w*|\w*rwsem_\w+|(?:down|up)(?:_read|_write|_killable|_interruptible)*"
    r"|_?_?mem(?:cpy|set|move|cmp|chr|zero)\w*|str[a-z]*(?:len|cpy|cmp|chr|cat|str|pbrk|spn)\w*"
    r"|_?_?(?:raw_)?copy_(?:to|from|in)_\w*|_?_copy_\w+|_?_?copy_tofrom_user\w*|_?_?(?:arch_)?clear_user\w*"
    r"|_?_?list_\w*valid\w*|_?_?list_(?:add|del)\w*|rb_(?:insert|erase|next|first)\w*|refcount_\w+"
    r"|_?_?fortify_\w+|usercopy_\w+|_?_?check_object_size\w*|_?_?check_heap_object\w*|_?_?stack_chk_fail|_?_?ubsan_\w+"
    r"|_?_?(?:kasan|asan|kfence|kmsan)_\w+"
    r"|_*kv?(?:m|z|c|re)?(?:alloc|free)\w*|_?_?kmem_cache_\w+|_*slab_(?:alloc|free|err|bug|fix)\w*|object_err"
    r"|free_(?:to_partial_list|debug_processing|large_kmalloc|unref_page\w*|pages?)|_?_?free_pages\w*|vfree\w*"
    r"|_?_?(?:const_)?[un]?delay"
)
_WAITS = re.compile(
    r"_?_?_?schedule\w*|io_schedule\w*|_?_?wait_for_co\w+|do_wait_for_common|_?_?wait_on_\w+|\w*bit_wait\w*"
    r"|[fms]sleep\w*|usleep_range\w*|folio_wait\w*|_?_?folio_lock\w*|_?_?lock_page\w*|percpu_rwsem\w*|_?_?percpu_(?:down|up)\w*"
    r"|_?_?_?down\w*|_?_switch(?:_to)?|preempt_schedule\w*|rt_spin_\w+|prepare_to_wait\w*"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A function, and its module if it isn't the kernel's own.

    ``source`` says how it is known, ``at`` is an address in it, ``through`` where it went wrong on behalf of this one,
    as "in a_function()"; empty: in this one itself.
    """

    function: str
    module: str
    source: str
    at: int | None = None
    through: str = ""

    @property
    def name(self) -> str:
        """The function and its module, in words."""
        return f"{self.function}() of the module {self.module}" if self.module else f"{self.function}()"

    @property
    def culprit(self) -> str:
        """The same with what is blamed first."""
        return f"the module {self.module}, in {self.function}()" if self.module else self.name

    @property
    def because(self) -> str:
        """What the place rests on, as a reason."""
        if self.through:
            return f"it happened {self.through}, called by {self.name}, {self.source}"
        return f"it happened in {self.name}, {self.source}"


def place_of_crash(cpu: Cpu | None, texts: Sequence[str]) -> Place | None:
    """What was interrupted by a fault, or who called panic(), as while a fault of a page was being mended."""
    of_log = place_of_log(texts)
    if cpu is None or cpu.in_user_space:
        return of_log
    frames = cpu.backtrace.frames
    faulted = _faulted(cpu)
    was_mended = faulted is not None and _was_mended(frames, faulted)
    if faulted is not None and not was_mended:
        source = "by the registers of its fault"
        trap = cpu.registers["trap"] if cpu.registers["trap"] in FAULTS else frames[faulted].trap
        jumped = trap in FETCHES
        found = _first_to_blame(frames[faulted + jumped :], source, _NOWHERE if jumped else "")
        if found is not None:
            return found
    if of_log is not None and not was_mended and not _MACHINERY.fullmatch(of_log.function):
        return of_log
    named = [frame for frame in frames if _is_named(frame)]
    callers = [number for number, frame in enumerate(named) if not _is_machinery(frame)]
    if callers and callers[0] > 0:
        return _first_to_blame(named[callers[0] :], "which is on the stack of the CPU that crashed")
    return of_log


def place_of_log(texts: Sequence[str]) -> Place | None:
    """The first function that the log has registers of; of a jump to where no function is, its caller."""
    for number, text in enumerate(texts):
        found = _NIP.search(text)
        if found is None and _NO_FUNCTION.search(text) is None:
            continue
        caller = next((match for line in texts[number : number + 2] if (match := _LR.search(line)) is not None), None)
        has_jumped = found is None or any(_FETCH_IN_LOG in text for text in texts[:number])
        if has_jumped and caller is not None:
            return _of_match(caller, _NOWHERE)
        if found is None:
            return None
        if caller is not None and _HELPERS.fullmatch(found[2]) and not _HELPERS.fullmatch(caller[2]):
            return _of_match(caller, f"in {found[2]}()")
        return _of_match(found)
    return None


def place_of_interrupted(cpu: Cpu, texts: Sequence[str]) -> Place | None:
    """What a CPU was interrupted in that did nothing else any more."""
    frames = cpu.backtrace.frames
    stopped = next(
        (
            number
            for number, frame in enumerate(frames)
            if frame.trap is not None and frame.trap not in _SYSTEM_CALLS and frame.pc >= PAGE_OFFSET
        ),
        0,
    )
    return _first_to_blame(frames[stopped:], f"where CPU {cpu.number} was interrupted") or place_of_log(texts)


def place_of_waiting(frames: Sequence[Frame], source: str) -> Place | None:
    """What called the function that waits."""
    named = [frame for frame in frames if _is_named(frame)]
    found = next(
        (frame for frame in named if not _does_others_work(frame) and not _WAITS.fullmatch(_name(frame))), None
    )
    return None if found is None else _of_frame(found, source)


def _faulted(cpu: Cpu) -> int | None:
    """The index of the frame that a fault interrupted."""
    frames = cpu.backtrace.frames
    if cpu.registers["trap"] in FAULTS and frames:
        return 0
    return next((number for number, frame in enumerate(frames) if frame.trap in FAULTS), None)


def _was_mended(frames: Sequence[Frame], faulted: int) -> bool:
    """Whether somebody else has ended the kernel, who was to mend this fault."""
    return frames[faulted].trap in _MENDED and not all(map(_is_machinery, filter(_is_named, frames[:faulted])))


def _first_to_blame(frames: Sequence[Frame], source: str, through: str = "") -> Place | None:
    """The innermost function, or whom it worked for; ``through`` is where it went wrong if that isn't in ``frames``."""
    named = [frame for frame in frames if _is_named(frame)]
    if not named:
        return None
    culprit = next((frame for frame in named if not _does_others_work(frame)), named[0])
    inner = "" if culprit is frames[0] else f"in {_name(frames[0])}()" if _is_named(frames[0]) else _NOWHERE
    return _of_frame(culprit, source, through or inner)


def _does_others_work(frame: Frame) -> bool:
    return _HELPERS.fullmatch(_name(frame)) is not None or _is_machinery(frame)


def _is_machinery(frame: Frame) -> bool:
    return _MACHINERY.fullmatch(_name(frame)) is not None


def _of_match(found: re.Match[str], through: str = "") -> Place:
    return Place(found[2], found[3] or "", "by the registers in the log", int(found[1], 16), through)


def _of_frame(frame: Frame, source: str, through: str = "") -> Place:
    return Place(_name(frame), "" if frame.symbol is None else frame.symbol.module, source, frame.pc, through)


def _is_named(frame: Frame) -> bool:
    return frame.symbol is not None and frame.pc >= PAGE_OFFSET


def _name(frame: Frame) -> str:
    """Without what a compiler adds, as in "name.constprop.0"."""
    name = "" if frame.symbol is None else frame.symbol.name
    return name.partition(".")[0] or name
