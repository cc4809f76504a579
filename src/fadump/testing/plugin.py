"""The pytest plugin: fixtures for machines that crash; docs/testing-with-pytest.md is for who uses them.

pytest imports this in every project beside which fadump is installed, so nothing of fadump is imported before a fixture
is used. What has failed is told by :mod:`fadump.testing.failure`. What could not be tried has failed in a way of its
own, as exit code 125 of the commands: where nothing else has failed, pytest ends with that, too.
"""

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

import fadump
from fadump import testing

if TYPE_CHECKING:
    from fadump.testing.machine import Machine
    from fadump.testing.rehearsal import Rehearsal

NOT_TRIED = 125
_MARK = "fadump_not_tried"
"""An attribute of an error, and of a report that is told of by another process."""
_FAILED = pytest.StashKey[bool]()
_PLACES = pytest.StashKey[list[Path]]()
_DEFAULTS = ("machine", "platform", "kernel")
_MODELS = {"kernel_version", "page_size"}
"""What only the model of Linux can be asked for."""


class MakeMachine(Protocol):
    """What ``fadump_machine`` is."""

    def __call__(self, **options: object) -> "Machine":
        """A machine with these arguments of ``fadump.Machine``; it is switched off when the test ends."""


class Rehearse(Protocol):
    """What ``fadump_rehearsal`` is."""

    def __call__(self, disk: str | Path, **options: object) -> "Rehearsal":
        """As ``fadump.rehearse``, with files in a directory of the test's own."""


class Shell(Protocol):
    """What ``fadump_shell`` is."""

    def __call__(self, script: str, **options: object) -> str:
        """As ``fadump.shell``."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """What a test doesn't say of its machines can be said here."""
    group = parser.getgroup("fadump", "fadump: machines with Firmware-Assisted Dump")
    group.addoption(
        "--fadump-machine", choices=["embedded", "qemu"], help="a model of Linux, or real Linux in QEMU, where a test "
        "doesn't say (default: qemu if there is a kernel, else embedded); ini: fadump_machine",
    )  # fmt: skip
    group.addoption(
        "--fadump-platform", choices=["pseries", "powernv"], help="where a test doesn't say; ini: fadump_platform"
    )
    group.addoption(
        "--fadump-kernel", metavar="FILE", help="the kernel of machines in QEMU, where a test doesn't say (default: "
        "that of fadump kernel build); ini: fadump_kernel",
    )  # fmt: skip
    group.addoption(
        "--fadump-fault", action="append", default=[], metavar="NAME", help="do something wrong on purpose, where a "
        "test doesn't: does it notice? fadump run --fault list",
    )  # fmt: skip
    group.addoption(
        "--fadump-keep", choices=["failed", "all"], help="whose files to keep, below tmp_path (default: failed "
        "tests'); ini: fadump_keep",
    )  # fmt: skip
    group.addoption(
        "--fadump-not-tried", choices=["fail", "skip"], help="what to do with a test that can't be tried, without QEMU "
        f"or a kernel (default: fail, and end with {NOT_TRIED} if nothing else has failed); ini: fadump_not_tried",
    )  # fmt: skip
    for name in (*_DEFAULTS, "keep", "not_tried"):
        parser.addini(f"fadump_{name}", f"as --fadump-{name.replace('_', '-')}", default="")


def pytest_configure(config: pytest.Config) -> None:
    """:raises pytest.UsageError: a value in the ini file is none, or a kernel is given that would not be run."""
    for name, values in (
        ("machine", ("embedded", "qemu")),
        ("platform", ("pseries", "powernv")),
        ("keep", ("failed", "all")),
        ("not_tried", ("fail", "skip")),
    ):
        value = _setting(config, name)
        if value and value not in values:
            raise pytest.UsageError(f"fadump_{name} = {value}: choose {' or '.join(values)}")
    kernel = config.getoption("fadump_kernel")
    if kernel == "":
        raise pytest.UsageError("--fadump-kernel is empty: give a file, or leave it out")
    if kernel and _setting(config, "machine") == "embedded":
        raise pytest.UsageError("--fadump-kernel goes with --fadump-machine qemu: the model of Linux has none")
    config.pluginmanager.register(_Outcome(), "fadump-outcome")


def _setting(config: pytest.Config, name: str) -> str:
    """By the command line, or else the ini file; empty if neither says."""
    return str(config.getoption(f"fadump_{name}") or config.getini(f"fadump_{name}"))


def _defaults(config: pytest.Config, asked: dict[str, Any]) -> dict[str, Any]:
    """What a test has asked for, and what it leaves to the command line."""
    found: dict[str, Any] = {name: value for name in _DEFAULTS if (value := _setting(config, name))}
    if "kernel" in found:
        given_there = config.getoption("fadump_kernel")
        base = config.invocation_params.dir if given_there or config.inipath is None else config.inipath.parent
        found["kernel"] = base / found["kernel"]
    if asked.keys() & _MODELS:
        found["machine"] = "embedded"
    if (found | asked).get("machine") == "embedded":
        found.pop("kernel", None)
    if faults := config.getoption("fadump_fault"):
        found["faults"] = faults
    return found | asked


