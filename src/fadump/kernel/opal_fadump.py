"""powernv: the kernel's side of OPAL's MPIPL calls.

Steps "register", "crash", "capture boot" and "release" of docs/architecture.md. Linux
arch/powerpc/platforms/powernv/opal-fadump.c. Tags are registered when memory is reserved, ranges later in the boot.
The kernel's metadata, which a tag points to, are in the last page of the reserved area.
"""

from dataclasses import replace

from fadump.abi.linux.crash_info import CPU_UNKNOWN
from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.abi.powernv import cpu_data, kernel_metadata
from fadump.abi.powernv.kernel_metadata import KernelMetadata
from fadump.abi.powernv.mpipl import METADATA, MpiplMetadata, MpiplOperation, MpiplRegion, MpiplTag
from fadump.abi.powernv.opal import OpalStatus, OpalToken, RebootType
from fadump.abi.registers import PAPR_TO_PT_REGS, CpuRegisters
from fadump.errors import AddressError, FormatError
from fadump.kernel.calls import Call, Errno, Steps, no_memory_at
from fadump.kernel.crash_info import Header, is_valid
from fadump.kernel.plan.boot_memory import Region
from fadump.kernel.state import OS_TERM_TEXT, OS_TERM_TEXT_BYTES, TAG_VALUE, FadumpState
from fadump.kernel.traits import U64
from fadump.kernel.vmcore import Registers
from fadump.limits import MOST_CPU_DATA_BYTES, MOST_CPUS, Budget
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range

_P = "opal fadump: "
_METADATA_BYTES = 0x1000
_WRITTEN_FIRST_OFFSET = kernel_metadata.HEADER.offset("crash_info") + 4
"""The lower half of crash_info, which Linux's compiled code writes first."""


