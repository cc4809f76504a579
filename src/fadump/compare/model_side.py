"""The same configuration on the model, with the device trees, registers and memory size of the real machine.

It has its own firmware. So no difference is due to the machine.
"""

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from fadump.abi.pseries import rtas
from fadump.compare import questions, seen
from fadump.compare.configuration import Configuration
from fadump.compare.core_head import core_answers, read_core_head
from fadump.compare.questions import ABSENT, DONE, Messages, Names, Question, Read, Write, content, refused
from fadump.compare.recorder import Recorder, firmware_for
from fadump.compare.seen import Moment, Seen
from fadump.errors import MachineError
from fadump.firmware.contract import Answer, FirmwareCall, State, Trigger
from fadump.kernel.calls import Call, KernelPanicError, Steps
from fadump.kernel.files.sysfs import KernelFile, KernelLink
from fadump.kernel.model import KernelConfig, KernelModel
from fadump.machine.qemu.process import guest_ram_file
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory, Segment

_NO_SUCH_CALL = -1
_MESSAGE = re.compile(questions.MESSAGES)
_TIME = re.compile(r"\[[^]]*\] ")
_LOG = "/proc/kmsg"
_MOST_LOG_BYTES = 1 << 20


def see_model(configuration: Configuration, linux: Seen) -> Sequence[Moment]:
    """What the model does in the same situations as real Linux in ``seen``, as far as both get.

    :raises MachineError: the model's kernel panics.
    """
    with ExitStack() as ends:
        segments = []
        for piece in configuration.memory:
            fd = guest_ram_file(piece.size_bytes)
            ends.callback(os.close, fd)
            segments.append(Segment(piece, fd, 0))
        memory = ends.enter_context(GuestMemory(segments))
        try:
            return _Story(configuration, linux, memory).tell()
        except KernelPanicError as error:
            raise MachineError(f"the model panics: {error}") from error


class _CrashedError(Exception):
    def __init__(self, trigger: Trigger) -> None:
        self.trigger = trigger
        super().__init__()


class _Story:
    def __init__(self, configuration: Configuration, linux: Seen, memory: GuestMemory) -> None:
        self._configuration = configuration
        self._linux = linux
        self._memory = memory
        self._recorder = Recorder(firmware_for(configuration.platform))
        self._log = ""
        self._moments: list[Moment] = []

    def tell(self) -> Sequence[Moment]:
        kernel = self._boot(0)
        self._look(kernel, seen.FIRST_BOOT, questions.FIRST_BOOT, self._calls(0))
        if self._linux.crashed and self._recorder.state is State.REGISTERED:
            self._crash(kernel)
        return self._moments

    def _boot(self, index: int) -> KernelModel:
        trees = self._linux.boots[index]
        self._recorder.describe(DeviceTree.parse(trees.found))
        self._log = ""
        kernel = KernelModel(KernelConfig(self._configuration.traits, self._linux.release), _discard)
        self._run(kernel.boot(DeviceTree.parse(trees.entered), self._memory))
        return kernel

    def _crash(self, kernel: KernelModel) -> None:
        try:
            self._run(kernel.trigger_crash(self._configuration.crash_cpu, {}))
        except _CrashedError as crash:
            self._recorder.preserve(crash.trigger, self._memory, self._linux.cpus)
        else:
            raise MachineError("the model's crash is not a dump")
        kernel = self._boot(1)
        self._moments.append(Moment(seen.CRASH, {**self._calls(0), "preserved": self._recorder.dump()}))
        core = None if kernel.vmcore is None else read_core_head(kernel.vmcore.head)
        told = core_answers(core, self._configuration.crash_cpu)
        self._look(kernel, seen.CAPTURE_BOOT, questions.CAPTURE_BOOT, self._calls(1) | told)
        self._look(kernel, seen.RELEASED, questions.RELEASED, {})

    def _calls(self, boot: int) -> dict[str, str]:
        return {"firmware calls on the way": self._recorder.take_calls(boot)}

    def _look(self, kernel: KernelModel, name: str, asked: Sequence[Question], more: Mapping[str, str]) -> None:
        answers = {name: self._answer(kernel, question) for question, name in questions.numbered(asked)}
        calls = self._recorder.take_calls(len(self._recorder.trees) - 1)
        self._moments.append(Moment(name, {**more, **answers, "firmware calls": calls}))

    def _answer(self, kernel: KernelModel, question: Question) -> str:
        match question:
            case Read(path):
                return _read(kernel, path)
            case Write(path, text):
                return self._write(kernel, path, text)
            case Names(path):
                return "\n".join(sorted(_names(kernel, path)))
            case Messages():
                return self._messages(kernel)

    def _messages(self, kernel: KernelModel) -> str:
        log = _file(kernel, _LOG)
        read = None if log is None else log.stream
        assert read is not None  # noqa: S101 - a kernel always has it
        self._log += read(_MOST_LOG_BYTES).decode(errors="replace")
        lines = (_TIME.sub("", line, count=1) for line in self._log.splitlines())
        return "\n".join(line for line in lines if _MESSAGE.search(line))

    def _write(self, kernel: KernelModel, path: str, text: str) -> str:
        file = _file(kernel, path)
        if file is None:
            return ABSENT
        if file.store is None:
            return os.strerror(-file.file_system.misuse)
        taken = self._run(file.store(text.encode()))
        return DONE if taken >= 0 else os.strerror(-taken)

    def _run(self, steps: Steps[int] | Steps[None]) -> int:
        """Run some of the kernel's steps; return their result.

        :raises _CrashedError: they ended in a dump.
        """
        try:
            call = next(steps)
            while True:
                call = steps.send(self._serve(call))
        except StopIteration as end:
            return end.value or 0

    def _serve(self, call: Call) -> int:
        made = FirmwareCall(call.cpu, call.token, call.args, call.returns, call.answer_address)
        outcome = self._recorder.call(made, self._memory) if call.token in self._recorder.tokens else None
        if isinstance(outcome, Trigger):
            raise _CrashedError(outcome)
        answer = outcome if isinstance(outcome, Answer) else Answer(_NO_SUCH_CALL)
        for address, data in answer.writes:
            self._memory.write(address, data)
        if call.answer_address:
            encoded = rtas.encode_answer(answer.status, answer.outputs, call.returns)
            self._memory.write(call.answer_address, encoded)
        return answer.status


def _discard(_line: str) -> None:
    """The model's console, which is discarded; its log is read through a file."""


def _file(kernel: KernelModel, path: str) -> KernelFile | None:
    """The file at a path; links are followed."""
    entries = kernel.files()
    entry = entries.get(path)
    if isinstance(entry, KernelLink):
        entry = entries.get(str(Path(path).parent / entry.target))
    return entry if isinstance(entry, KernelFile) else None


def _read(kernel: KernelModel, path: str) -> str:
    file = _file(kernel, path)
    if file is None:
        return ABSENT
    if file.show is None:
        return refused(file.mode, os.strerror(errno.EACCES))
    return content(file.mode, file.show().decode("latin-1"))


def _names(kernel: KernelModel, directory: str) -> Iterator[str]:
    for path in kernel.files():
        if str(Path(path).parent) == directory:
            yield Path(path).name
