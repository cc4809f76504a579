"""Proof of a cycle's dump: the machine at its crash is compared with the saved dump.

The machine's memory and CPUs are copied before the firmware changes anything, by code other than the firmware's
(:mod:`fadump.proof.crash_image`); the saved vmcore is compared with that copy, byte for byte.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fadump.abi.elf import CORE_NAME, NT_PRSTATUS
from fadump.abi.linux import crash_info
from fadump.abi.registers import CpuRegisters
from fadump.errors import MachineError
from fadump.firmware.contract import PreservedDump
from fadump.machine.contract import FirmwareMemory, Machine
from fadump.memory.ranges import Range, RangeSet
from fadump.progress import Progress
from fadump.proof.compare import (
    Comparison,
    Exclusion,
    OpalComparison,
    compare,
    compare_cpus,
    compare_opalcore,
    compare_stored,
)
from fadump.proof.crash_image import CrashImage
from fadump.proof.hash_table import HashTableComparison, HashTableProof
from fadump.vmcore.check import sizes
from fadump.vmcore.contract import Dump, State
from fadump.vmcore.elfcore import ElfCore
from fadump.vmcore.notes import decode_prstatus, encode_note

_BEFORE_CRASH_INFO = (
    "Linux crashed before it had written its crash information, as its registration had only just come back: the dump "
    "has every CPU's registers as the firmware saw them, and who crashed is in its log; crash later to have Linux's own"
)
_MOST_HEADER_BYTES = 0x1000
"""A crash-info header with a cpumask of 8192 CPUs has less."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``memory`` counts every byte; ``registers`` is a sentence for each register that is not what the CPU had, None if
    no register was compared.

    ``opal`` is about OPAL's own core, if there is one, ``hash_table`` about the preserved hash page table, if there is
    one and the dump has been released. ``remark`` is a sentence about an unusual crash.
    """

    memory: Comparison
    registers: Sequence[str] | None
    opal: OpalComparison | None = None
    hash_table: HashTableComparison | None = None
    remark: str | None = None

    @property
    def same(self) -> bool:
        """Whether no byte and no register differs."""
        opal_differs = self.opal is not None and self.opal.bytes_different
        table_differs = self.hash_table is not None and self.hash_table.bytes_different
        return not (self.memory.bytes_different or self.registers or opal_differs or table_differs)


class Verifier:
    """Takes a copy of RAM at one cycle's crash and then judges its dump. A context manager, which frees the copy."""

    def __init__(self) -> None:
        self._image: CrashImage | None = None
        self._crashing_cpu: int | None = None
        self._firmware_memory: Sequence[FirmwareMemory] = ()
        self._hash_tables = HashTableProof()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def crashed(self, machine: Machine, cpus: Sequence[CpuRegisters], crashing_cpu: int | None) -> None:
        """Copy the machine, which is stopped; the firmware must not have changed anything yet."""
        self.close()
        self._image = CrashImage.take(machine.segments, cpus)
        self._crashing_cpu = crashing_cpu
        self._firmware_memory = machine.firmware_memory
        self._hash_tables.crashed(machine)

    def released(self, machine: Machine, dump: PreservedDump) -> None:
        """Look at what the capture kernel was left besides memory, which no vmcore has."""
        self._hash_tables.released(machine, dump)

    def judge(self, vmcore: Path, dump: PreservedDump, opalcore: Path | None = None) -> Verdict:
        """Compare all of a dump, and of OPAL's core if there is one, with the machine at its crash.

        ``dump`` is what the firmware preserved: it says where the crashed kernel left its crash-info header,
        and which memory was copied. Memory that the firmware uses is left out, unless it was copied.

        :raises FormatError: the file is not a dump.
        :raises MachineError: nothing has crashed yet.
        """
        image = self._taken()
        memory = self._compare_memory(vmcore, dump.boot_memory)
        with ElfCore.open(vmcore) as core:
            registers = self._compare_registers(core, image, dump)
        opal = None if opalcore is None else self._judge_opalcore(opalcore, image)
        return Verdict(memory, registers, opal, self._hash_tables.result, self._remark(image, dump))

    def judge_saved(self, dump: Dump, preserved: PreservedDump) -> Verdict:
        """Compare a dump of any format, as saved by the system's own user space, with the machine.

        ``preserved`` is as in :meth:`judge`.

        :raises FormatError: the dump is damaged.
        :raises MachineError: nothing has crashed yet.
        """
        image = self._taken()
        stored_bytes = sizes(dump)[State.STORED]
        with Progress.step("Comparing the dump with the machine at its crash", stored_bytes, "bytes") as step:
            excluded = [*self._exclusions(preserved.boot_memory), *_left_out_of_vmcore(image, preserved)]
            memory = compare_stored(dump, image, excluded, over_zeros=_put_in(dump), advance=step.advance)
        registers = self._compare_registers(dump, image, preserved)
        return Verdict(memory, registers, hash_table=self._hash_tables.result, remark=self._remark(image, preserved))

    def judge_kdump(self, vmcore: Path) -> Verdict:
        """Compare a dump of kdump's with the machine when its crash kernel began: all memory in it.

        No register is compared: the crashed kernel has written them into its memory itself, before there was anything
        to look at.

        :raises FormatError: the file is not a dump.
        :raises MachineError: no crash kernel was seen to begin.
        """
        return Verdict(self._compare_memory(vmcore, RangeSet()), None)

    def _taken(self) -> CrashImage:
        if self._image is None:
            raise MachineError("there was no crash to compare the dump with")
        return self._image

    def _compare_memory(self, vmcore: Path, copied: RangeSet) -> Comparison:
        image = self._taken()
        with ElfCore.open(vmcore) as core:
            total_bytes = sum(segment.in_file.size_bytes for segment in core.segments)
            with Progress.step("Comparing the dump with the machine at its crash", total_bytes, "bytes") as step:
                return compare(core, image, self._exclusions(copied), advance=step.advance)

    def _compare_registers(self, core: ElfCore | Dump, image: CrashImage, dump: PreservedDump) -> list[str]:
        info = _crash_info(image, dump)
        registers = compare_cpus(core, image, info.crashing_cpu)
        return registers + _compare_crashing_cpu(core, image, info, self._crashing_cpu)

    def _remark(self, image: CrashImage, dump: PreservedDump) -> str | None:
        """Linux (fadump.c, register_fadump()) writes a header that names no CPU, calls the firmware, and then notes
        that it is registered. A panic before that finds should_fadump_crash() false, and leaves the header alone."""
        if self._crashing_cpu is None or _crash_info(image, dump).crashing_cpu is not None:
            return None
        return _BEFORE_CRASH_INFO

    def _judge_opalcore(self, opalcore: Path, image: CrashImage) -> OpalComparison:
        with ElfCore.open(opalcore) as core:
            return compare_opalcore(core, image)

    def _exclusions(self, copied: RangeSet) -> list[Exclusion]:
        return [
            Exclusion(piece, f"reserved for firmware in the crashed kernel's device tree ({memory.name})")
            for memory in self._firmware_memory
            for piece in RangeSet([memory.range]) - copied
        ]

    def close(self) -> None:
        """Free the copy of RAM."""
        if self._image is not None:
            self._image.close()
            self._image = None


