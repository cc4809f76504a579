"""A machine in memory: sparse RAM, CPUs, a device tree, a reset that keeps RAM, and the model of Linux to run on it.

Every step of docs/architecture.md, without an emulator. It keeps the contract of :mod:`fadump.machine.contract`, so the
cycle, the firmware and the proof are those of the QEMU machine. Between two events nothing happens: the guest runs as
far as its next firmware call, its next report, or to where it waits to be asked.

Nothing but the guest's kernel and the firmware writes to memory, apart from the device tree, RTAS or OPAL, which the
boot firmware puts where a capture kernel may not have anything kept. So :meth:`EmbeddedMachine.reset` has nothing to
copy and nothing to put back.
"""

import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from fadump.abi.platform import Platform
from fadump.abi.pseries import rtas
from fadump.abi.pseries.hash_table import usual_bytes
from fadump.abi.registers import CpuRegisters
from fadump.errors import MachineError, SetupError
from fadump.firmware.contract import Answer, FirmwareCall, PassThrough
from fadump.kernel.calls import Call, KernelPanicError
from fadump.kernel.files.sysfs import FADUMP, Entry
from fadump.kernel.image.content import seeded
from fadump.kernel.image.stacks import idle
from fadump.kernel.model import KernelModel
from fadump.kernel.petitboot import PreservingKernel
from fadump.machine.channel import (
    GuestChannel,
    Register,
    Registered,
    Report,
    Request,
    Unregister,
    Unregistered,
)
from fadump.machine.contract import (
    MOST_LOOKED_AT,
    BootStart,
    ConsoleLog,
    Event,
    FirmwareMemory,
    GuestReset,
    Handover,
    StopAt,
    Stopped,
)
from fadump.machine.embedded.config import EmbeddedConfig
from fadump.machine.embedded.cpus import cpu_registers
from fadump.machine.embedded.guest import Asked, GuestSystem, RunningGuest, SystemReset, Waiting, WriteFile
from fadump.machine.embedded.hash_table import hash_table
from fadump.machine.embedded.trees import TREE_ADDRESS, TREE_BYTES, build_tree, firmware_memory
from fadump.machine.hotplug import Act, Change, GuestTask, Hotplug
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range, RangeSet

_CONSOLE_LINES = 20
_NO_SUCH_CALL = -1
"""What RTAS and OPAL themselves answer to a call that is FADump's: hardware error, parameter."""