def _keeps_all(config: pytest.Config) -> bool:
    return _setting(config, "keep") == "all"


def _new_place(request: pytest.FixtureRequest, tmp_path: Path, name: str) -> Path:
    """A directory that isn't there yet, for files that are told of when the test fails."""
    places: list[Path] = request.node.stash.setdefault(_PLACES, [])
    number = sum(place.name.startswith(name) for place in places) + 1
    places.append(tmp_path / (name if number == 1 else f"{name}-{number}"))
    return places[-1]


@pytest.fixture
def fadump_machine(request: pytest.FixtureRequest, tmp_path: Path) -> MakeMachine:
    """Make machines that crash: ``fadump_machine(memory="2G").crash()``; arguments as of ``fadump.Machine``."""

    def make(**options: object) -> "Machine":
        __tracebackhide__ = True
        place = _new_place(request, tmp_path, "machine")
        machine: Machine = testing.MachineUnderTest(place, **_defaults(request.config, options))
        request.addfinalizer(machine.close)
        return machine

    return make


@pytest.fixture
def fadump_rehearsal(request: pytest.FixtureRequest, tmp_path: Path) -> Rehearse:
    """Rehearse a system's crash: ``fadump_rehearsal("debian.img")``; arguments as of ``fadump.rehearse``."""

    def rehearse(disk: str | Path, **options: object) -> "Rehearsal":
        __tracebackhide__ = True
        asked: dict[str, Any] = options
        return testing.reported(fadump.rehearse)(_new_place(request, tmp_path, "rehearsal"), disk, **asked)

    return rehearse


@pytest.fixture
def fadump_shell(request: pytest.FixtureRequest) -> Shell:
    """Run a script on the files of a machine that may crash; arguments as of ``fadump.shell``."""

    def shell(script: str, **options: object) -> str:
        __tracebackhide__ = True
        asked = _defaults(request.config, {"machine": "embedded", **options})
        del asked["machine"]
        return testing.reported(fadump.shell)(script, **asked)

    return shell


@pytest.fixture(scope="session")
def dump(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The dump of a crashed machine, which tests share; one of the model of Linux takes a second.

    For other machines, ``pytest.mark.parametrize("dump", [{"platform": "powernv"}], indirect=True)`` with arguments of
    ``fadump.Machine``.
    """
    __tracebackhide__ = True
    place = tmp_path_factory.mktemp("dump")
    machine = testing.MachineUnderTest(place, **_defaults(request.config, getattr(request, "param", {})))
    with machine:
        crash = machine.crash()
    yield crash.vmcore
    if not request.session.testsfailed and not _keeps_all(request.config):
        shutil.rmtree(place)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """A failed test tells of its machines, of others nothing is left."""
    error = None if call.excinfo is None else call.excinfo.value
    not_tried = getattr(error, _MARK, False)
    if not_tried and _setting(item.config, "not_tried") == "skip":
        call.excinfo = pytest.CallInfo.from_call(lambda: pytest.skip(str(error)), call.when).excinfo
    report: pytest.TestReport = (yield).get_result()
    places = [place for place in item.stash.get(_PLACES, []) if place.exists()]
    if report.failed:
        item.stash[_FAILED] = True
        vars(report).update({_MARK: not_tried})
        if places:
            report.sections.append(("files of fadump", "\n".join(_told(place, error) for place in places)))
    elif call.when == "teardown" and not item.stash.get(_FAILED, False) and not _keeps_all(item.config):
        for place in places:
            shutil.rmtree(place, ignore_errors=True)


def _told(place: Path, error: BaseException | None) -> str:
    """Where a machine's files are, and its console's end unless the error has that."""
    log = place / "console.log"
    quoted = "" if getattr(error, "console", None) == log else testing.last_lines(log)
    return f"{place}; its console ends with:{quoted}" if quoted else str(place)


class _Outcome:
    """Ends pytest with exit status 125 if tests could not be tried, and nothing else has failed."""

    def __init__(self) -> None:
        self._failed = 0
        self._not_tried = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._not_tried += getattr(report, _MARK, False)
            self._failed += not getattr(report, _MARK, False)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._failed += report.failed

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._not_tried and not self._failed and session.exitstatus == pytest.ExitCode.TESTS_FAILED:
            session.exitstatus = NOT_TRIED

    def pytest_terminal_summary(self, terminalreporter: "pytest.TerminalReporter") -> None:
        if self._not_tried:
            terminalreporter.write_line(f"fadump: {self._not_tried} of these could not be tried", yellow=True)
