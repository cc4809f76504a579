"""The embedded guest's first process: does what it is asked, by the kernel's files, and reports.

docs/guest-channel.md says what is asked and reported; ``kit/data/init`` does the same on real Linux. As there, one
request is answered before the next is taken.
"""

import os
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from fadump.abi.registers import PAPR_TO_PT_REGS, CpuRegisters
from fadump.kernel.calls import Call, Errno, Steps
from fadump.kernel.files.sysfs import REGISTERED, RELEASE_MEM, Entry, FileSystem, KernelFile
from fadump.kernel.model import KernelModel
from fadump.kernel.opal_core import CORE
from fadump.kernel.petitboot import PreservingKernel
from fadump.kernel.plan.system import dump_announced
from fadump.machine.channel import (
    BootMode,
    Crash,
    Crashing,
    Failed,
    FileWritten,
    Hello,
    Register,
    Registered,
    Release,
    Released,
    Report,
    Request,
    Reregister,
    RunScript,
    Save,
    Saved,
    SavedOpalCore,
    SaveOpalCore,
    Saving,
    Unregister,
    Unregistered,
)
from fadump.machine.embedded.cpus import saved_registers
from fadump.machine.embedded.save import save_file, save_vmcore
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory

_KIB, _MIB = 1 << 10, 1 << 20
SYSRQ_TRIGGER = "/proc/sysrq-trigger"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Waiting:
    """The guest has nothing to do until it is asked for something."""


@dataclass(frozen=True, slots=True)
class SystemReset:
    """Sent instead of a request: every CPU gets a system reset interrupt, and this one takes it first."""

    cpu: int


