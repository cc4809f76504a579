"""One configuration on real Linux in QEMU: booted, crashed and released, with questions after each step."""

import base64
import gzip
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from fadump.abi.platform import Platform
from fadump.compare import questions, seen
from fadump.compare.configuration import Configuration, Ends
from fadump.compare.core_head import CoreHead, core_answers, read_core_head
from fadump.compare.questions import Question
from fadump.compare.recorder import Recorder, firmware_for
from fadump.compare.seen import Moment, Seen, Trees
from fadump.errors import MachineError
from fadump.firmware.contract import State
from fadump.machine.channel import Hello, RunScript, ScriptRan
from fadump.machine.contract import ConsoleLog, Machine
from fadump.machine.qemu.config import QemuConfig
from fadump.observer import CrashBy, Unwatched
from fadump.session import Session

SILENCE_SECONDS = 240.0
_DISK_BYTES = 1 << 20
_LEAST_HEAD_BYTES = 0x8000
_HEAD_OF_VMCORE = "[ ! -e /proc/vmcore ] || head -c {count} /proc/vmcore | gzip -c | base64 -w 0"


def qemu_config(configuration: Configuration, kernel: Path, initrd: Path, qemu: str) -> QemuConfig:
    """The QEMU machine of a configuration."""
    return QemuConfig(
        kernel=kernel,
        initrd=initrd,
        cmdline=configuration.cmdline,
        platform=configuration.platform,
        cpus=configuration.cpu_count,
        max_cpus=None if configuration.platform is Platform.POWERNV else configuration.max_cpus,
        nodes=configuration.nodes,
        dimms=configuration.dimms,
        cpu_model=configuration.cpu_model,
        vof=configuration.platform is Platform.PSERIES,
        qemu=qemu,
    )


def see_linux(configuration: Configuration, config: QemuConfig, console_log: ConsoleLog) -> Seen:
    """Run a configuration.

    :raises MachineError: the guest doesn't boot, or doesn't do what it is asked.
    :raises SetupError: QEMU or memory is missing.
    """
    from fadump.machine.qemu.machine import QemuMachine  # noqa: PLC0415 - its packages are optional

    with tempfile.TemporaryFile() as disk:
        disk.truncate(_DISK_BYTES)
        with QemuMachine(config, disk.fileno(), console_log) as machine:
            return Story(configuration, machine).tell()


class Story:
    """What is done with one guest, from power-on on."""

    def __init__(self, configuration: Configuration, machine: Machine) -> None:
        self._configuration = configuration
        self._recorder = Recorder(firmware_for(configuration.platform))
        self._session = Session(machine, self._recorder, Unwatched(), silence_seconds=SILENCE_SECONDS)
        self._moments: list[Moment] = []

    def tell(self) -> Seen:
        """Do it; return what was seen.

        :raises MachineError: the guest doesn't boot, or doesn't do what it is asked.
        """
        hello = self._session.expect(Hello)
        self._check(hello)
        self._look(seen.FIRST_BOOT, questions.FIRST_BOOT, self._calls(0))
        if self._configuration.ends is Ends.CRASHED and self._recorder.state is State.REGISTERED:
            self._crash()
        return Seen(
            hello.release,
            self._moments,
            [Trees(*trees) for trees in self._recorder.trees],
            self._recorder.cpus,
        )

    def _crash(self) -> None:
        self._session.crash(CrashBy.SYSRQ, self._configuration.crash_cpu)
        self._session.expect(Hello)
        if self._recorder.taken is None:
            raise MachineError("the guest crashed and has booted again without a dump")
        self._moments.append(Moment(seen.CRASH, {**self._calls(0), "preserved": self._recorder.dump()}))
        core = self._core_head()
        self._look(seen.CAPTURE_BOOT, questions.CAPTURE_BOOT, self._calls(1) | self._core_answers(core))
        self._look(seen.RELEASED, questions.RELEASED, {})

    def _look(self, name: str, asked: Sequence[Question], more: Mapping[str, str]) -> None:
        answers = questions.parse(asked, self._run(questions.script(asked)))
        boot = len(self._recorder.trees) - 1
        calls = self._recorder.take_calls(boot)
        self._moments.append(Moment(name, {**more, **answers, "firmware calls": calls}))

    def _core_answers(self, core: CoreHead | None) -> dict[str, str]:
        return core_answers(core, self._configuration.crash_cpu)

    def _calls(self, boot: int) -> dict[str, str]:
        return {"firmware calls on the way": self._recorder.take_calls(boot)}

    def _core_head(self) -> CoreHead | None:
        """None if there is no /proc/vmcore. Headers and notes are compressed for transfer, as they are mostly zeros."""
        size_bytes = max(2 * self._configuration.traits.page_bytes, _LEAST_HEAD_BYTES)
        output = self._run(_HEAD_OF_VMCORE.format(count=size_bytes))
        if not output:
            return None
        try:
            head = gzip.decompress(base64.b64decode(output))
        except (ValueError, EOFError, OSError, zlib.error) as error:
            raise MachineError(f"the beginning of /proc/vmcore came from the guest damaged: {error}") from error
        core = read_core_head(head)
        if core.size_bytes > size_bytes:
            raise MachineError(f"/proc/vmcore begins with {core.size_bytes:#x} bytes of headers and notes")
        return core

    def _run(self, script: str) -> str:
        ran = self._session.ask(RunScript(script), ScriptRan)
        output = ran.output.decode(errors="replace")
        if ran.status:
            raise MachineError(f"a script in the guest has failed: {output[-200:]!r}")
        return output

    def _check(self, hello: Hello) -> None:
        if hello.page_bytes != self._configuration.traits.page_bytes:
            raise MachineError(f"the guest's pages have {hello.page_bytes:#x} bytes: it is another kernel")
