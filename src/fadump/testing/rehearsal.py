"""``fadump.rehearse()``: somebody's system, crashed once, as a function for tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.abi.platform import Platform
from fadump.errors import MachineError
from fadump.machine.qemu.config import DEFAULT_QEMU
from fadump.observer import CrashBy, Unwatched
from fadump.progress import hidden
from fadump.run.console import CONSOLE_LOG, telling_log
from fadump.systems.console import READY
from fadump.systems.rehearsal import Patience
from fadump.systems.rehearse import DUMP_DIRECTORY, RehearsalOptions, RehearsalResult
from fadump.systems.rehearse import rehearse as rehearse_system
from fadump.systems.vm import VmOptions
from fadump.testing.choices import choice, memory_bytes


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A system's crash whose dump it has saved, and which is in production again.

    ``dump`` is a copy of the dump, which was at ``path`` in the system; ``console_log`` is what it has printed.
    ``service`` is what its dump service has done then: ``"released"`` the memory, ``"rebooted"`` once more, or
    ``"nothing"``. ``resets`` counts from the crash to production. ``verified_bytes`` of the dump, and its registers,
    were compared with the machine at its crash and are the same; None: that was not asked for. ``warnings`` are
    sentences about what went wrong without losing the dump. ``timeline`` is when each milestone was reached, in seconds
    after power-on.
    """

    dump: Path
    path: str
    console_log: Path
    service: str
    resets: int
    verified_bytes: int | None
    warnings: Sequence[str]
    timeline: dict[str, float]


def rehearse(
    directory: str | Path,
    disk: str | Path | Sequence[str | Path],
    *,
    kernel: str | Path | None = None,
    initrd: str | Path | None = None,
    cmdline: str | None = None,
    platform: str = "pseries",
    memory: int | str = "4G",
    cpus: int = 2,
    smt: int = 1,
    cpu_model: str = "POWER9",
    qemu: str = DEFAULT_QEMU,
    by: str = "nmi",
    dumps: str = DUMP_DIRECTORY,
    ready: str | None = None,
    patience: float = 1.0,
    verify: bool = True,
) -> Rehearsal:
    """Crash the system on a ``disk``, or several, which stay as they are; see that it saves its dump.

    Files are left in ``directory``, which must not be there yet. The arguments are the options of ``fadump rehearse``
    that are called so, ``by`` is its --crash-by.

    :raises MachineError: the dump is lost or different, or the system is not registered; with its attributes ``phase``,
        the milestone that it was on the way to, ``firmware``, the firmware's reason, and ``console``.
    :raises SetupError: something is missing, nothing was tried.
    :raises UsageError: an argument can't be, or two don't go together.
    """
    options = RehearsalOptions(
        vm=VmOptions(
            kernel=None if kernel is None else Path(kernel),
            initrd=None if initrd is None else Path(initrd),
            cmdline=cmdline,
            disks=tuple(map(Path, [disk] if isinstance(disk, str | Path) else disk)),
            platform=choice(Platform, "platform", platform),
            memory_bytes=memory_bytes(memory),
            cpus=cpus,
            smt=smt,
            cpu_model=cpu_model,
            qemu=qemu,
        ),
        out=Path(directory),
        crash_by=choice(CrashBy, "by", by),
        verify=verify,
        dump_directory=dumps,
        ready=READY if ready is None else ready,
        patience=Patience().scaled(patience),
    )
    console = options.out / CONSOLE_LOG
    with telling_log(console), hidden():
        result = rehearse_system(options, Unwatched())
        if result.error is not None or result.judged is None:
            raise _lost(result)
    watched, verdict = result.watched, result.judged.verdict
    return Rehearsal(
        dump=result.judged.dump.copy,
        path=result.judged.dump.path,
        console_log=console,
        service=str(watched.service),
        resets=result.resets,
        verified_bytes=None if verdict is None else verdict.memory.bytes_compared,
        warnings=[*watched.warnings, *(f"out of memory: {line}" for line in watched.out_of_memory)],
        timeline={str(milestone): at_seconds for milestone, at_seconds in result.timeline},
    )


def _lost(result: RehearsalResult) -> MachineError:
    error = MachineError(f"{result.outcome}: {result.error}")
    error.phase = None if result.phase is None else str(result.phase)
    return error
