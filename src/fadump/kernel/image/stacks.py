"""What the model kernel's CPUs do: idle, or write to /proc/sysrq-trigger; functions, stacks and registers.

Step "crash" of docs/architecture.md. Call chains are those of a real crash of Linux 6.12; the functions' addresses are
the model's own. Frames are :mod:`fadump.abi.linux.stack`'s.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.abi.linux.stack import INTERRUPT_PLACES, MSR_PR
from fadump.abi.platform import Platform
from fadump.kernel.image.kallsyms import Symbol
from fadump.kernel.state import STACKS, TEXT
from fadump.kernel.traits import KernelTraits
from fadump.memory.guest import GuestMemory

_FUNCTION_BYTES = 0x1000
_STACK_BYTES = 0x4000
_FRAME_BYTES = 0x80
_MSR = 0x8000_0000_0280_B033
_USER_MSR = _MSR | MSR_PR | 0x4000_0000_0000_0000
_SYSTEM_CALL = 0x3000
_MARKER, _OLD_MARKER = int.from_bytes(b"REGS", "big"), int.from_bytes(b"regshere", "big")
_FRAMES = struct.Struct("<QQQ")

Calls = Sequence[tuple[str, int]]
"""Functions, the innermost first, and the offset that each is at."""

_CRASH: Calls = (
    ("crash_fadump", 0x228), ("ppc_panic_fadump_handler", 0x4C), ("atomic_notifier_call_chain", 0x70),
    ("panic", 0x164), ("sysrq_handle_crash", 0x20), ("__handle_sysrq", 0xF0), ("write_sysrq_trigger", 0x188),
    ("proc_reg_write", 0xF4), ("vfs_write", 0xDC), ("ksys_write", 0x7C), ("system_call_exception", 0xBC),
    ("system_call_vectored_common", 0xF0),
)  # fmt: skip
_IDLE: Calls = (
    ("arch_cpu_idle", 0x44), ("default_idle_call", 0x4C), ("do_idle", 0x124), ("cpu_startup_entry", 0x48),
    ("start_secondary", 0x5A0), ("start_secondary_prolog", 0x10),
)  # fmt: skip
_INNERMOST = {Platform.PSERIES: ("plpar_hcall_norets_notrace", 0x18), Platform.POWERNV: ("power9_idle_stop", 0x24)}
_OTHERS = (
    "start_here_common", "start_kernel", "setup_arch", "early_init_devtree", "fadump_reserve_mem", "setup_fadump",
    "register_fadump", "rtas_fadump_register", "opal_fadump_register", "fadump_process", "fadump_release_memory",
    "rtas_call", "rtas_os_term", "opal_call", "__alloc_pages", "__free_pages", "kmem_cache_alloc", "kfree",
    "filemap_read", "do_anonymous_page", "handle_mm_fault", "schedule", "__schedule", "vprintk_emit", "_printk",
    "system_reset_exception", "machine_check_exception", "timer_interrupt", "do_exit", "kernel_clone",
)  # fmt: skip
_FUNCTIONS = [*dict.fromkeys(name for name, _at in (*_CRASH, *_INNERMOST.values(), *_IDLE)), *_OTHERS]


@dataclass(frozen=True, slots=True)
class Doing:
    """Where a CPU is: the registers that a backtrace begins with, by their names in pt_regs."""

    nip: int
    link: int
    gpr1: int
    msr: int = _MSR

    def registers(self) -> Mapping[str, int]:
        """The same as a mapping."""
        return {"nip": self.nip, "link": self.link, "gpr1": self.gpr1, "msr": self.msr}


def function_symbols() -> list[Symbol]:
    """The functions of the image."""
    return [Symbol(name, "T" if name in _OTHERS else "t", _address(name, 0)) for name in _FUNCTIONS]


def idle(cpu: int, platform: Platform) -> Doing:
    """An idle CPU, by its logical number."""
    return _doing(_stack(cpu), [_INNERMOST[platform], *_IDLE])


def crashing(cpu: int) -> Doing:
    """A CPU in crash_fadump(), called by way of /proc/sysrq-trigger."""
    return _doing(_stack(cpu) + _STACK_BYTES // 2, _CRASH)


def write_stacks(memory: GuestMemory, cpus: int, platform: Platform, kernel: KernelTraits) -> None:
    """Write both stacks of each CPU."""
    for cpu in range(min(cpus, STACKS.size_bytes // _STACK_BYTES)):
        memory.write(_stack(cpu), _frames(_stack(cpu), [_INNERMOST[platform], *_IDLE]))
        start = _stack(cpu) + _STACK_BYTES // 2
        memory.write(start, _frames(start, _CRASH) + _interrupt_frame(kernel))


def _doing(stack: int, calls: Calls) -> Doing:
    return Doing(_address(*calls[0]), _address(*calls[1]), PAGE_OFFSET | stack)


def _address(function: str, at: int) -> int:
    return PAGE_OFFSET | TEXT.start + _FUNCTION_BYTES * _FUNCTIONS.index(function) + at


def _stack(cpu: int) -> int:
    """The address of the innermost frame; CPUs share stacks if there are more than stacks."""
    return STACKS.start + cpu * _STACK_BYTES % STACKS.size_bytes


def _frames(start: int, calls: Calls) -> bytes:
    """A frame for each function, with the return address of the function that it called."""
    frames = bytearray(_FRAME_BYTES * len(calls))
    for number in range(len(calls)):
        frame = _FRAME_BYTES * number
        last = number == len(calls) - 1
        caller = 0 if last and calls is not _CRASH else PAGE_OFFSET | start + frame + _FRAME_BYTES
        _FRAMES.pack_into(frames, frame, caller, 0, _address(*calls[number]))
    if calls is _CRASH:  # the frame of the system call follows instead
        del frames[-_FRAME_BYTES:]
    return bytes(frames)


def _interrupt_frame(kernel: KernelTraits) -> bytes:
    """The outermost frame, which the system call made: where user space continues."""
    marker_at, registers_at = INTERRUPT_PLACES[0 if kernel.small_interrupt_frames else 1]
    user = {"nip": 0x100B_B2E8, "gpr1": 0x7FFF_E755_CFD0, "msr": _USER_MSR, "trap": _SYSTEM_CALL}
    registers = struct.pack(f"<{len(REGISTER_NAMES)}Q", *(user.get(name, 0) for name in REGISTER_NAMES))
    frame = bytearray(registers_at) + registers
    name, at = _CRASH[-1]
    _FRAMES.pack_into(frame, 0, user["gpr1"], 0, _address(name, at))
    struct.pack_into("<Q", frame, marker_at, _MARKER if kernel.small_interrupt_frames else _OLD_MARKER)
    return bytes(frame)
