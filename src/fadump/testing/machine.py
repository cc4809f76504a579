"""``fadump.Machine``: a machine with FADump that a test boots, asks and crashes.

It is what ``fadump run`` runs, and each of its crashes is the story of :mod:`fadump.cycle`; what is on the disk is as
that command leaves it. Between crashes, which leave it in production, the guest can be asked.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from fadump.cli.run_view import different_text, fell_back_text
from fadump.cycle import Booted, CycleResult, boot, run_cycle, run_script
from fadump.errors import FadumpError, MachineError, SetupError, UsageError, note_phase
from fadump.firmware.contract import PreservedDump
from fadump.kit.kernel import find_kernel
from fadump.machine.qemu.config import DEFAULT_QEMU
from fadump.observer import CrashBy, Milestone, Unwatched
from fadump.progress import hidden
from fadump.proof.verify import Verdict, Verifier
from fadump.run.console import CONSOLE_LOG, telling_log
from fadump.run.faults import never_struck
from fadump.run.hash_table import HashTableFile
from fadump.run.host import check_host
from fadump.run.inputs import check_inputs
from fadump.run.options import RunOptions, WhichMachine, check_options
from fadump.run.parts import Parts, make_parts
from fadump.run.run import full_disk_reported
from fadump.signals import EndedBySignal
from fadump.testing.choices import checked_options, choice

_NUMBERED = 2
"""An output directory for several cycles, which numbers their dumps."""


@dataclass(frozen=True, slots=True)
class Crash:
    """A crash whose dump is saved, and after which the machine is in production again. Sizes are bytes.

    ``vmcore`` is the dump, an ELF core that only you can read. ``output`` is what the capture script has printed.
    ``verified_bytes`` of the dump, and all registers, were compared with the machine at its crash and are the same;
    None: that was not asked for. ``memory_released`` is 0 where the capture script has released it. ``resets`` counts
    from the crash to production: 1 in a good one. ``timeline`` is when each milestone was reached, in seconds after
    power-on.
    """

    vmcore: Path
    vmcore_bytes: int
    kernel_release: str
    cpus: int
    boot_memory_bytes: int | None
    reserved_bytes: int | None
    memory_released: int
    resets: int
    verified_bytes: int | None
    timeline: dict[str, float]
    output: str


class Machine:
    """A machine with FADump firmware, which is switched off at the end of its ``with`` block.

        with fadump.Machine("files", kernel="vmlinux", memory="2G") as machine:
            machine.run("cat /sys/kernel/fadump/registered")
            crash = machine.crash()

    Files are left in ``directory``: ``console.log``, ``firmware.log`` with each firmware call and its answer,
    ``timeline.json``, and of each crash ``vmcore.1`` and so on.

    ``machine`` is ``"embedded"``, a model of Linux, ``kernel_version`` and ``page_size`` of which may be chosen; or
    ``"qemu"``, real Linux, with a ``kernel`` (default: that of ``fadump kernel build``) and an ``initrd`` with what it
    needs as modules. None is QEMU's if there is a kernel. The other arguments are the options of ``fadump run`` that
    are called so, and so are they in errors. Memory is in bytes, or text as ``"2G"``.

    Nothing is started before the first use of the block's machine, and no kernel is built: that takes too long for a
    test.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        machine: str | None = None,
        platform: str = "pseries",
        memory: int | str | None = None,
        cpus: int = 2,
        smt: int = 1,
        cpu_model: str = "POWER9",
        cmdline: str = "",
        kernel: str | Path | None = None,
        initrd: str | Path | None = None,
        kernel_version: str | None = None,
        page_size: str | None = None,
        qemu: str = DEFAULT_QEMU,
        faults: Sequence[str] = (),
    ) -> None:
        """:raises UsageError: an argument can't be, or two don't go together."""
        self.directory = Path(directory)
        typed = RunOptions(
            out=self.directory,
            machine=choice(WhichMachine, "machine", machine or ("embedded" if kernel is None else "qemu")),
            cpus=cpus,
            smt=smt,
            cpu_model=cpu_model,
            cmdline=cmdline,
            kernel=None if kernel is None else Path(kernel),
            initrd=None if initrd is None else Path(initrd),
            qemu=qemu,
            cycles=_NUMBERED,
        )
        self._options = checked_options(typed, platform, memory, kernel_version, page_size, faults)
        self._ends = ExitStack()
        self._running: _Running | None = None
        self._failed = False
        self._off = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._failed |= kind is not None
        self.close()

    def close(self) -> None:
        """Switch the machine off, as the end of the block does.

        :raises MachineError: one of the ``faults`` has never struck, though all went well.
        """
        running, self._running, self._off = self._running, None, True
        self._ends.close()
        if running is not None and not self._failed:
            running.check_faults()

    @property
    def console_log(self) -> Path:
        """What the guest has printed on its console, in all boots."""
        return self.directory / CONSOLE_LOG

    def run(self, script: str) -> str:
        """Run a shell script in the guest, in production; return what it prints, the first 64 KiB.

        The guest has busybox, and Linux's files: a QEMU machine only. Work in the background goes on after it.

        :raises MachineError: it has ended with another status than 0, or the guest has booted instead.
        :raises SetupError: something is missing.
        """
        self._check_scripts(script)
        with self._telling():
            return self._powered_on().run(script)

    def crash(
        self, by: str = "sysrq", *, cpu: int = 0, script: str = "", capture: str = "", verify: bool = True
    ) -> Crash:
        """Crash the machine, and let it go on until it is in production again.

        ``by`` is ``"sysrq"`` on this ``cpu``, ``"nmi"``, ``"platform"`` (without Linux's help) or ``"opal"``; or a
        shell ``script`` does it. ``capture`` is a script for the capture kernel, once the dump is saved; it may write
        to release_mem itself. Scripts are for QEMU machines. With ``verify`` every byte and register of the dump is
        compared with the machine at its crash.

        :raises MachineError: the dump is lost or different, or a step has failed; with its attributes ``phase``, the
            milestone that the machine was on the way to, ``firmware``, the firmware's reason, and ``console``.
        :raises SetupError: something is missing, nothing was tried.
        """
        options = replace(self._options, crash_by=choice(CrashBy, "by", by), crash_cpu=cpu)
        check_options(options)
        self._check_scripts(script + capture)
        with self._telling():
            running = self._powered_on()
            return running.crash(options.crash_by, cpu, script, capture, verify=verify)

    def _check_scripts(self, script: str) -> None:
        if script and self._options.machine is WhichMachine.EMBEDDED:
            raise UsageError("scripts go with a machine in QEMU, as the model of Linux has no shell: try fadump.shell")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """As a run tells of an error. A machine that has failed is switched off."""
        if self._off:
            raise UsageError("this machine is off, as after a failure: make another one")
        with telling_log(self.console_log), hidden():
            try:
                yield
            except (FadumpError, OSError, EndedBySignal) as error:
                self._failed = self._off = True
                note_phase(error, Milestone.POWER_ON if self._running is None else self._running.phase)
                self._ends.close()
                raise

    def _powered_on(self) -> "_Running":
        if self._running is None:
            check_inputs(self._options)
            if self._options.machine is WhichMachine.QEMU and self._options.kernel is None and find_kernel() is None:
                raise SetupError("there is no kernel to run yet: type 'fadump kernel build' once, or give one")
            check_host(self._options)
            self._running = _Running(make_parts(self._options), self._ends)
        return self._running


