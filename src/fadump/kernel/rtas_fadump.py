"""pseries: the kernel's side of ibm,configure-kernel-dump and ibm,os-term.

Steps "register", "crash", "capture boot" and "release" of docs/architecture.md. Linux
arch/powerpc/platforms/pseries/rtas-fadump.c; rtas_call() and rtas_os_term() in arch/powerpc/kernel/rtas.c.
"""

from collections.abc import Iterator, Sequence

from fadump.abi.pseries import rtas
from fadump.abi.pseries.dump_structure import (
    HEADER,
    HEADER_BYTES,
    MAX_SECTIONS,
    REQUEST_COPY,
    SECTION_BYTES,
    DumpSection,
    DumpStatus,
    DumpStructure,
    SectionError,
    SectionType,
)
from fadump.abi.pseries.rtas import DumpCommand, RtasArguments, RtasStatus
from fadump.abi.registers import PAPR_TO_PT_REGS
from fadump.kernel.calls import Call, Errno, KernelPanicError, Steps
from fadump.kernel.crash_info import Header, is_valid
from fadump.kernel.plan.boot_memory import Region
from fadump.kernel.plan.cmdline import COMMAND_LINE_BYTES
from fadump.kernel.register_area import NoBufferError, UnreadableError, read_area
from fadump.kernel.state import OS_TERM_TEXT, OS_TERM_TEXT_BYTES, RTAS_ARGUMENTS, WORK_BUFFER, FadumpState
from fadump.kernel.vmcore import Registers
from fadump.memory.devicetree import DeviceTree
from fadump.memory.ranges import Range

_P = "rtas fadump: "
_MAX_WAIT_MS = 60_000
_FIXED_SECTIONS = 3
"""The sections of a kernel without one for each range: CPU state, hash page table, boot memory; in this order."""
_FIRMWARE_TYPES = (SectionType.CPU_STATE, SectionType.HPTE, SectionType.REAL_MODE_REGION)


