"""What a combination of values is as a command of ``fadump``, and which files it needs.

Each value is the option of its name, but for three:

    guest          ours, or not given: fadump run; debian, or a disk image: fadump rehearse of that system
    kernel         a file, or a series as 6.12 or newest: the model's on the embedded machine, else one that is built
    configuration  its number in the set of fadump compare, which compares it
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fadump.abi.platform import Platform
from fadump.campaign.job import Artifact, Job, artifact_of
from fadump.campaign.matrix import CONFIGURATION, Case, Matrix, Value, title_of
from fadump.campaign.results import Plan, Planned
from fadump.compare.configuration import full_set
from fadump.errors import UsageError
from fadump.given import check_file, reading
from fadump.kit.kernel import DEFAULT_PAGE_SIZE, DEFAULT_SERIES, NEWEST_SERIES, build_kernel
from fadump.machine.qemu.config import DEFAULT_QEMU
from fadump.observer import CrashBy
from fadump.run.options import NEWEST_QEMU, WhichMachine
from fadump.systems.image import build_image

RUN, REHEARSE, COMPARE = "run", "rehearse", "compare"
GUEST, KERNEL, PAGE_SIZE = "guest", "kernel", "page-size"
_OURS, _DEBIAN = "ours", "debian"
_FILES = ("--kernel", "--initrd", "--petitboot", "--disk")
_SERIES = re.compile(r"[1-9][0-9]{0,2}\.(0|[1-9][0-9]{0,2})")
_ON = ("true",)
_CMDLINE = "console=hvc0 root=/dev/vda2 ro fadump=on"
"""Of a Debian whose kernel is given; docs/your-disk-image.md."""
_CRASHKERNEL = "crashkernel=512M"


class Checks(Protocol):
    """What the commands say of their words, before anything is started."""

    def memory_bytes(self, words: Sequence[str]) -> int:
        """About how much memory a run of these words takes.

        :raises UsageError: the command refuses them.
        """


@dataclass(frozen=True, slots=True)
class Ready:
    """A campaign that can begin: what is kept of its plan, and its jobs."""

    plan: Plan
    jobs: Sequence[Job]


def check(
    matrix: Matrix, cases: Sequence[Case], checks: Checks, tell: Callable[[int], None] = lambda _done: None
) -> Mapping[int, int]:
    """Make sure that no case is refused by its command; how much memory each takes, by number.

    ``tell`` is told how many are done.

    :raises UsageError: one is.
    """
    needed = {}
    for case in cases:
        try:
            needed[case.number] = checks.memory_bytes(_words(matrix, case, _Unmade()))
        except UsageError as error:
            raise UsageError(
                f"run {case.number}, {case.title}: {error}; change it, or leave it out by an [[exclude]]"
            ) from error
        tell(len(needed))
    return needed


def prepare(matrix: Matrix, cases: Sequence[Case], memory_bytes: Mapping[int, int]) -> Ready:
    """The jobs of some cases; kernels and images that are missing are built.

    :raises SetupError: that isn't possible, or a file isn't there.
    """
    made = _Made()
    _build_kernels(matrix, cases, made)
    planned = [Planned(case.number, case.values, _words(matrix, case, made)) for case in cases]
    artifacts: dict[str, Artifact] = {}
    jobs = []
    for case in planned:
        needs = [_artifact(word, artifacts) for word in case.words if word.partition("=")[0] in _FILES and "=" in word]
        program = _program({**matrix.always, **case.values})
        jobs.append(Job(case.number, case.words, needs, matrix.timeout_seconds, memory_bytes[case.number], program))
    return Ready(Plan(matrix.name, matrix.seed, planned, sorted(artifacts.values(), key=str)), jobs)


class _Files(Protocol):
    """Where kernels and images come from."""

    def kernel(self, series: str, page_size: str) -> str: ...

    def image(self) -> str: ...


class _Unmade:
    """Names for files that are made later, if ever."""

    def kernel(self, series: str, page_size: str) -> str:
        return f"linux-{series}-{page_size}"

    def image(self) -> str:
        return _DEBIAN


class _Made:
    """Files that are there; each is looked for once."""

    def __init__(self) -> None:
        self._kernels: dict[tuple[str, str], str] = {}
        self._image: str | None = None

    def kernel(self, series: str, page_size: str) -> str:
        if (series, page_size) not in self._kernels:
            self._kernels[series, page_size] = str(build_kernel(series, page_size).bootable)
        return self._kernels[series, page_size]

    def image(self) -> str:
        if self._image is None:
            self._image = str(build_image(build_kernel()).path)
        return self._image


def _words(matrix: Matrix, case: Case, files: _Files) -> Sequence[str]:
    """A command and its options."""
    given = {**matrix.always, **case.values}
    if (configuration := _only(given, CONFIGURATION)) is not None:
        return [COMPARE, f"--seed={matrix.seed}", f"--only={configuration}", *_options(given)]
    guest = _only(given, GUEST) or _OURS
    kernel = _only(given, KERNEL)
    if guest != _OURS:
        return _rehearsal(given, guest, kernel, files)
    if given.get("machine") != (WhichMachine.QEMU.value,):
        version = {} if kernel is None else {"kernel-version": (kernel,)}
        return [RUN, *_options({**given, **version})]
    if kernel is not None:
        page_size = _only(given, PAGE_SIZE) or DEFAULT_PAGE_SIZE
        given[KERNEL] = (files.kernel(kernel, page_size) if _is_series(kernel) else _absolute(kernel),)
    elif (pages := _only(given, PAGE_SIZE)) is not None:
        given[KERNEL] = (files.kernel(DEFAULT_SERIES, pages),)
    return [RUN, *_options(given)]


def _build_kernels(matrix: Matrix, cases: Sequence[Case], made: _Made) -> None:
    """Those of the configurations that are compared: a run's time is not for building one."""
    numbers = {number for case in cases for number in {**matrix.always, **case.values}.get(CONFIGURATION, ())}
    if numbers:
        for number, configuration in enumerate(full_set(matrix.seed), 1):
            if str(number) in numbers:
                made.kernel(configuration.series, configuration.page_size)