class OpalFadump:
    """powernv's part of a kernel's FADump: registers ranges and tags, and queries the tags after the crash."""

    def __init__(self, state: FadumpState) -> None:
        self._state = state
        self._metadata: KernelMetadata
        """What this kernel has last written; it exists from :meth:`setup_metadata` on."""
        self._active: KernelMetadata | None = None
        self._cpu_metadata: MpiplMetadata | None = None
        self.kernel_initiated = False
        """Whether the header of an active dump has a crashing CPU."""

    def scan(self, tree: DeviceTree) -> Steps[None]:
        node, state = tree.find("/ibm,opal/dump"), self._state
        if node is None or not state.system.supported or "mpipl-boot" not in node.properties:
            return
        state.memory.write(TAG_VALUE, bytes(8))
        status, address = yield from self._query(MpiplTag.KERNEL)
        if status != OpalStatus.SUCCESS or not address:
            state.log.pr_err(f"{_P}Failed to get Kernel metadata ({status})")
            return
        try:
            active = KernelMetadata.decode(state.memory.read(address, kernel_metadata.SIZE_BYTES))
        except (AddressError, FormatError) as error:  # Linux would use it, or take a machine check
            state.log.pr_err(f"{_P}{error}")
            return
        if active.version != kernel_metadata.VERSION:
            state.log.pr_warn(
                f"{_P}Supported kernel metadata version: {kernel_metadata.VERSION}, found: {active.version}!"
            )
            state.log.pr_warn(f"{_P}WARNING: Kernel metadata format mismatch identified! Core file maybe corrupted..")
        if not active.registered_regions or not active.regions:
            return
        # Linux ignores the status, and uses the previous address
        _status, cpus = yield from self._query(MpiplTag.CPU)
        self._cpu_metadata = self._read_cpu_metadata(cpus) if cpus else None
        state.log.pr_info(f"{_P}Firmware-assisted dump is active.")
        state.active = True
        self._active = active
        self._use(active)

    def _use(self, active: KernelMetadata) -> None:
        """opal_fadump_get_config()."""
        state, log = self._state, self._state.log
        state.use_regions([Region(region.source, region.size_bytes) for region in active.regions])
        state.copy_address = active.regions[0].destination
        state.area = Range.sized(state.copy_address, state.area_sizes.total)
        state.header_address = active.crash_info
        unsaved = active.regions[active.registered_regions :]
        if not unsaved:
            return
        log.pr_warn(f"{_P}Not all memory regions were saved!!!")
        log.pr_warn(f"{_P}  Unsaved memory regions:")
        for index, region in enumerate(unsaved, active.registered_regions):
            log.pr_warn(f"{_P}\t[{index:03}] base: 0x{region.source:x}, size: 0x{region.size_bytes:x}")
        log.pr_warn(
            f"{_P}If the unsaved regions only contain pages that are filtered out (eg. free/user pages), the vmcore "
            "should still be usable."
        )
        log.pr_warn(f"{_P}WARNING: If the unsaved regions contain kernel pages, the vmcore will be corrupted.")

    def _read_cpu_metadata(self, address: int) -> MpiplMetadata | None:
        """The metadata at the CPU tag, or where Linux expects it; one region is read, whatever their number."""
        memory = self._state.memory
        try:
            metadata = bytearray(memory.read(address, _METADATA_BYTES))
            METADATA.put(metadata, "regions", 1)
            return MpiplMetadata.decode(bytes(metadata))
        except (AddressError, FormatError):
            return None

    def setup_metadata(self) -> Steps[Errno]:
        state, errno = self._state, Errno.OK
        state.log.pr_info(f"{_P}Kernel metadata addr: {self._address:x}")
        self._write(KernelMetadata())
        for tag, value, name in (
            (MpiplTag.KERNEL, self._address, "kernel metadata"),
            (MpiplTag.BOOT_MEM, state.boot_memory_top, "boot memory"),
        ):
            if (yield from self._call(OpalToken.MPIPL_REGISTER_TAG, tag, value)) != OpalStatus.SUCCESS:
                state.log.pr_err(f"{_P}Failed to set {name} tag!")
                errno = Errno.EPERM
        return errno

    def init_mem_struct(self) -> None:
        state = self._state
        at = state.area.start
        regions = []
        for region in state.regions:
            regions.append(MpiplRegion(region.start, at, region.size_bytes))
            at += region.size_bytes
        state.copy_address = state.area.start
        state.header_address = state.copy_address + state.boot_memory_bytes
        self._write(KernelMetadata(crash_info=state.header_address, regions=tuple(regions)))

    def register(self) -> Steps[Errno]:
        state, log = self._state, self._state.log
        status, taken = int(OpalStatus.PARAMETER), self._metadata.registered_regions
        for region in self._metadata.regions:
            addresses = (region.source, region.destination, region.size_bytes)
            status = yield from self._call(OpalToken.MPIPL_UPDATE, MpiplOperation.ADD_RANGE, *addresses)
            if status != OpalStatus.SUCCESS:
                break
            taken += 1
        self._write(replace(self._metadata, registered_regions=taken))
        errno = Errno.EIO
        match status:
            case OpalStatus.SUCCESS:
                log.pr_info(f"{_P}Registration is successful!")
                state.registered, errno = True, Errno.OK
            case OpalStatus.RESOURCE:
                left = len(self._metadata.regions) - taken
                log.pr_warn(f"{_P}{left} regions could not be registered for MPIPL as MAX limit is reached!")
                state.registered, errno = True, Errno.OK
            case OpalStatus.PARAMETER:
                log.pr_err(f"{_P}Failed to register. Parameter Error({status}).")
            case OpalStatus.HARDWARE:
                log.pr_err(f"{_P}Support not available.")
                state.enabled = False
                state.system = replace(state.system, supported=False)
            case _:
                log.pr_err(f"{_P}Failed to register. Unknown Error({status}).")
        if errno and taken:
            yield from self.unregister()
        return errno

    def unregister(self) -> Steps[Errno]:
        status = yield from self._call(OpalToken.MPIPL_UPDATE, MpiplOperation.REMOVE_ALL, 0, 0, 0)
        if status:
            self._state.log.pr_err(f"{_P}Failed to un-register - unexpected Error({status}).")
            return Errno.EIO
        self._write(replace(self._metadata, registered_regions=0))
        self._state.registered = False
        return Errno.OK

    def invalidate(self) -> Steps[Errno]:
        status = yield from self._call(OpalToken.MPIPL_UPDATE, MpiplOperation.FREE_PRESERVED_MEMORY, 0, 0, 0)
        if status:
            self._state.log.pr_err(f"{_P}Failed to invalidate - unexpected Error({status}).")
            return Errno.EIO
        self._state.active = False
        self._active = None
        return Errno.OK

    def cleanup(self) -> Steps[None]:
        status = yield from self._call(OpalToken.MPIPL_REGISTER_TAG, MpiplTag.KERNEL, 0)
        if status != OpalStatus.SUCCESS:
            self._state.log.pr_warn(f"{_P}Could not reset ({status & U64}) kernel metadata tag!")

    def process(self, header: Header) -> list[Registers] | None:
        """opal_fadump_build_cpu_notes(); the crashing CPU's own registers are always used."""
        if self._active is None or not self._state.header_address or not is_valid(self._state, header, _P):
            return None
        self.kernel_initiated = header.crashing_cpu != CPU_UNKNOWN
        found: list[Registers] = []
        own = header.registers or {}
        for cpu in self._cpus() or []:
            if cpu.cpu_id == header.crashing_cpu:
                found.append(own)
            else:
                values = cpu.values.items()
                found.append({PAPR_TO_PT_REGS[name]: value for name, value in values if name in PAPR_TO_PT_REGS})
        if found:
            return found
        if header.crashing_cpu == CPU_UNKNOWN:
            return None
        self._state.log.pr_warn(f"{_P}WARNING: appending only crashing CPU's register data")
        return [own]

    def _cpus(self) -> list[CpuRegisters] | None:
        """The active threads, after is_opal_fadump_cpu_data_valid(); None if the firmware has no valid data."""
        metadata, log = self._cpu_metadata, self._state.log
        if metadata is None:
            return None
        if metadata.cpu_data_version != cpu_data.VERSION:
            log.pr_warn(
                f"{_P}Supported CPU state data version: {cpu_data.VERSION}, found: {metadata.cpu_data_version}!"
            )
            log.pr_warn(f"{_P}WARNING: F/W using newer CPU state data format!!")
        region = metadata.regions[0]
        if 0 < metadata.cpu_data_bytes <= region.size_bytes:  # to Linux, an address of 0 is valid
            try:
                return read_cpu_data(self._state.memory, region, metadata.cpu_data_bytes)
            except AddressError:
                raise no_memory_at(region.destination + cpu_data.ENTRIES_BASE) from None
            except FormatError:  # Linux would read whatever is there
                pass
        log.pr_err(f"{_P}CPU state data is invalid. Ignoring!")
        return None

    def trigger(self, cpu: int, message: str) -> Steps[None]:
        state = self._state
        text = message.encode()[: OS_TERM_TEXT_BYTES - 1]
        state.memory.write(OS_TERM_TEXT, text.ljust(OS_TERM_TEXT_BYTES, b"\0"))
        pointer = PAGE_OFFSET | OS_TERM_TEXT
        status = yield Call(state.cpu_names[cpu], OpalToken.CEC_REBOOT2, (RebootType.MPIPL, pointer))
        if status == OpalStatus.UNSUPPORTED:
            state.log.pr_emerg(f"{_P}Reboot type {RebootType.MPIPL} not supported.")
        elif status == OpalStatus.HARDWARE:
            state.log.pr_emerg(f"{_P}No backend support for MPIPL!")

    def region_show(self) -> str:
        state = self._state
        metadata = self._active or self._metadata
        lines, dumped_bytes = [], 0
        for index, region in enumerate(metadata.regions):
            if self._active is not None and index < metadata.registered_regions:
                dumped_bytes = region.size_bytes
            lines.append(
                f"DUMP: Src: {region.source:#016x}, Dest: {region.destination:#016x}, "
                f"Size: {region.size_bytes:#x}, Dumped: {dumped_bytes:#x} bytes\n"
            )
        if self._active is not None:
            lines.append(f"\nMemory above {state.boot_memory_top:#016x} is reserved for saving crash dump\n")
        return "".join(lines)

    @property
    def _address(self) -> int:
        """The last page of the reserved area; if the area doesn't end with a page, the address may be unaligned."""
        return self._state.area.end - self._state.area_sizes.metadata

    def _write(self, metadata: KernelMetadata) -> None:
        """:raises KernelPanicError: there is no memory where the area is, by the dump's metadata."""
        self._metadata = metadata
        try:
            self._state.memory.write(self._address, metadata.encode())
        except AddressError:
            raise no_memory_at(self._address + _WRITTEN_FIRST_OFFSET, "write") from None

    def _query(self, tag: MpiplTag) -> Steps[tuple[int, int]]:
        return (yield from query_tag(self._state.memory, self._state.cpu_names[0], tag))

    def _call(self, token: OpalToken, *args: int) -> Steps[int]:
        return (yield Call(self._state.cpu_names[0], token, args))


def read_cpu_data(memory: GuestMemory, region: MpiplRegion, thread_bytes: int) -> list[CpuRegisters]:
    """The active threads of the CPU data that is in a region.

    :raises AddressError: that is no memory.
    :raises FormatError: it makes no sense, or has more threads than any machine.
    """
    Budget("bytes of CPU data", MOST_CPU_DATA_BYTES).spend(region.size_bytes)
    Budget("threads in CPU data", MOST_CPUS).spend(region.size_bytes // thread_bytes)
    return cpu_data.decode(memory.read(region.destination, region.size_bytes), thread_bytes)


def query_tag(memory: GuestMemory, cpu: int, tag: MpiplTag) -> Steps[tuple[int, int]]:
    """The status of a tag's query, and the value that it stored; a query that fails leaves the old one."""
    status = yield Call(cpu, OpalToken.MPIPL_QUERY_TAG, (tag, PAGE_OFFSET | TAG_VALUE))
    return status, int.from_bytes(memory.read(TAG_VALUE, 8), "big")
