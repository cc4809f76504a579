"""Every way to crash, and what can come between crashes: each story is one machine and several tests."""

import re
from dataclasses import dataclass

import pytest

from fadump.errors import MachineError
from fadump.firmware.contract import State
from fadump.memory.ranges import RangeSet
from fadump.observer import CrashBy
from fadump.vmcore.elfcore import ElfCore
from fadump.vmcore.notes import decode_prstatus
from tests.real_linux.fadump_command import fadump_run
from tests.real_linux.scenario import MIB, SavedDump, Scenario

FILLED_MIB = 384
INITRD = (0x3800_0000, 0x3810_0000)
"""In memory that only the first kernel has used."""
SYSTEM_RESET = 0x100
"""The interrupt that an NMI is on Power, as pt_regs.trap names it."""
ONE_CPU_OFFLINE = "echo 0 >/sys/devices/system/cpu/cpu1/online && nproc"
CPU_THERE_AGAIN = f"{ONE_CPU_OFFLINE} && echo 1 >/sys/devices/system/cpu/cpu1/online && nproc"


@dataclass(frozen=True)
class Told:
    """What a scenario was like; ``hellos`` are its boots, in their order."""

    hellos: list
    calls: list
    console: str
    dumps: list[SavedDump]
    patterned: RangeSet
    state_at_reset: State | None = None
    reboots: int = 0
    outputs: tuple = ()

    @property
    def modes(self):
        return [(hello.mode, hello.registered) for hello in self.hellos]


@pytest.fixture(scope="module")
def without_a_dump(tmp_path_factory, kernel):
    """Resets that end in no dump; at last a crash with full memory, some of it in the reserved area (CMA)."""
    with Scenario(tmp_path_factory.mktemp("without"), kernel) as scenario:
        hellos = [scenario.hello()]
        scenario.unregister()
        scenario.do_wrong("register=busy*2,9900*1,9901*1,9902*1")
        scenario.register()
        hellos += [scenario.reboot(), scenario.press_reset()]
        scenario.unregister()
        hellos += [scenario.crash()]
        state_at_reset = scenario.session.state_at_reset
        calls = scenario.calls()
        scenario.fill(FILLED_MIB)
        hellos += [scenario.crash()]
        dumps = [scenario.save()]
        return Told(hellos, calls, scenario.console(), dumps, scenario.patterned, state_at_reset)


@pytest.fixture(scope="module")
def without_linux(tmp_path_factory, kernel):
    """The platform ends a guest with full memory (``nocma``), and its capture kernel crashes, then is reset.

    Then a crash with a CPU offline.
    """
    with Scenario(tmp_path_factory.mktemp("platform"), kernel, "fadump=nocma") as scenario:
        hellos = [scenario.hello()]
        scenario.fill(FILLED_MIB)
        hellos += [scenario.crash(CrashBy.PLATFORM), scenario.crash(), scenario.press_reset()]
        reboots = scenario.session.record.resets
        patterned = scenario.patterned
        dumps = [scenario.save()]
        scenario.back_to_production()
        outputs = [scenario.run(ONE_CPU_OFFLINE)]
        hellos += [scenario.crash()]
        dumps += [scenario.save()]
        scenario.back_to_production()
        outputs += [scenario.run(CPU_THERE_AGAIN)]
        return Told(hellos, scenario.calls(), scenario.console(), dumps, patterned, None, reboots, tuple(outputs))


@pytest.fixture(scope="module")
def three_nmis(tmp_path_factory, kernel):
    """Three cycles by interrupt from outside, with a firmware that is busy at first."""
    return fadump_run(
        tmp_path_factory.mktemp("nmi"),
        *("--memory", "1G", "--crash-by", "nmi", "--cycles", "3", "--verify"),
        "--fault",
        "register=busy*3,9900*1,9901*1,9902*1",
    )


def test_linux_asks_a_busy_firmware_again_until_it_registers(without_a_dump):
    at = next(i for i, call in enumerate(without_a_dump.calls) if "status -2" in call)
    answers = _statuses(without_a_dump.calls[at : at + 6])
    assert answers == ["-2", "-2", "9900", "9901", "9902", "0"]
    assert len({call.partition(" -> ")[0] for call in without_a_dump.calls[at : at + 6]}) == 1