class RtasFadump:
    """pseries' part of a kernel's FADump: registers a dump memory structure, and reads it back after the crash."""

    def __init__(self, state: FadumpState) -> None:
        self._state = state
        self._structure = DumpStructure()
        self._active: DumpStructure | None = None

    def scan(self, tree: DeviceTree) -> Steps[None]:
        node = tree.find("/rtas")
        if node is None or rtas.KERNEL_DUMP not in node.properties:
            return
        yield from ()
        state = self._state
        active = _as_linux_reads(node.properties[rtas.KERNEL_DUMP], by_place=not state.traits.region_per_range)
        self._active = active
        state.log.pr_info(f"{_P}Firmware-assisted dump is active.")
        state.active = True
        if state.traits.region_per_range:
            self._take_by_type(active)
        else:
            self._take_by_place(active)
        state.area = Range.sized(state.area.start, state.area_sizes.total)
        state.header_address = state.copy_address + state.boot_memory_bytes

    def _take_by_type(self, active: DumpStructure) -> None:
        """rtas_fadump_get_config()."""
        state, regions = self._state, []
        for section in active.sections:
            match section.type:
                case SectionType.CPU_STATE:
                    state.area = Range.sized(section.destination, 0)
                case SectionType.HPTE:
                    pass
                case SectionType.REAL_MODE_REGION:
                    if not section.source:
                        state.copy_address = section.destination
                    regions.append(Region(section.source, section.requested_bytes))
                case SectionType.PARAMETER_AREA:
                    state.parameter_area = section.destination
                case unknown:
                    state.log.pr_warn(f"{_P}Section type {unknown} unsupported on this kernel. Ignoring!")
        state.use_regions(regions)

    def _take_by_place(self, active: DumpStructure) -> None:
        """The same before Linux kernel commit 78d5cc15fb7d (in v6.10): three sections, whatever their types."""
        state = self._state
        cpus, _hptes, memory = _fixed_sections(active)
        state.use_regions([Region(memory.source, memory.requested_bytes)])
        state.boot_memory_top = state.boot_memory_bytes
        state.copy_address = memory.destination
        state.area = Range.sized(cpus.destination, 0)

    def setup_metadata(self) -> Steps[Errno]:
        yield from ()
        return Errno.OK

    def init_mem_struct(self) -> None:
        state = self._state
        state.copy_address = state.area.start + state.area_sizes.before_copy
        self._structure = DumpStructure(sections=tuple(self._sections()))
        state.header_address = state.copy_address + state.boot_memory_bytes
        state.memory.write(WORK_BUFFER, self._structure.encode().ljust(self._largest_bytes, b"\0"))

    def _sections(self) -> Iterator[DumpSection]:
        state = self._state
        at = state.area.start
        for type_, size_bytes in (
            (SectionType.CPU_STATE, state.system.cpu_state_bytes),
            (SectionType.HPTE, state.system.hpte_bytes),
        ):
            yield _section(type_, 0, size_bytes, at)
            at += size_bytes
        at = state.copy_address
        regions = state.regions if state.traits.region_per_range else [Region(0, state.boot_memory_bytes)]
        for region in regions:
            yield _section(SectionType.REAL_MODE_REGION, region.start, region.size_bytes, at)
            at += region.size_bytes
        if state.parameter_area is not None:
            yield _section(SectionType.PARAMETER_AREA, state.parameter_area, COMMAND_LINE_BYTES, state.parameter_area)

    def register(self) -> Steps[Errno]:
        state, log = self._state, self._state.log
        status = yield from self._configure(DumpCommand.REGISTER, self._structure.size_bytes, "register")
        match status:
            case None:
                return Errno.ETIMEDOUT
            case RtasStatus.SUCCESS:
                log.pr_info(f"{_P}Registration is successful!")
                state.registered = True
                return Errno.OK
            case RtasStatus.HARDWARE_ERROR:
                log.pr_err(f"{_P}Failed to register. Hardware Error(-1).")
            case RtasStatus.PARAMETER_ERROR:
                if not state.traits.region_per_range and not self._is_whole(state.regions):
                    log.pr_err(f"{_P}Can't have holes in boot memory area.")
                elif not any(region.contains(state.area) for region in state.ram):
                    log.pr_err(f"{_P}Can't have holes in reserved memory area.")
                log.pr_err(f"{_P}Failed to register. Parameter Error(-3).")
                return Errno.EINVAL
            case RtasStatus.ALREADY_REGISTERED:
                log.pr_err(f"{_P}Already registered!")
                state.registered = True
                return Errno.EEXIST
            case other:
                log.pr_err(f"{_P}Failed to register. Unknown Error({other}).")
        return Errno.EIO

    def unregister(self) -> Steps[Errno]:
        status = yield from self._configure(DumpCommand.UNREGISTER, self._largest_bytes, "unregister")
        if status is None:
            return Errno.ETIMEDOUT
        if status != RtasStatus.SUCCESS:
            self._state.log.pr_err(f"{_P}Failed to un-register - unexpected error({status}).")
            return Errno.EIO
        self._state.registered = False
        return Errno.OK

    def invalidate(self) -> Steps[Errno]:
        status = yield from self._configure(DumpCommand.INVALIDATE, self._largest_bytes, "invalidate")
        if status is None:
            return Errno.ETIMEDOUT
        if status != RtasStatus.SUCCESS:
            self._state.log.pr_err(f"{_P}Failed to invalidate - unexpected error ({status}).")
            return Errno.EIO
        self._state.active = False
        self._active = None
        return Errno.OK

    def cleanup(self) -> Steps[None]:
        yield from ()

    def process(self, header: Header) -> list[Registers] | None:
        active = self._active
        if active is None or not self._state.header_address:
            return None
        valid = self._is_good_by_type(active) if self._state.traits.region_per_range else self._is_good_by_place(active)
        if not valid or not is_valid(self._state, header, _P):
            return None
        return self._cpus(active, header)

    def _is_good_by_type(self, active: DumpStructure) -> bool:
        """rtas_fadump_process(): whether the firmware has copied all sections that matter."""
        log = self._state.log
        for index, section in enumerate(active.sections):
            whole = not section.error_flags and section.copied_bytes == section.requested_bytes
            what = f"type: {section.type} src addr: 0x{section.source:x} dest addr: 0x{section.destination:x}"
            if section.type in _FIRMWARE_TYPES and not whole:
                if section.error_flags:
                    log.pr_err(f"{_P}Dump taken by platform is not valid ({index})")
                if section.copied_bytes != section.requested_bytes:
                    log.pr_err(f"{_P}Dump taken by platform is incomplete ({index})")
                log.pr_warn(f"{_P}Region {what}")
                return False
            if section.type == SectionType.PARAMETER_AREA and not whole:
                log.pr_warn(f"{_P}Failed to process additional parameters! Proceeding anyway..")
                self._state.parameter_area = None
            elif section.type not in (*_FIRMWARE_TYPES, SectionType.PARAMETER_AREA):
                log.pr_warn(f"{_P}Unknown region found: {what}")
        return True

    def _is_good_by_place(self, active: DumpStructure) -> bool:
        """The same before Linux kernel commit 78d5cc15fb7d (in v6.10)."""
        cpus, _hptes, memory = _fixed_sections(active)
        if active.status == DumpStatus.ERROR or cpus.error_flags or memory.error_flags:
            self._state.log.pr_err(f"{_P}Dump taken by platform is not valid")
            return False
        if memory.copied_bytes != memory.requested_bytes or not cpus.copied_bytes:
            self._state.log.pr_err(f"{_P}Dump taken by platform is incomplete")
            return False
        return True

    def _cpus(self, active: DumpStructure, header: Header) -> list[Registers] | None:
        """rtas_fadump_build_cpu_notes()."""
        state = self._state
        by_type = (section for section in active.sections if section.type == SectionType.CPU_STATE)
        area = next(by_type, None) if state.traits.region_per_range else _fixed_sections(active)[0]
        if area is None:  # cpu_state_dest_vaddr was never set
            raise KernelPanicError("BUG: Kernel NULL pointer dereference on read at 0x00000000")
        try:
            cpus = list(read_area(state.memory, area.destination, state.traits.page_bytes))
        except NoBufferError as error:  # fadump_setup_cpu_notes_buf() is common code
            state.log.pr_err(f"fadump: {error}")
            return None
        except UnreadableError as error:
            state.log.pr_err(f"{_P}{error}")
            return None
        found: list[Registers] = []
        for cpu in cpus:
            if not header.cpu_mask >> min(cpu.cpu_id, state.traits.nr_cpus) & 1:
                continue
            if cpu.cpu_id == header.crashing_cpu:
                found.append(header.registers or {})
            else:
                values = cpu.values.items()
                found.append({PAPR_TO_PT_REGS[name]: value for name, value in values if name in PAPR_TO_PT_REGS})
        return found

    def trigger(self, cpu: int, message: str) -> Steps[None]:
        """rtas_os_term()."""
        state = self._state
        token = state.call_tokens.get(rtas.OS_TERM)
        if token is None or rtas.EXTENDED_OS_TERM not in state.call_tokens:
            return
        text = f"OS panic: {message}".encode()[: OS_TERM_TEXT_BYTES - 1]
        state.memory.write(OS_TERM_TEXT, text.ljust(OS_TERM_TEXT_BYTES, b"\0"))
        pointer = 0 if state.traits.os_term_without_text else OS_TERM_TEXT
        while True:
            status = yield from self._call(state.cpu_names[cpu], token, pointer)
            delay_ms = rtas.retry_delay_ms(status)
            if not delay_ms:
                break
            state.log.delay(delay_ms)
        if status != RtasStatus.SUCCESS:
            state.log.pr_emerg(f"{'rtas: ' if state.traits.names_rtas else ''}ibm,os-term call failed {status}")

    def region_show(self) -> str:
        state = self._state
        lines = []
        for section in (self._active or self._structure).sections:
            end = section.destination + section.requested_bytes - 1
            span = f"[{section.destination:#016x}-{end:#016x}]"
            sizes = f"{section.requested_bytes:#x} bytes, Dumped: {section.copied_bytes:#x}\n"
            copied = f"Src: {section.source:#016x}, Dest: {section.destination:#016x}, "
            match section.type:
                case SectionType.CPU_STATE:
                    lines.append(f"CPU :{span} {sizes}")
                case SectionType.HPTE:
                    lines.append(f"HPTE:{span} {sizes}")
                case SectionType.REAL_MODE_REGION:
                    counts = f"Size: {section.requested_bytes:#x}, Dumped: {section.copied_bytes:#x} bytes\n"
                    lines.append(f"DUMP: {copied}{counts}")
                case SectionType.PARAMETER_AREA:
                    words = state.memory.read(section.destination, COMMAND_LINE_BYTES).partition(b"\0")[0]
                    lines.append(f"\n{span}: cmdline append: '{words.decode('latin-1')}'\n")
                case other:
                    lines.append(f"Unknown region type {other} : {copied}")
        if self._active is not None:
            lines.append(f"\nMemory above {state.boot_memory_top:#016x} is reserved for saving crash dump\n")
        return "".join(lines)

    @property
    def _largest_bytes(self) -> int:
        """sizeof(struct rtas_fadump_mem_struct)."""
        sections = MAX_SECTIONS if self._state.traits.region_per_range else _FIXED_SECTIONS
        return HEADER_BYTES + sections * SECTION_BYTES

    def _is_whole(self, regions: Sequence[Region]) -> bool:
        """is_fadump_boot_mem_contiguous()."""
        wanted = (Range.sized(region.start, region.size_bytes) for region in regions)
        return all(any(piece.contains(address_range) for piece in self._state.ram) for address_range in wanted)

    def _configure(self, command: DumpCommand, size_bytes: int, name: str) -> Steps[int | None]:
        """rtas_fadump_call(): the status, or None if the firmware was busy for a minute."""
        state, waited_ms = self._state, 0
        while True:
            token = state.call_tokens[rtas.CONFIGURE_KERNEL_DUMP]
            status = yield from self._call(state.cpu_names[0], token, command, WORK_BUFFER, size_bytes)
            delay_ms = rtas.retry_delay_ms(status)
            if not delay_ms:
                return status
            if state.traits.bounded_wait and waited_ms >= _MAX_WAIT_MS:
                state.log.pr_err(f"{_P}Timed out waiting for firmware to complete fadump {name}")
                return None
            waited_ms += delay_ms
            state.log.delay(delay_ms)

    def _call(self, cpu: int, token: int, *args: int) -> Steps[int]:
        """rtas_call(): arguments and answer are in memory."""
        block = RtasArguments(token, args, 1)
        memory = self._state.memory
        memory.write(RTAS_ARGUMENTS, block.encode())
        answer_address = RTAS_ARGUMENTS + block.answer_offset
        yield Call(cpu, token, args, 1, answer_address)
        status, _outputs = rtas.decode_answer(memory.read(answer_address, 4))
        return status