GuestStep = Call | Report | Waiting


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Sent instead of a request: a process writes to one of the kernel's files; ``wrote`` is reported, with the result.

    ``path`` is absolute; the result is the number of bytes taken, or a negative errno.
    """

    path: str
    data: bytes


Asked = Request | SystemReset | WriteFile
Guest = Generator[GuestStep, int | Asked | None, None]
"""Is sent a status for a call, nothing for a report, and a request when it waits."""


class GuestSystem:
    """A kernel and its first process, for one boot.

    ``cpus`` reads the CPUs' registers as they are; ``disk_fd`` is the guest's disk. ``loader`` is a kernel that starts
    this one.
    """

    def __init__(
        self,
        kernel: KernelModel,
        memory: GuestMemory,
        cpus: Callable[[], list[CpuRegisters]],
        disk_fd: int,
        loader: PreservingKernel | None = None,
    ) -> None:
        self._loader = loader
        self._kernel = kernel
        self._memory = memory
        self._cpus = cpus
        self._disk_fd = disk_fd
        self._booted = False

    def files(self) -> Mapping[str, Entry]:
        """The kernel's files as they are now, by absolute path; empty while it boots."""
        if not self._booted:
            return {}
        trigger = KernelFile(FileSystem.PROC, 0o200, store=_do_nothing)
        return {**self._kernel.files(), SYSRQ_TRIGGER: trigger}

    def run(self, tree: DeviceTree) -> Guest:
        """From the kernel's start on; ends when the kernel reboots.

        :raises KernelPanicError: the kernel can't run.
        """
        kernel = self._kernel
        if self._loader is not None:
            yield from _calls(self._loader.boot(tree, self._memory))
        yield from _calls(kernel.boot(tree, self._memory))
        self._booted = True
        yield self._hello(tree)
        while True:
            request = yield Waiting()
            match request:
                case SystemReset(cpu=cpu):
                    yield from _calls(kernel.system_reset(cpu, self._registers(cpu)))
                    return
                case Crash(cpu=cpu) if kernel.is_online(cpu):
                    yield Crashing(cpu)
                    yield from _calls(kernel.trigger_crash(cpu, self._registers(cpu)))
                    return
            yield from self._serve(request)

    def _serve(self, request: int | Asked | None) -> Guest:
        """A crash that the kernel survives."""
        match request:
            case Crash(cpu=cpu):
                yield Failed("crash", f"CPU {cpu} can't be used: Invalid argument")
            case Register() | Reregister():
                yield from self._set_registered(type(request).__name__.lower(), wanted=True)
            case Unregister():
                yield from self._set_registered("unregister", wanted=False)
            case Save():
                yield from self._save()
            case SaveOpalCore():
                yield from self._save_opalcore()
            case Release():
                yield from self._release()
            case RunScript():
                yield Failed("run", "this guest has no shell")
            case WriteFile(path=path, data=data):
                yield from self._write(path, data)

    def _write(self, path: str, data: bytes) -> Guest:
        file = self.files().get(path)
        result: int = Errno.ENODEV
        if isinstance(file, KernelFile) and file.store is not None:
            result = yield from _calls(file.store(data))
        yield FileWritten(int(result))

    def _hello(self, tree: DeviceTree) -> Hello:
        kernel = self._kernel
        return Hello(
            mode=BootMode.CAPTURE if dump_announced(tree) else BootMode.FIRST,
            release=kernel.release,
            cpus=kernel.cpu_count,
            memory_bytes=kernel.total_bytes // _KIB * _KIB,
            page_bytes=kernel.page_bytes,
            enabled=kernel.enabled,
            registered=kernel.registered,
            opal_core_bytes=None if kernel.opal_core.file is None else kernel.opal_core.file.size_bytes,
        )

    def _set_registered(self, step: str, *, wanted: bool) -> Guest:
        kernel = self._kernel
        if kernel.registered is not wanted:
            status = yield from _calls(kernel.write_registered(b"1" if wanted else b"0"))
            if kernel.registered is not wanted:
                yield self._refused(step, REGISTERED, status)
                return
        if not wanted:
            yield Unregistered()
            return
        yield Registered(kernel.mem_reserved, kernel.region_show().encode("latin-1"))

    def _save(self) -> Guest:
        vmcore = self._kernel.vmcore
        if vmcore is None:
            yield Failed("save", self._with_log("this boot has no /proc/vmcore"))
            return
        disk_bytes = os.fstat(self._disk_fd).st_size
        if vmcore.size_bytes > disk_bytes:
            yield Failed("save", f"/proc/vmcore has {vmcore.size_bytes} bytes, the disk only {disk_bytes}")
            return
        yield Saving(vmcore.size_bytes)
        try:
            save_vmcore(vmcore, self._memory, self._disk_fd)
        except OSError as error:
            yield Failed("save", f"writing to the disk: {error.strerror}")
            return
        yield Saved(vmcore.size_bytes)

    def _save_opalcore(self) -> Guest:
        """To the disk's end, from a whole MiB on: the dump takes its beginning."""
        core = self._kernel.opal_core.file
        if core is None:
            yield Failed("save_opalcore", f"this boot has no {CORE}")
            return
        disk_bytes = os.fstat(self._disk_fd).st_size
        if core.size_bytes > disk_bytes:
            yield Failed("save_opalcore", f"{CORE} has {core.size_bytes} bytes, the disk only {disk_bytes}")
            return
        offset = (disk_bytes - core.size_bytes) // _MIB * _MIB
        try:
            save_file(core, self._memory, self._disk_fd, offset)
        except OSError as error:
            yield Failed("save_opalcore", f"writing to the disk: {error.strerror}")
            return
        yield SavedOpalCore(core.size_bytes, offset)

    def _release(self) -> Guest:
        kernel, path = self._kernel, RELEASE_MEM
        if path not in kernel.files():
            sentence = f"there is no {path}, so there is no dump whose memory could be released"
            yield Failed("release", self._with_log(sentence))
            return
        before = kernel.total_bytes
        status = yield from _calls(kernel.write_release_mem(b"1"))
        if status:
            yield self._refused("release", path, status)
        else:
            yield Released((kernel.total_bytes - before) // _KIB * _KIB)

    def _refused(self, step: str, path: str, status: Errno) -> Failed:
        said = os.strerror(-status) if status else "nothing has come of it"
        return Failed(step, self._with_log(f"writing to {path}: {said}"))

    def _with_log(self, text: str) -> str:
        said = self._kernel.last_lines
        return f"{text}; the kernel said: {' '.join(said)}" if said else text

    def _registers(self, cpu: int) -> dict[str, int]:
        return saved_registers(self._cpus()[cpu].values, PAPR_TO_PT_REGS)


class RunningGuest:
    """A kernel and its first process, from the kernel's entry to its end. Calls with ``tokens`` are the firmware's."""

    def __init__(self, kernel: KernelModel, system: GuestSystem, tree: DeviceTree, tokens: frozenset[int]) -> None:
        self.kernel = kernel
        self.system = system
        self.tokens = tokens
        self._steps = system.run(tree)
        self._told: int | Asked | None = None

    def tell(self, told: int | Asked) -> None:
        """What its next step begins with: a status after a call, a request where it waits."""
        self._told = told

    def step(self) -> GuestStep | None:
        """Let it run to its next step; None: it has rebooted.

        :raises KernelPanicError: the kernel can't run.
        """
        told, self._told = self._told, None
        try:
            return self._steps.send(told)
        except StopIteration:
            return None

    def close(self) -> None:
        """End it where it is."""
        self._steps.close()


def _do_nothing(data: bytes) -> Steps[int]:
    """What the letters come to that this model has no meaning for; a crash is a ``Crash``."""
    yield from ()
    return len(data)


def _calls(steps: Steps[_T]) -> Generator[GuestStep, int | Asked | None, _T]:
    """Run a part of the kernel: its calls are the guest's."""
    try:
        call = next(steps)
        while True:
            status = yield call
            assert isinstance(status, int)  # noqa: S101 - what is sent for a call
            call = steps.send(status)
    except StopIteration as end:
        return cast("_T", end.value)
