"""The headers and notes of a /proc/vmcore as text, for comparison."""

import os
from dataclasses import dataclass

from fadump.compare.questions import ABSENT
from fadump.errors import FormatError
from fadump.vmcore.elfcore import ElfCore
from fadump.vmcore.notes import Prstatus, decode_prstatus

_CRASHED = "the CPU that crashed"
_LOADS, _CPUS = "PT_LOADs of /proc/vmcore", "CPUs in /proc/vmcore"


@dataclass(frozen=True, slots=True)
class CoreHead:
    """``loads`` are the PT_LOADs, ``cpus`` the CPUs' notes, in order; all are in the file's first ``size_bytes``."""

    loads: str
    cpus: tuple[Prstatus, ...]
    size_bytes: int


def core_answers(core: CoreHead | None, crash_cpu: int) -> dict[str, str]:
    """The answers by the question's name; None: there is no /proc/vmcore.

    The registers of ``crash_cpu`` are left out, as they depend on where that kernel was when it crashed.
    """
    if core is None:
        return {_LOADS: ABSENT, _CPUS: ABSENT}
    cpus = (_CRASHED if number == crash_cpu else _cpu_text(cpu) for number, cpu in enumerate(core.cpus))
    return {_LOADS: core.loads, _CPUS: "\n".join(cpus)}


def read_core_head(head: bytes) -> CoreHead:
    """Read a core's headers and notes from ``head``, its beginning.

    File offsets are relative to the first PT_LOAD, as the size of VMCOREINFO before it depends on the kernel.

    :raises FormatError: it is not a core's.
    """
    fd = os.memfd_create("fadump-core-head")
    with os.fdopen(fd, "wb", closefd=False) as file:
        file.write(head)
    with ElfCore(fd, damage=list[FormatError]()) as core:  # head has no memory
        first = core.segments[0].file_offset if core.segments else len(head)
        loads = "\n".join(
            f"{load.physical} at {load.virtual_address:#x}, {load.file_bytes:#x} bytes in the file at "
            f"{load.file_offset - first:+#x}"
            for load in core.segments
        )
        notes = [decode_prstatus(note, core.byte_order) for note in core.notes if note.is_prstatus()]
        return CoreHead(loads, tuple(notes), first)


def _cpu_text(cpu: Prstatus) -> str:
    values = " ".join(f"{name} {value:x}" for name, value in cpu.registers.items() if value)
    return f"signal {cpu.signal} pid {cpu.pid} {values}"
