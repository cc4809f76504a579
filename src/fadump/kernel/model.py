"""Linux's side of FADump as a generator of firmware calls: the first file to read in this package.

Every kernel step of docs/architecture.md, in the order of a boot: early_init_devtree() in
arch/powerpc/kernel/prom.c, start_kernel() in init/main.c, then setup_fadump() in arch/powerpc/kernel/fadump.c, of Linux
6.12, or of 6.1 and 7.2 where its :class:`~.traits.KernelTraits` say so. Each step is a module:

    reserve     :mod:`.register`, by :mod:`.plan.reserve`       crash           :mod:`.crash`
    register    :mod:`.register`                            capture boot    :mod:`.capture_boot`, :mod:`.vmcore`
    release     :mod:`.release`                             RTAS, OPAL      :mod:`.rtas_fadump`, :mod:`.opal_fadump`

The kernel has a log (:mod:`.printk`) and its own memory (:mod:`.image`); user space is not modelled.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.abi.platform import Platform
from fadump.abi.pseries import rtas
from fadump.errors import AddressError, FormatError
from fadump.kernel import capture_boot, crash, register, release
from fadump.kernel.calls import Errno, KernelPanicError, Steps
from fadump.kernel.files.device_tree import device_tree_files
from fadump.kernel.files.procfs import MemoryUse, proc_files
from fadump.kernel.files.sysfs import Entry, FadumpFiles, kexec_files
from fadump.kernel.image.content import usable_memory, use_memory, write_image
from fadump.kernel.image.page_tables import PageTables
from fadump.kernel.image.stacks import crashing, write_stacks
from fadump.kernel.image.struct_pages import StructPages
from fadump.kernel.image.variables import write_variables
from fadump.kernel.image.vmcoreinfo import encode_uts, facts_of
from fadump.kernel.opal_core import OpalCore
from fadump.kernel.opal_fadump import OpalFadump
from fadump.kernel.plan.cmdline import COMMAND_LINE_BYTES, cmdline_lines, parse_command_line
from fadump.kernel.plan.memory_map import KERNEL, Memblock, limited
from fadump.kernel.plan.reserve import end_without_page, mmu_in_use, no_page_for
from fadump.kernel.plan.system import cpu_names, system_of
from fadump.kernel.printk import Printk
from fadump.kernel.rtas_fadump import RtasFadump
from fadump.kernel.state import LOG, UTS_NAMESPACE, FadumpState
from fadump.kernel.traits import DEFAULT_VERSION, DISTRIBUTIONS_NR_CPUS, KERNEL_VERSIONS, LINUX_6_12, KernelTraits, Mmu
from fadump.kernel.vmcore import Registers, VmCore
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """``seed`` determines what is in memory; ``epoch_seconds`` is the time of the boot, since 1970."""

    traits: KernelTraits = LINUX_6_12
    release: str = f"{DEFAULT_VERSION}.0-model"
    seed: str = "0"
    epoch_seconds: int = 0
    spare_cpus: int = 0
    """How many CPUs can be plugged, on pseries; each has a place in the kernel's memory from the boot on."""

    @classmethod
    def of_version(
        cls, version: str, *, cpus: int = 1, page_bytes: int | None = None, epoch_seconds: int = 0
    ) -> "KernelConfig":
        """The kernel of a ``--kernel-version`` for so many CPUs; pages are 64 KiB unless given."""
        traits = KERNEL_VERSIONS[version]
        if cpus > traits.nr_cpus:
            traits = replace(traits, nr_cpus=DISTRIBUTIONS_NR_CPUS)
        traits = traits if page_bytes is None else replace(traits, page_bytes=page_bytes)
        return cls(traits, f"{version}.0-model", epoch_seconds=epoch_seconds)