def _as_linux_reads(structure: bytes, *, by_place: bool) -> DumpStructure:
    """The structure as Linux reads it: sections, by their number, at the usual offset; the version is ignored.

    With more than 10, Linux would read on in the device tree. ``by_place``: the number is also ignored.
    """
    header = HEADER.decode(structure.ljust(HEADER_BYTES, b"\0"))
    there = max(0, len(structure) - HEADER_BYTES) // SECTION_BYTES
    count = min(_FIXED_SECTIONS if by_place else header.sections, MAX_SECTIONS, there)
    if not count:
        return DumpStructure()
    sane = DumpStructure(status=DumpStatus(header.status), sections=(_section(0, 0, 0, 0),) * count).encode()
    return DumpStructure.decode(sane[:HEADER_BYTES] + structure[HEADER_BYTES:])


def _fixed_sections(structure: DumpStructure) -> Sequence[DumpSection]:
    """The three sections that older kernels know, by position; missing ones are read as zeros."""
    found = structure.sections[:_FIXED_SECTIONS]
    return [*found, *[DumpSection(0, 0, SectionError(0), 0, 0, 0, 0)] * (_FIXED_SECTIONS - len(found))]


def _section(type_: int, source: int, size_bytes: int, destination: int) -> DumpSection:
    return DumpSection(REQUEST_COPY, type_, SectionError(0), source, size_bytes, 0, destination)