def _crash_info(image: CrashImage, dump: PreservedDump) -> crash_info.CrashInfo:
    if dump.crash_info is None:
        raise MachineError("the firmware doesn't know where the kernel has its crash-info header")
    return crash_info.decode(image.read(dump.crash_info, crash_info.HEADER_BYTES))


def _left_out_of_vmcore(image: CrashImage, preserved: PreservedDump) -> Iterator[Exclusion]:
    """The crash-info header: /proc/vmcore ends before it, and has what is behind it in the same page. A tool that saves
    whole pages has zeros in its place."""
    if preserved.crash_info is None:
        return
    size_bytes = crash_info.area_bytes(image.read(preserved.crash_info, crash_info.HEADER_BYTES))
    if size_bytes is not None and size_bytes <= _MOST_HEADER_BYTES:
        yield Exclusion(Range.sized(preserved.crash_info, size_bytes), "the crash-info header, not in /proc/vmcore")


def _put_in(dump: Dump) -> Mapping[bytes, str]:
    """Each CPU's NT_PRSTATUS as ``fadump save`` puts it over its crash_notes, where kdump has it and drgn looks for it.

    The registers in it are compared with the CPUs', as those of the dump's own note.
    """
    return {
        encode_note(CORE_NAME, NT_PRSTATUS, note.desc, dump.byte_order): "a CPU's registers, put over zeros for drgn"
        for note in dump.notes
        if note.is_prstatus()
    }


def _compare_crashing_cpu(
    core: ElfCore | Dump, image: CrashImage, info: crash_info.CrashInfo, triggered_by: int | None
) -> list[str]:
    """Sentences about registers in the crashing CPU's note that its kernel did not save.

    If the platform has ended the guest, or Linux didn't know yet that it was registered, the header names no CPU, and
    all CPUs' notes come from the firmware.
    """
    if info.crashing_cpu is None:
        return []
    if triggered_by is not None and info.crashing_cpu != triggered_by:
        return [f"CPU {triggered_by} called the firmware, the crash-info header names CPU {info.crashing_cpu}"]
    notes = [decode_prstatus(note, core.byte_order) for note in core.notes if note.is_prstatus()]
    by_cpu = {cpu.cpu_id: note for cpu, note in zip(image.cpus, notes, strict=False)}
    if info.crashing_cpu not in by_cpu:
        return [f"the dump has no registers of CPU {info.crashing_cpu}, which crashed"]
    found = by_cpu[info.crashing_cpu].registers
    return [
        f"CPU {info.crashing_cpu}, which crashed: {name} is {found[name]:#x}, its kernel saved {saved:#x}"
        for name, saved in info.registers.items()
        if found[name] != saved
    ]