class KernelModel:
    """One boot of a kernel. Call :meth:`boot` first, and run its steps to the end."""

    def __init__(self, config: KernelConfig, console: Callable[[str], None]) -> None:
        """``console`` gets what the kernel prints, line by line."""
        self._config = config
        self._console = console
        self.vmcore: VmCore | None = None
        """/proc/vmcore; None until a capture boot has made it, and after the dump is released."""
        self._total_bytes = 0
        self._plugged = RangeSet()
        self.memory_in_use = RangeSet()
        """Memory in use, by its struct pages, without the kernel's own."""
        self._free_bytes = 0
        """How much memory is free, by its struct pages."""
        self.opal_core: OpalCore
        """OPAL's core; only powernv has one."""
        self._state: FadumpState
        self._ops: RtasFadump | OpalFadump
        self._fadump_files: FadumpFiles
        self._struct_pages: StructPages
        self._tree_files: Mapping[str, Entry]

    def boot(self, tree: DeviceTree, memory: GuestMemory) -> Steps[None]:
        """Boot: reserve memory and register, or process a dump.

        :raises KernelPanicError: the kernel can't run on this machine.
        """
        self._start(tree, memory)
        state, ops = self._state, self._ops
        yield from self._early_init(tree)
        state.log.pr_notice(state.banner)
        if not state.traits.lends_late:
            register.lend_area(state)
        for line in cmdline_lines(state.cmdline, state.traits):
            state.log.pr_notice(line)
        if state.traits.lends_late:
            register.lend_area(state)
        self._fadump_files = FadumpFiles(state, ops, self.write_release_mem)
        self._tree_files = device_tree_files(tree)
        state.ram = state.system.memory.by_node(limited(state.system.memory.regions, state.memory_limit, state.traits))
        self._check_linear_mapping()
        usable = self._usable()
        register.reserve_kdump_cma(state, usable)
        self._total_bytes = usable.size_bytes + self._lent_bytes
        self._write_memory(usable)
        crash.save_vmcoreinfo(state, crashed=False)
        yield from self._setup_fadump()
        initiated = isinstance(ops, OpalFadump) and ops.kernel_initiated
        yield from self.opal_core.init(tree, kernel_initiated=initiated)

    def _early_init(self, tree: DeviceTree) -> Steps[None]:
        """early_init_devtree(), which comes before the first line of the log."""
        state, ops = self._state, self._ops
        yield from ops.scan(tree)
        if state.enabled and state.active:
            self._append_bootargs()
            register.extend_limit(state, state.boot_memory_bytes)
            capture_boot.reserve_crash_area(state)
        elif state.enabled:
            yield from register.reserve_memory(state, ops)
        if not state.enabled:
            register.reserve_for_kdump(state)
        if not state.active:
            register.setup_parameter_area(state)

    def _setup_fadump(self) -> Steps[None]:
        """Process a dump, or register."""
        state, ops = self._state, self._ops
        if not state.enabled:
            return
        if state.active:
            self.vmcore = yield from capture_boot.process_dump(state, ops)
            self._total_bytes -= state.buffers_bytes
        elif state.area:
            ops.init_mem_struct()
            yield from register.register_fadump(state, ops)

    def write_registered(self, data: bytes) -> Steps[Errno]:
        """A write to /sys/kernel/fadump/registered."""
        return (yield from register.registered_store(self._state, self._ops, data))

    def write_release_mem(self, data: bytes) -> Steps[Errno]:
        """A write to /sys/kernel/fadump/release_mem; released memory is used at once."""
        errno, freed = yield from release.release_mem_store(self._state, self._ops, data)
        if errno is Errno.OK:
            self.vmcore = None
            self._total_bytes += freed.size_bytes + self._state.buffers_bytes
            self._state.buffers_bytes = 0
            self._use_memory(freed, f"{self._config.seed} released")
        return errno

    def trigger_crash(self, cpu: int, registers: Registers) -> Steps[None]:
        """A write of c to /proc/sysrq-trigger on a CPU with these registers. At the end the kernel reboots."""
        self._state.log.pr_info("sysrq: Trigger a crash")
        here = {**registers, **crashing(cpu).registers()}
        yield from crash.panic(self._state, self._ops, cpu, here, "sysrq triggered crash")

    def system_reset(self, cpu: int, registers: Registers) -> Steps[None]:
        """A system reset interrupt. At the end the kernel reboots."""
        yield from crash.system_reset(self._state, self._ops, cpu, registers)

    def memory_came(self, piece: Range) -> None:
        """Memory was plugged and put online: add_memory_resource(), which adds it to memblock.

        Before Linux kernel commit c6c5b14dac0d (in v6.10) a registration isn't updated, so user space has to register
        again. Newer kernels have /sys/kernel/fadump/hotplug_ready, which says that it needn't.
        """
        state = self._state
        self._plugged |= RangeSet([piece])
        state.ram = tuple(sorted((*state.ram, piece)))
        self._total_bytes += piece.size_bytes
        self._use_memory(RangeSet([piece]), f"{self._config.seed} plugged {piece}")

    def memory_went(self, piece: Range) -> None:
        """Memory is taken offline and unplugged: try_remove_memory(); see :meth:`memory_came`.

        :raises ValueError: it was there at boot, so some of the kernel's own data is in it.
        """
        state = self._state
        if not self._plugged.contains(piece):
            raise ValueError(f"memory {piece} can't be taken offline: Device or resource busy")
        state.ram = tuple(RangeSet(state.ram) - RangeSet([piece]))
        self._total_bytes -= piece.size_bytes

    @property
    def total_bytes(self) -> int:
        """MemTotal, including memory lent until a crash."""
        return self._total_bytes - self.opal_core.buffer_bytes

    @property
    def enabled(self) -> bool:
        """/sys/kernel/fadump/enabled."""
        return self._state.enabled

    @property
    def registered(self) -> bool:
        """/sys/kernel/fadump/registered."""
        return self._state.registered

    @property
    def active(self) -> bool:
        """Whether /sys/kernel/fadump/release_mem exists."""
        return self._state.active

    @property
    def mem_reserved(self) -> int:
        """/sys/kernel/fadump/mem_reserved, in bytes."""
        return self._state.area.size_bytes

    @property
    def cpu_count(self) -> int:
        """The number of online CPUs."""
        return self._state.online.bit_count()

    def is_online(self, cpu: int) -> bool:
        """Whether Linux uses a CPU, by its logical number."""
        return bool(self._state.online >> cpu & 1)

    def set_online(self, cpus: range, *, online: bool) -> None:
        """CPUs were plugged and brought online, or taken offline: __cpu_online_mask."""
        state = self._state
        mask = sum(1 << cpu for cpu in cpus)
        state.online = state.online | mask if online else state.online & ~mask
        state.memory.write(state.online_mask_address, state.online.to_bytes(state.cpu_mask_bytes, "little"))

    @property
    def page_bytes(self) -> int:
        """The kernel's page size."""
        return self._state.traits.page_bytes

    @property
    def release(self) -> str:
        """``uname -r``."""
        return self._config.release

    @property
    def dumped_log(self) -> bytes:
        """What pstore has of the log when the firmware is asked for a dump; empty before, and in older kernels."""
        return self._state.dumped_log

    @property
    def last_lines(self) -> Sequence[str]:
        """The last lines of the log about FADump."""
        return tuple(self._state.log.last_lines)

    def files(self) -> Mapping[str, Entry]:
        """The current files of /sys and /proc that concern FADump, by absolute path."""
        state = self._state
        return {
            **self._fadump_files.entries(),
            **self.opal_core.entries(),
            **kexec_files(state),
            **proc_files(state, self.vmcore, self._memory_use),
            **self._tree_files,
        }

    def region_show(self) -> str:
        """The debugfs file fadump_region; empty if FADump is not enabled."""
        return self._ops.region_show() if self._state.enabled else ""

    def _start(self, tree: DeviceTree, memory: GuestMemory) -> None:
        if not memory.ram.contains(KERNEL):
            raise KernelPanicError(f"there is no memory for the kernel in {KERNEL}")
        try:
            found = system_of(tree)
        except FormatError as error:
            raise KernelPanicError(str(error)) from error
        write_image(memory, self._config.seed)
        memory.write(UTS_NAMESPACE, encode_uts(self._config.release))
        log = Printk(memory, LOG, self._console)
        system, traits = found.system, self._config.traits
        command_line = parse_command_line(found.cmdline, traits)
        radix = mmu_in_use(system, command_line) is Mmu.RADIX
        present = cpu_names(tree)
        names = range(len(present) + self._config.spare_cpus) if self._config.spare_cpus else present
        if not 1 <= len(names) <= traits.nr_cpus:
            raise KernelPanicError(f"there are {len(names)} CPUs, this kernel runs on 1 to {traits.nr_cpus}")
        self._state = FadumpState(
            system=system,
            traits=traits,
            memory=memory,
            log=log,
            command_line=command_line,
            cmdline=found.cmdline,
            release=self._config.release,
            cpu_names=names,
            online=(1 << len(present)) - 1,
            call_tokens=_rtas_tokens(tree),
            epoch_seconds=self._config.epoch_seconds,
            radix=radix,
            ram=system.memory.regions,
            memory_limit=command_line.memory_limit,
            enabled=command_line.fadump,
        )
        self.opal_core = OpalCore(self._state)
        self._ops = RtasFadump(self._state) if system.platform is Platform.PSERIES else OpalFadump(self._state)

    def _check_linear_mapping(self) -> None:
        """:raises KernelPanicError: the end of memory isn't mapped; a kernel crashes there before it has a console."""
        state = self._state
        end = end_without_page(state.system, Mmu.RADIX if state.radix else Mmu.HASH, state.ram)
        if end is not None:
            raise KernelPanicError(f"BUG: Unable to handle kernel data access: {no_page_for(end)}")

    def _write_memory(self, usable: RangeSet) -> None:
        """Write page tables, struct pages and variables, then use all other memory."""
        state = self._state
        page_bytes = state.traits.page_bytes
        page_tables = PageTables(page_bytes, radix=state.radix)
        memblock = Memblock(usable)
        self._struct_pages = StructPages(state, memblock)
        if state.radix:
            page_tables.map_linear(state.ram)
            for block in self._struct_pages.blocks:
                page_tables.map_leaves(block.virtual, block.physical, self._struct_pages.block_bits)
        symbols = write_variables(state, self._struct_pages, memblock, page_tables)
        page_tables.write(state.memory)
        write_stacks(state.memory, len(state.cpu_names), state.platform, state.traits)
        self._struct_pages.write()
        self._use_memory(memblock.free, self._config.seed)
        state.crashing_cpu_address = symbols["crashing_cpu"] & ~PAGE_OFFSET
        state.online_mask_address = symbols["__cpu_online_mask"] & ~PAGE_OFFSET
        log = {**state.log.facts(), "SYMBOL(clear_seq)": f"{symbols['clear_seq']:x}"}
        state.facts = facts_of(state.release, state.traits, symbols, log, radix=state.radix)

    def _use_memory(self, usable: RangeSet, seed: str) -> None:
        """Use memory as a running system does: change its struct pages, if any, and write some contents."""
        state = self._state
        mapped = usable & self._struct_pages.memory
        used = self._struct_pages.hand_out(mapped, seed)
        self.memory_in_use |= used
        self._free_bytes += mapped.size_bytes - used.size_bytes
        page_bytes = state.traits.page_bytes
        use_memory(state.memory, used, page_bytes, f"{seed} used")
        use_memory(state.memory, usable - mapped, page_bytes, f"{seed} above")

    def _memory_use(self) -> MemoryUse:
        lent_bytes = self._lent_bytes
        return MemoryUse(self.total_bytes, self._free_bytes + lent_bytes, lent_bytes)

    @property
    def _lent_bytes(self) -> int:
        return 0 if self._state.cma is None else self._state.cma.size_bytes

    def _append_bootargs(self) -> None:
        """fadump_append_bootargs(): add the words that the first kernel left to the command line."""
        state = self._state
        if state.parameter_area is None:
            return
        try:
            words = state.memory.read(state.parameter_area, COMMAND_LINE_BYTES).partition(b"\0")[0].decode("latin-1")
        except AddressError:
            state.log.pr_warn("fadump: WARNING: Can't use additional parameters area!")
            state.parameter_area = None
            return
        if len(state.cmdline) + len(words) >= COMMAND_LINE_BYTES - 1:
            state.log.pr_warn("fadump: WARNING: Appending parameters exceeds cmdline size. Truncating!")
        state.cmdline = f"{state.cmdline} {words}"[: COMMAND_LINE_BYTES - 1]
        state.log.pr_info(f"fadump: Updated cmdline: {state.cmdline}")

    def _usable(self) -> RangeSet:
        """Memory that this boot may use freely."""
        state = self._state
        memory = state.system.memory
        taken = [KERNEL, state.area, state.kdump_area, *memory.firmware, *memory.reserved_later]
        if state.parameter_area is not None:
            taken.append(Range.sized(state.parameter_area, COMMAND_LINE_BYTES))
        end = state.boot_memory_top if state.enabled and state.active else memory.end
        return usable_memory(state.ram, end, RangeSet(taken))


def _rtas_tokens(tree: DeviceTree) -> dict[str, int]:
    """The tokens of RTAS's calls; ibm,extended-os-term is never called, only its presence counts."""
    node = tree.find("/rtas")
    if node is None:
        return {}
    names = (rtas.CONFIGURE_KERNEL_DUMP, rtas.OS_TERM, rtas.EXTENDED_OS_TERM)
    return {name: int.from_bytes(node.properties[name][:4], "big") for name in names if name in node.properties}
