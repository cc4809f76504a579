"""OPAL's core: the crashed firmware's own memory and the CPUs' registers, as a file for gdb.

Step "capture boot" of docs/architecture.md, on powernv. Linux arch/powerpc/platforms/powernv/opal-core.c:
opalcore_config_init(), create_opalcore(), release_core_store(). It depends on the firmware's mpipl-boot and not on
FADump being enabled. Everything in the file is big-endian; notes that were counted but not written are zeros.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from fadump.abi import elf
from fadump.abi.elf import CORE_NAME, NT_AUXV, NT_PRSTATUS, ProgramHeader
from fadump.abi.linux.opal_core import AT_ENTRY, PID_OF_PIR_0, SIGNAL_OF_KERNEL_CRASH, SIGNAL_OF_OPAL_CRASH
from fadump.abi.powernv import cpu_data
from fadump.abi.powernv.mpipl import METADATA_VERSION, MpiplMetadata, MpiplTag
from fadump.abi.powernv.opal import OpalStatus
from fadump.abi.registers import PAPR_TO_PT_REGS, CpuRegisters
from fadump.errors import AddressError, FormatError
from fadump.kernel.calls import Errno, KernelPanicError, Steps
from fadump.kernel.elfcorehdr import headers_bytes
from fadump.kernel.files.sysfs import Entry, FileSystem, KernelFile, KernelLink, sysfs_file
from fadump.kernel.kstrtox import kstrtoint
from fadump.kernel.opal_fadump import query_tag, read_cpu_data
from fadump.kernel.state import FadumpState
from fadump.kernel.traits import align_up
from fadump.kernel.vmcore import Piece, VmCore, read_vmcore, status_of
from fadump.memory.devicetree import DeviceTree
from fadump.vmcore.notes import encode_note

CORE = "/sys/firmware/opal/mpipl/core"
RELEASE_CORE = "/sys/firmware/opal/mpipl/release_core"
_P = "opal core: "
_MOST_LOADS = 8
_METADATA_BYTES = 0x1000


@dataclass(frozen=True, slots=True)
class _Config:
    """struct opalcore_config."""

    crashing_pir: int
    threads: int
    cpus: list[CpuRegisters]
    loads: list[tuple[int, int]]


class OpalCore:
    """One boot's /sys/firmware/opal/mpipl; ``file`` is None if there is no core, or it was released."""

    def __init__(self, state: FadumpState) -> None:
        self._state = state
        self.file: VmCore | None = None
        self._is_there = self._is_allocated = False

    def init(self, tree: DeviceTree, *, kernel_initiated: bool) -> Steps[None]:
        """opalcore_init(). ``kernel_initiated``: the crashed kernel left its CPU's number.

        :raises KernelPanicError: there is a core that makes Linux crash.
        """
        node, opal = tree.find("/ibm,opal/dump"), tree.find("/ibm,opal")
        if node is None or opal is None or "mpipl-boot" not in node.properties:
            return
        config = yield from self._config()
        if config is None:
            self._state.log.pr_err(f"{_P}Could not export /sys/firmware/opal/core")
            if self._is_allocated:  # opalcore_cleanup() removes a file from a directory that doesn't exist yet
                raise KernelPanicError("BUG: Kernel NULL pointer dereference at 0x00000030")
            return
        base, entry = (opal.properties.get(f"opal-{name}-address", b"") for name in ("base", "boot"))
        if not (base and entry):
            self._state.log.pr_warn(f"{_P}WARNING: Failed to read OPAL base & entry values")
        signal = SIGNAL_OF_KERNEL_CRASH if kernel_initiated else SIGNAL_OF_OPAL_CRASH
        self.file = self._create(config, int.from_bytes(base, "big"), int.from_bytes(entry, "big"), signal)
        self._is_there = True

    @property
    def buffer_bytes(self) -> int:
        """How much memory the headers and notes take until the core is released, if that doesn't count."""
        return 0 if self.file is None or self._state.traits.counts_buffers else len(self.file.head)

    def entries(self) -> Mapping[str, Entry]:
        """Its files; the directory and the link stay after the core is released."""
        file, memory = self.file, self._state.memory
        if not self._is_there:
            return {}
        release = sysfs_file(0o200, self._state.traits.page_bytes, None, self._release)
        entries: dict[str, Entry] = {RELEASE_CORE: release, "/sys/firmware/opal/core": KernelLink("mpipl/core")}
        if file is not None:
            entries[CORE] = KernelFile(
                FileSystem.SYSFS,
                0o400,
                file.size_bytes,
                read_at=lambda offset, length: read_vmcore(file, memory, offset, length),
            )
        return entries

    def _release(self, data: bytes) -> Steps[int]:
        """release_core_store()."""
        yield from ()
        if kstrtoint(data) != 1:
            return Errno.EINVAL
        if self.file is None:
            self._state.log.pr_err(f"{_P}'/sys/firmware/opal/core' file not accessible!")
            return Errno.EPERM
        self.file = None
        return len(data)

    def _config(self) -> Steps[_Config | None]:
        log = self._state.log
        opal = yield from self._metadata(MpiplTag.OPAL, "OPAL")
        cpus = None if opal is None else (yield from self._metadata(MpiplTag.CPU, "OPAL CPU"))
        if opal is None or cpus is None:
            return None
        self._is_allocated = True
        if opal.version != METADATA_VERSION:
            log.pr_warn(f"{_P}Supported OPAL metadata version: {METADATA_VERSION}, found: {opal.version}!")
            log.pr_warn(f"{_P}WARNING: F/W using newer OPAL metadata format!!")
        if len(opal.regions) > _MOST_LOADS:
            log.pr_warn(f"{_P}WARNING: OPAL regions count ({len(opal.regions)}) adjusted to limit ({_MOST_LOADS})")
        loads = [(region.destination, region.size_bytes) for region in opal.regions[:_MOST_LOADS]]
        if not loads:
            log.pr_err(f"{_P}OPAL memory regions not found")
            return None
        if cpus.cpu_data_version != cpu_data.VERSION:
            log.pr_warn(f"{_P}Supported CPU data version: {cpu_data.VERSION}, found: {cpus.cpu_data_version}!")
            log.pr_warn(f"{_P}WARNING: F/W using newer CPU state data format!!")
        if not cpus.regions or not cpus.regions[0].destination:
            log.pr_err(f"{_P}CPU state data not found!")
            return None
        return self._with_cpus(opal.crashing_pir, loads, cpus)

    def _with_cpus(self, pir: int, loads: list[tuple[int, int]], cpus: MpiplMetadata) -> _Config | None:
        data, thread_bytes = cpus.regions[0], cpus.cpu_data_bytes
        if 0 < thread_bytes <= data.size_bytes:
            memory = self._state.memory
            try:
                found = read_cpu_data(memory, data, thread_bytes)
                for destination, size_bytes in loads:
                    memory.read(destination, min(size_bytes, 1))
            except (AddressError, FormatError):  # Linux would read whatever is there
                pass
            else:
                return _Config(pir, data.size_bytes // thread_bytes, found, loads)
        self._state.log.pr_err(f"{_P}CPU state data is invalid.")
        return None

    def _metadata(self, tag: MpiplTag, name: str) -> Steps[MpiplMetadata | None]:
        status, address = yield from query_tag(self._state.memory, self._state.cpu_names[0], tag)
        if status != OpalStatus.SUCCESS or not address:
            self._state.log.pr_err(f"{_P}Failed to get {name} metadata ({status})")
            return None
        try:
            return MpiplMetadata.decode(self._state.memory.read(address, _METADATA_BYTES))
        except (AddressError, FormatError) as error:  # Linux would use it, or take a machine check
            self._state.log.pr_err(f"{_P}{error}")
            return None

    def _create(self, config: _Config, base: int, entry: int, signal: int) -> VmCore:
        """create_opalcore(): headers and notes, then OPAL's memory, region by region."""
        notes_at = headers_bytes(1 + len(config.loads))
        auxv = encode_note(CORE_NAME, NT_AUXV, struct.pack(">QQQ", AT_ENTRY, entry, 0), "big")
        notes_bytes = config.threads * len(_status_note(None, config, 0)) + len(auxv)
        offset = align_up(notes_at + notes_bytes, self._state.traits.page_bytes)
        headers = [ProgramHeader(elf.PT_NOTE, p_offset=notes_at, p_filesz=notes_bytes, p_memsz=notes_bytes)]
        physical, pieces = 0, []
        for address, size_bytes in config.loads:
            virtual = base + physical
            headers.append(ProgramHeader(elf.PT_LOAD, elf.PF_RWX, offset, virtual, physical, size_bytes, size_bytes))
            pieces.append(Piece(offset, address, size_bytes))
            offset, physical = offset + size_bytes, physical + size_bytes
        crashed = next((cpu for cpu in config.cpus if cpu.cpu_id == config.crashing_pir), None)
        others = [cpu for cpu in config.cpus if cpu is not crashed]
        notes = b"".join(_status_note(cpu, config, signal) for cpu in (crashed, *others)) + auxv
        layout = elf.PROGRAM_HEADER.in_order("big")
        elf_header = elf.encode_core_header("big", elf.EM_PPC64, 0, len(headers))
        head = elf_header + b"".join(map(layout.encode, headers)) + notes
        return VmCore(head.ljust(pieces[0].offset, b"\0"), tuple(pieces))


def _status_note(cpu: CpuRegisters | None, config: _Config, signal: int) -> bytes:
    """A thread's NT_PRSTATUS; zeros for a crashing thread that is missing."""
    if cpu is None:
        return encode_note(CORE_NAME, NT_PRSTATUS, status_of({}, "big"), "big")
    registers = {PAPR_TO_PT_REGS[name]: value for name, value in cpu.values.items() if name in PAPR_TO_PT_REGS}
    status = status_of(
        registers,
        "big",
        signal=signal if cpu.cpu_id == config.crashing_pir else 0,
        pid=PID_OF_PIR_0 + cpu.cpu_id,
        parent=1,
    )
    return encode_note(CORE_NAME, NT_PRSTATUS, status, "big")