class _Running:
    """A machine that is on until ``ends`` are closed."""

    def __init__(self, parts: Parts, ends: ExitStack) -> None:
        self._parts = parts
        self._output = ends.enter_context(parts.output)
        self._verifier = ends.enter_context(Verifier())
        ends.callback(self._output.publish_saved)  # keep a saved dump, whatever failed after that
        ends.enter_context(full_disk_reported(self._output))
        self._machine = ends.enter_context(parts.make_machine(self._output.vmcore_fd, self._output.console_log))
        self._observer = self._output.watch(Unwatched())
        self._before: CycleResult | Booted | None = None
        self._cycles: list[CycleResult] = []

    @property
    def phase(self) -> Milestone:
        return self._output.phase

    def run(self, script: str) -> str:
        firmware = self._parts.firmware
        if self._before is None:
            self._before = boot(self._machine, firmware, self._observer)
        output = run_script(self._machine, firmware, script, self._observer, self._before)
        return output.decode(errors="replace")

    def crash(self, by: CrashBy, cpu: int, script: str, capture: str, *, verify: bool) -> Crash:
        request = replace(self._parts.request, crash_by=by, crash_cpu=cpu, crash_script=script, capture_script=capture)
        inspector = HashTableFile(self._output, self._verifier if verify else None)
        result = run_cycle(self._machine, self._parts.firmware, request, self._observer, inspector, self._before)
        self._cycles.append(result)
        self._before = result
        if result.kdump is not None:
            raise MachineError(fell_back_text(result.kdump))
        verdict = self._judge(result.dump) if verify and result.dump is not None else None
        vmcore = self._output.next_cycle(result.vmcore_bytes)
        if verdict is not None and not verdict.same:
            raise MachineError(f"{vmcore} is {different_text(verdict)}")
        return Crash(
            vmcore=vmcore,
            vmcore_bytes=result.vmcore_bytes,
            kernel_release=result.kernel_release,
            cpus=result.cpus,
            boot_memory_bytes=result.boot_memory_bytes,
            reserved_bytes=result.reserved_bytes,
            memory_released=result.memory_released,
            resets=result.reboots,
            verified_bytes=None if verdict is None else verdict.memory.bytes_compared,
            timeline={str(milestone): at_seconds for milestone, at_seconds in result.timeline},
            output=result.captured.decode(errors="replace"),
        )

    def _judge(self, dump: PreservedDump) -> Verdict:
        return self._verifier.judge(self._output.vmcore_on_disk, dump, self._output.opalcore)

    def check_faults(self) -> None:
        """:raises MachineError: a fault has never struck in any crash."""
        missed = never_struck(self._parts.faults, self._parts.firmware, self._cycles) if self._cycles else ()
        if missed:
            raise MachineError("; ".join(map(str, missed)))