def _rehearsal(given: dict[str, Value], guest: str, kernel: str | None, files: _Files) -> Sequence[str]:
    given.pop("machine", None)
    page_size = _only(given, PAGE_SIZE) or DEFAULT_PAGE_SIZE
    is_powernv = given.get("platform") == (Platform.POWERNV.value,)
    if kernel is None and is_powernv and guest == _DEBIAN:
        kernel = DEFAULT_SERIES
    if kernel is not None:
        given[KERNEL] = (files.kernel(kernel, page_size) if _is_series(kernel) else _absolute(kernel),)
        if guest == _DEBIAN:
            given.setdefault("cmdline", (_CMDLINE if is_powernv else f"{_CMDLINE} {_CRASHKERNEL}",))
    if is_powernv:
        given.setdefault("crash-by", (CrashBy.SYSRQ.value,))
    disk = files.image() if guest == _DEBIAN else _absolute(guest)
    return [REHEARSE, *_options({"disk": (disk,), **given})]


def _options(values: Mapping[str, Value]) -> Sequence[str]:
    return [f"--{name}" if (text,) == _ON else f"--{name}={text}" for name, value in values.items() for text in value]


def _only(given: dict[str, Value], name: str) -> str | None:
    """Take the one value of an option out; None: it has none.

    :raises UsageError: it has several.
    """
    value = given.pop(name, ())
    if len(value) > 1:
        raise UsageError(f"{title_of({name: value})} is more than one: give one for each run")
    return value[0] if value else None


def _is_series(kernel: str) -> bool:
    return kernel == NEWEST_SERIES or _SERIES.fullmatch(kernel) is not None


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _program(values: Mapping[str, Value]) -> str | None:
    """The QEMU that a run starts, None: none, or one that it fetches."""
    is_run = CONFIGURATION not in values and values.get(GUEST, (_OURS,)) in ((), (_OURS,))
    is_embedded = is_run and values.get("machine") != (WhichMachine.QEMU.value,)
    qemu = (values.get("qemu") or (DEFAULT_QEMU,))[0]
    return None if is_embedded or qemu == NEWEST_QEMU else qemu


def _artifact(word: str, known: dict[str, Artifact]) -> Artifact:
    option, _equals, path = word.partition("=")
    if path not in known:
        check_file(option, Path(path))
        with reading(option, Path(path)):
            known[path] = artifact_of(Path(path))
    return known[path]