def test_a_reboot_and_a_reset_drop_the_registration_and_linux_registers_again(without_a_dump):
    assert without_a_dump.modes == [*[("first", True)] * 4, ("capture", False)]
    assert not [call for call in without_a_dump.calls if "status -9" in call]


def test_a_crash_without_a_registration_is_linuxs_own_affair(without_a_dump):
    assert without_a_dump.state_at_reset is State.IDLE
    *_others, os_term, register = without_a_dump.calls
    assert os_term.endswith("passed through")
    assert "(0x1 " in register and register.endswith("status 0")
    assert "Rebooting in 5 seconds" in without_a_dump.console


def test_with_cma_pages_in_the_reserved_area_are_not_in_the_dump(without_a_dump):
    (dump,) = without_a_dump.dumps
    assert dump.verdict.same
    assert without_a_dump.patterned.size_bytes >= FILLED_MIB * MIB
    assert (without_a_dump.patterned & dump.verdict.memory.not_in_dump).size_bytes > 16 * MIB


def test_with_nocma_no_page_is_lost(without_linux):
    assert without_linux.patterned.size_bytes >= FILLED_MIB * MIB
    assert not without_linux.patterned & without_linux.dumps[0].verdict.memory.not_in_dump


def test_a_guest_that_the_platform_ends_is_dumped_with_the_registers_of_all_cpus(without_linux):
    assert "dump triggered by platform" in without_linux.calls
    assert without_linux.dumps[0].verdict.same
    assert without_linux.dumps[0].cpu_count == 2


def test_the_first_dump_outlives_a_crash_and_a_reset_of_the_capture_kernel(without_linux):
    assert without_linux.modes == [("first", True), *[("capture", False)] * 4]
    assert without_linux.reboots == 3
    assert [call.partition(":")[0] for call in without_linux.calls].count("dump triggered by platform") == 1
    assert without_linux.dumps[0].verdict.same


def test_an_offline_cpu_is_not_in_the_dump(without_linux):
    assert without_linux.outputs[0] == "1\n"
    assert without_linux.dumps[1].verdict.same
    assert without_linux.dumps[1].cpu_count == 1


def test_rtas_serves_linux_after_two_dumps(without_linux):
    assert without_linux.outputs[1] == "1\n2\n"  # stop-self and start-cpu


def test_linux_takes_an_nmi_and_calls_the_firmware(three_nmis):
    assert three_nmis.status == 0, three_nmis.stderr
    triggers = [line for line in three_nmis.file("firmware.log").splitlines() if "dump triggered by os-term" in line]
    assert len(triggers) == 3
    for cycle in three_nmis.json["cycles"]:
        with ElfCore.open(cycle["vmcore"]) as core:
            traps = [decode_prstatus(n, core.byte_order).registers["trap"] for n in core.notes if n.is_prstatus()]
        assert SYSTEM_RESET in traps  # Linux took it: it saved that interrupt's registers before it called


def test_three_cycles_in_a_row_are_all_proven(three_nmis):
    cycles = three_nmis.json["cycles"]
    assert [cycle["result"] for cycle in cycles] == ["saved"] * 3
    assert [cycle["verified"]["bytes_different"] for cycle in cycles] == [0] * 3
    assert [cycle["reboots"] for cycle in cycles] == [1] * 3


def test_a_busy_firmware_only_delays_the_registration(three_nmis):
    answers = _statuses(three_nmis.file("firmware.log").splitlines()[:7])
    assert answers == ["-2", "-2", "-2", "9900", "9901", "9902", "0"]


def _statuses(lines):
    return [re.search(r" -> status (-?\d+)", line)[1] for line in lines]


def test_an_initrd_over_the_dump_is_refused_in_words(tmp_path, kernel):
    """As from a boot loader that knows nothing of the dump: the tree of the capture boot says that it is there."""
    with Scenario(tmp_path, kernel) as scenario:
        scenario.hello()
        describe = scenario.firmware.describe

        def describe_and_move(tree):
            describe(tree)
            chosen = tree.node("/chosen", "it says where the initrd is").properties
            chosen["linux,initrd-start"], chosen["linux,initrd-end"] = (at.to_bytes(8) for at in INITRD)

        scenario.firmware.describe = describe_and_move
        with pytest.raises(MachineError, match=r"loaded over 1\.0 MiB .*, from 0x38000000 on"):
            scenario.crash()