class EmbeddedMachine:
    """A machine of ours that runs the model kernel. Use as a context manager: leaving it gives the memory back.

    ``disk_fd`` is a file as large as the largest dump, ``console_log`` gets what the kernel prints.

    :raises SetupError: the host can't hold the guest's memory.
    """

    def __init__(self, config: EmbeddedConfig, disk_fd: int, console_log: ConsoleLog) -> None:
        self._config = config
        self._disk_fd = disk_fd
        self._console_log = console_log
        self._console: deque[str] = deque(maxlen=_CONSOLE_LINES)
        self._segments: list[Segment] = []
        try:
            for piece in config.memory:
                self._segments.append(Segment(piece, _ram_file(piece.size_bytes), 0))
            self._memory = GuestMemory(self._segments)
        except BaseException as error:
            self._close_files()
            if isinstance(error, OSError):
                raise SetupError(f"the host can't map the guest's memory: {error.strerror}; give less") from error
            raise
        self._pending: deque[Event] = deque()
        self._running: RunningGuest | None = None
        self._asked: deque[Asked] = deque()
        self._firmware_memory: Sequence[FirmwareMemory] = ()  # of the kernel that was entered last
        self._boot = 0
        self._crashes = 0
        self._offline: set[int] = set()
        self._hand_over()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back to the host. May be called twice."""
        self._stop_guest()
        self._memory.close()
        self._close_files()

    @property
    def guest(self) -> GuestChannel:
        return self

    @property
    def kexec(self) -> None:
        """The model of Linux has no kexec."""
        return None

    @property
    def hotplug(self) -> Hotplug:
        return self

    @property
    def memory(self) -> GuestMemory:
        return self._memory

    @property
    def segments(self) -> Sequence[Segment]:
        return self._segments

    @property
    def firmware_memory(self) -> Sequence[FirmwareMemory]:
        return self._firmware_memory

    def next_event(self, seconds: float) -> Event:
        """Run until something happens. A guest that waits for a request which never comes is silent for ever."""
        if self._pending:
            return self._pending.popleft()
        try:
            return self._run()
        except KernelPanicError as error:
            self._print(f"Kernel panic - not syncing: {error}\n")
            self._stop_guest()
            return self._stopped(f"the guest's kernel has panicked: {error}")

    def start_boot(self, start: BootStart) -> None:
        raise MachineError("this machine's boot firmware reads no device tree")

    def enter(self, handover: Handover, tokens: frozenset[int]) -> None:
        """Put the edited tree into memory, and start the kernel with it.

        :raises MachineError: the tree is too large.
        """
        blob = handover.tree.encode()
        if len(blob) > TREE_BYTES:
            raise MachineError(f"a device tree of {len(blob):#x} bytes does not fit into {TREE_BYTES:#x}")
        self._memory.write(TREE_ADDRESS, blob)
        tree = DeviceTree.parse(blob)
        self._firmware_memory = self._not_shown(tree)
        kernel = self._config.later_kernel if self._crashes else None
        seed = f"{self._config.seed} boot {handover.boot}"
        config = replace(kernel or self._config.kernel, seed=seed, spare_cpus=self._config.spare_cpus)
        model = KernelModel(config, self._print)
        loader = PreservingKernel(f"{config.seed} petitboot", self._print) if self._config.petitboot else None
        system = GuestSystem(model, self._memory, self._read_cpus, self._disk_fd, loader)
        self._running = RunningGuest(model, system, tree, tokens)

    def answer(self, call: FirmwareCall, outcome: Answer | PassThrough) -> None:
        """:raises MachineError: the kernel that has called runs no more."""
        self._answer(self._guest_that_runs(), call.answer_address, call.returns, outcome)

    def cpus(self) -> Sequence[CpuRegisters]:
        """The registers of every CPU that was online when the kernel ran last; OPAL reports the others, too."""
        cpus = self._read_cpus()
        return cpus if self._config.platform is Platform.POWERNV else [cpus[number] for number in self._online]

    def reset(self, keep: RangeSet, hash_tables: tuple[Range, ...] = ()) -> None:
        for to in hash_tables:
            self._memory.write(to.start, self._hash_table(to.size_bytes).ljust(to.size_bytes, b"\0"))
        self._stop_guest()
        self._crashes += 1
        self._hand_over()

    def look_at_hash_table(self) -> bytes | None:
        return None if self._has_no_hash_table else self._hash_table(MOST_LOOKED_AT)

    def _hash_table(self, size_bytes: int) -> bytes:
        """The beginning of this crash's."""
        if self._has_no_hash_table:
            return b""
        return hash_table(f"{self._config.seed} {self._crashes}", self._config.ram, self._hash_table_bytes, size_bytes)

    @property
    def _has_no_hash_table(self) -> bool:
        return self._config.radix or self._config.platform is Platform.POWERNV

    @property
    def _hash_table_bytes(self) -> int:
        return usual_bytes(max(piece.end for piece in self._config.ram))

    def stand_still(self, point: StopAt) -> bool:
        return False  # there is nothing that a debugger could look at

    def forget_kept(self) -> None:
        """Nothing is put back on this machine."""

    def ask(self, request: Request) -> None:
        self._asked.append(request)

    @property
    def kernel(self) -> KernelModel:
        """The kernel that runs.

        :raises MachineError: none does.
        """
        return self._guest_that_runs().kernel

    @property
    def boot(self) -> int:
        """The number of the running boot, from 1."""
        return self._boot

    def files(self) -> Mapping[str, Entry]:
        """The files of the running kernel, by absolute path; none while no kernel runs."""
        return {} if self._running is None else self._running.system.files()

    def plug_memory(self, piece: Range) -> None:
        """Add a DIMM while the kernel runs, which has to wait for a request; later boots find it in their tree.

        :raises ValueError: there is memory.
        :raises SetupError: the host can't hold it.
        :raises MachineError: no kernel runs.
        """
        kernel = self.kernel
        segment = Segment(piece, _ram_file(piece.size_bytes), 0)
        try:
            self._memory.plug(segment)
        except BaseException:
            os.close(segment.fd)
            raise
        self._segments.append(segment)
        self._config = replace(self._config, memory=tuple(sorted((*self._config.memory, piece))))
        kernel.memory_came(piece)

    def unplug_memory(self, piece: Range) -> None:
        """Take away a DIMM that was plugged in this boot.

        :raises ValueError: ``piece`` is none, or the kernel doesn't let it go.
        :raises MachineError: no kernel runs.
        """
        self.kernel.memory_went(piece)
        self._memory.unplug(piece)
        (segment,) = (found for found in self._segments if found.range == piece)
        self._segments.remove(segment)
        os.close(segment.fd)
        self._config = replace(
            self._config, memory=tuple(present for present in self._config.memory if present != piece)
        )

    def change(self, change: Change) -> Sequence[GuestTask]:
        """The kernel does its part at once; an older one has to register again when its memory has changed."""
        match change.act, change.what:
            case Act.PLUG, Range() as piece:
                self.plug_memory(piece)
            case Act.UNPLUG, Range() as piece:
                self.unplug_memory(piece)
            case Act.OFFLINE, int(cpu):
                self._offline.add(cpu)
                self.kernel.set_online(range(cpu, cpu + 1), online=False)
                return ()
            case Act.PLUG, int(first):
                self._count_cpus(self._config.smt)
                self.kernel.set_online(range(first, self._config.cpus), online=True)
                return ()
            case Act.UNPLUG, int(first):
                self.kernel.set_online(range(first, self._config.cpus), online=False)
                self._count_cpus(-self._config.smt)
                self._offline.difference_update(range(first, first + self._config.smt))
                return ()
        if f"{FADUMP}/hotplug_ready" in self.files() or not self.kernel.registered:
            return ()
        return (GuestTask(Unregister(), Unregistered), GuestTask(Register(), Registered))

    def write_file(self, path: str, data: bytes) -> None:
        """Have a process in the guest write to one of them; it reports ``wrote``."""
        self._asked.append(WriteFile(path, data))

    def end(self, call: FirmwareCall) -> bool:
        return False

    def crash_firmware(self) -> None:
        raise MachineError("the embedded machine has no OPAL whose code could fail")

    def inject_nmi(self) -> None:
        """One CPU comes first; which one is up to the seed."""
        source = seeded(f"{self._config.seed} NMI {self._crashes}")
        self._asked.append(SystemReset(source.choice(self._online)))

    def halt(self) -> None:
        self._stop_guest()

    def press_reset(self) -> None:
        self._stop_guest()
        self._pending.clear()
        self._pending.append(GuestReset())
        self._hand_over()

    @property
    def _online(self) -> Sequence[int]:
        """The logical numbers of the CPUs that the kernel uses."""
        return [number for number in range(self._config.cpus) if number not in self._offline]

    def _count_cpus(self, more: int) -> None:
        config = self._config
        self._config = replace(config, cpus=config.cpus + more, spare_cpus=config.spare_cpus - more)

    def _run(self) -> Event:
        while (running := self._running) is not None:
            match running.step():
                case None:
                    self.press_reset()
                    return self._pending.popleft()
                case Call() as call if call.token in running.tokens:
                    return FirmwareCall(call.cpu, call.token, call.args, call.returns, call.answer_address)
                case Call() as call:
                    self._answer(running, call.answer_address, call.returns, PassThrough())
                case Waiting() if self._asked:
                    running.tell(self._asked.popleft())
                case Waiting():
                    return self._stopped("the guest waits to be asked for something")
                case Report() as report:
                    return report
        return self._stopped("the machine is halted")

    def _guest_that_runs(self) -> RunningGuest:
        if self._running is None:
            raise MachineError("no kernel runs on this machine now")
        return self._running

    def _answer(self, running: RunningGuest, answer_address: int, returns: int, outcome: Answer | PassThrough) -> None:
        answer = outcome if isinstance(outcome, Answer) else Answer(_NO_SUCH_CALL)
        for address, data in answer.writes:
            self._memory.write(address, data)
        if answer_address:
            self._memory.write(answer_address, rtas.encode_answer(answer.status, answer.outputs, returns))
        running.tell(answer.status)

    def _hand_over(self) -> None:
        """What boot firmware does: it puts itself into memory, and makes a device tree."""
        self._boot += 1
        self._offline.clear()
        for mine in firmware_memory(self._config):
            self._write_firmware(mine)
        self._pending.append(Handover(self._boot, build_tree(self._config)))

    def _write_firmware(self, mine: FirmwareMemory) -> None:
        """RTAS is the same at every boot; OPAL has a console and a heap, which are not."""
        boot = self._boot if self._config.platform is Platform.POWERNV else 0
        source = seeded(f"{self._config.seed} {mine.name} {boot}")
        for piece in self._memory.ram & RangeSet([Range.sized(mine.range.start, 0x1_0000)]):
            self._memory.write(piece.start, source.randbytes(piece.size_bytes))

    def _not_shown(self, tree: DeviceTree) -> Sequence[FirmwareMemory]:
        """On powernv all that is reserved for firmware, which goes on using it after the crash."""
        if self._config.platform is Platform.PSERIES:
            return ()
        cells = tree.root.cells("reserved-ranges")
        pairs = [
            (cells[at] << 32 | cells[at + 1], cells[at + 2] << 32 | cells[at + 3]) for at in range(0, len(cells), 4)
        ]
        return [FirmwareMemory(Range.sized(*pair), "reserved-ranges") for pair in pairs]

    def _read_cpus(self) -> list[CpuRegisters]:
        seed, platform = f"{self._config.seed} {self._crashes}", self._config.platform
        ids = enumerate(self._config.cpu_ids)
        return [cpu_registers(cpu_id, idle(number, platform), seed) for number, cpu_id in ids]

    def _stop_guest(self) -> None:
        if self._running is not None:
            self._running.close()
        self._running = None
        self._asked.clear()

    def _stopped(self, reason: str) -> Stopped:
        return Stopped(reason, tuple(self._console))

    def _print(self, line: str) -> None:
        self._console.append(line.rstrip("\n"))
        self._console_log.write(line.encode())
        self._console_log.flush()

    def _close_files(self) -> None:
        for segment in self._segments:
            os.close(segment.fd)
        self._segments = []


def _ram_file(size_bytes: int) -> int:
    fd = os.memfd_create("fadump-embedded-ram", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, size_bytes)
    except OSError as error:
        os.close(fd)
        raise SetupError(f"the host can't hold {size_bytes >> 20} MiB for the guest: {error.strerror}") from error
    return fd
