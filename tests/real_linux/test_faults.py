"""Real Linux and a firmware that does wrong: lines of the fault table, many in one machine, crash after crash.

tests/run/test_faults.py runs all of them on the model; here the model is put to the proof.
"""

import io
from contextlib import ExitStack

import pytest

from fadump.abi.platform import Platform
from fadump.errors import MachineError
from fadump.firmware.contract import State
from fadump.firmware.faults import FaultyFirmware
from fadump.machine.channel import Hello, Register, Registered, Release, Released, Reregister, Unregister, Unregistered
from fadump.machine.embedded.machine import EmbeddedMachine
from fadump.run.faults import FAULT_NAMES
from fadump.session import RefusedError, Session
from tests.machine.embedded.bench import LEAST, MIB, config_of, disk, firmware_of
from tests.real_linux.fadump_command import fadump_run
from tests.real_linux.scenario import Scenario
from tests.run.fault_table import ROWS, End
from tests.run.test_embedded_cycle import Silent

REGISTER_ANSWERS = {
    Platform.PSERIES: [
        "success", "hardware-error", "busy*3", "parameter-error", "already-registered", "dump-active", "-4", "-7", "-8",
        "-9001", "-9902", "1", "delay-1ms*1,9901*1,9902*1", "9903*1,-3*1",
    ],
    Platform.POWERNV: [
        "success", "parameter", "busy", "partial", "constrained", "closed", "unsupported", "permission", "no-mem",
        "resource", "internal-error", "busy-event", "wrong-state", "-26",
    ],
}  # fmt: skip
UNREGISTER_ANSWERS = {
    Platform.PSERIES: ["hardware-error", "parameter-error", "dump-active", "busy*2", "9901*1,-1*1"],
    Platform.POWERNV: ["parameter", "busy", "hardware", "internal-error"],
}
LAST_ANSWERS = {Platform.PSERIES: [], Platform.POWERNV: ["hardware"]}
"""After these there is nothing more to ask for."""

DUMPS = {
    Platform.PSERIES: [
        "dump=later-version", "hpte=unknown-type", "boot-memory=short", "cpu-state=invalid-type",
        "crash-info=old-magic", "registers=endless-cpus", "registers=no-end", "registers=unknown-names",
        "crash-info=no-mask", "cpu-state=outside",
    ],
    Platform.POWERNV: ["query-cpu-tag=parameter", "crash-info=corrupt", "metadata=no-header"],
}  # fmt: skip
"""The last of pseries' kills the kernel."""


def answers_on(session, firmware, platform):
    """What a guest reports about each answer to registering and unregistering, and where the firmware stands then."""
    names = FAULT_NAMES[platform]
    told = []
    for call, requests, answers in (
        ("register", (Unregister(), Register()), REGISTER_ANSWERS[platform]),
        ("unregister", (Register(), Unregister()), UNREGISTER_ANSWERS[platform]),
        ("register", (Unregister(), Register()), LAST_ANSWERS[platform]),
    ):
        for answer in answers:
            before, asked = requests
            reported(session, before)
            firmware.add(names.parse(f"{call}={answer}"))
            told.append((f"{call}={answer}", reported(session, asked), firmware.state))
            firmware.clear()
    return told


def reported(session, request):
    """The step that a request has led to; or why not, the kernel's last words without their times."""
    try:
        return session.ask(request, Unregistered if isinstance(request, Unregister) else Registered).word
    except RefusedError as error:
        written, _semicolon, said = str(error).partition("; the kernel said: ")
        return written, said.rpartition("fadump: ")[2].strip()


@pytest.fixture(scope="module", params=list(Platform))
def real_and_model(request, tmp_path_factory, kernel):
    """The same questions to real Linux and to the model; the answers of both."""
    platform = request.param
    with Scenario(tmp_path_factory.mktemp("answers"), kernel, platform=platform) as scenario:
        scenario.hello()
        real = answers_on(scenario.session, scenario.firmware, platform)
    with ExitStack() as ends:
        fd = ends.enter_context(disk(LEAST[platform] + 128 * MIB))
        machine = ends.enter_context(EmbeddedMachine(config_of(platform), fd, io.BytesIO()))
        firmware = FaultyFirmware(firmware_of(platform), FAULT_NAMES[platform])
        session = Session(machine, firmware, Silent())
        session.expect(Hello)
        return real, answers_on(session, firmware, platform)


def test_the_model_says_what_linux_says_to_each_answer(real_and_model):
    real, model = real_and_model
    assert len(real) >= 19
    assert real == model


@pytest.fixture(scope="module", params=list(Platform))
def crashes(request, tmp_path_factory, kernel):
    """Crashes in a row on one machine, each with another fault; how each ends, and the console meanwhile."""
    platform = request.param
    ended = {}
    with Scenario(tmp_path_factory.mktemp("faults"), kernel, platform=platform) as scenario:
        scenario.hello()
        for name in DUMPS[platform]:
            start = len(scenario.console())
            scenario.firmware.clear()
            scenario.do_wrong(name)
            end = crashed(scenario)
            ended[name] = (end, scenario.console()[start:])
            if end is End.PANIC:
                break
            if scenario.firmware.state is State.ACTIVE:
                scenario.session.ask(Release(), Released)
            scenario.session.ask(Reregister(), Registered)
    return platform, ended


def crashed(scenario):
    try:
        scenario.crash()
        saved = scenario.save()
    except RefusedError as refusal:
        assert "this boot has no /proc/vmcore; the kernel said: " in str(refusal)
        return End.NO_DUMP
    except MachineError as error:
        assert "while waiting for the guest to report 'hello': the guest's console says " in str(error)
        return End.PANIC
    return End.SAVED if saved.verdict.same else End.DIFFERENT


def test_linux_makes_of_a_faulty_dump_what_the_table_says(crashes):
    platform, ended = crashes
    expected = {row.name: row for row in ROWS if row.platform is platform and not row.options}
    assert list(ended) == DUMPS[platform]
    for name, (end, console) in ended.items():
        assert end is expected[name].end, (name, console)
        assert expected[name].said in console, name


def test_linux_outlives_a_power_cut_at_its_last_call_a_second_crash_and_a_second_release(tmp_path, kernel):
    """The machine's sixth event is ibm,os-term: the guest stands still in it when the power is cut."""
    names = ("power-cut=6", "second-crash", "release-twice")
    done = fadump_run(tmp_path, "--memory", "1G", "--verify", *(word for name in names for word in ("--fault", name)))
    assert done.status == 0, done.stderr
    assert done.json["verified"]["bytes_different"] == 0
    assert done.json["reboots"] == 2
    milestones = [event["event"] for event in done.json["timeline"]]
    assert (milestones.count("registered"), milestones.count("crash")) == (2, 2)
    assert done.file("console.log").count("sysrq: Trigger a crash") == 3
