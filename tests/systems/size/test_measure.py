"""A whole measurement with scripted tries: what is tried, how long each may take, and what comes of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from fadump.errors import UsageError
from fadump.kernel.plan.need import capture_need
from fadump.systems.rehearsal import Patience
from fadump.systems.rehearse import RehearsalOptions
from fadump.systems.size.boot_memory import TriedBootMemory
from fadump.systems.size.measure import SizeError, check_size, measure, measured_system, tried_with
from fadump.systems.size.probe import Probe, ProbeResult
from fadump.systems.vm import VmOptions

MIB, GIB = 1 << 20, 1 << 30
SAVING_SECONDS = 30.0


class Script:
    """A system that saves with so many MiB and more, and whose kernel takes 50 of them."""

    def __init__(self, edge_mib, below=ProbeResult.OUT_OF_MEMORY):
        self.edge_bytes = edge_mib * MIB
        self.below = below
        self.asked = []

    def __call__(self, options, tried):
        self.asked.append((options, tried))
        saved = tried.size_bytes >= self.edge_bytes
        return Probe(
            memory_bytes=options.vm.memory_bytes,
            boot_memory=tried,
            result=ProbeResult.SAVED if saved else self.below,
            seconds=40.0,
            saving_seconds=SAVING_SECONDS if saved else None,
            page_bytes=65536 if saved else None,
            available_bytes=tried.size_bytes - 50 * MIB,
            error=None if saved else "why",
        )


def options(memory_bytes=4 * GIB):
    return RehearsalOptions(vm=VmOptions(disks=(Path("disk"),), memory_bytes=memory_bytes), out=Path("out"))


def test_the_least_that_saves_is_found_below_what_linux_takes():
    script, told = Script(100), []
    found = measure(options(), told.append, script)
    assert (found.edge.least_bytes, found.edge.most_bytes) == (104 * MIB, 96 * MIB)
    assert (found.needed_bytes, found.minimum_bytes) == (104 * MIB, 320 * MIB)
    assert tuple(told) == found.probes and len(told) == len(script.asked)
    assert [tried.crashkernel_bytes for _options, tried in script.asked] == [320 * MIB] * len(told)
    assert {probe.result for probe in told} == {ProbeResult.SAVED, ProbeResult.OUT_OF_MEMORY}


def test_above_that_the_command_line_alone_says_how_much():
    assert tried_with(400 * MIB, 320 * MIB) == TriedBootMemory(400 * MIB, 0)
    assert tried_with(320 * MIB, 320 * MIB) == TriedBootMemory(320 * MIB, 0)
    assert tried_with(319 * MIB, 320 * MIB) == TriedBootMemory(320 * MIB, 1 * MIB)


def test_each_try_has_files_of_its_own():
    script = Script(100)
    measure(options(), lambda _probe: None, script)
    outs = [str(asked.out) for asked, _tried in script.asked]
    assert outs == [f"out/try-{number}" for number in range(1, len(outs) + 1)]


def test_a_hang_is_waited_for_four_times_as_long_as_a_good_try():
    script = Script(100)
    measure(options(), lambda _probe: None, script)
    waits = [asked.patience.saving for asked, _tried in script.asked]
    assert waits[0] == Patience().saving and set(waits[1:]) == {4 * SAVING_SECONDS}
    assert {asked.patience.idle for asked, _tried in script.asked[1:]} == {SAVING_SECONDS}


def test_a_quarter_of_ram_that_is_too_little_is_told():
    with pytest.raises(SizeError, match="^not even 1024 MiB of boot memory, a quarter of RAM, are enough: hang: why"):
        measure(options(), lambda _probe: None, Script(4000, ProbeResult.HANG))


@pytest.mark.parametrize(("result", "said"), [
    (ProbeResult.FALLBACK, "^Linux refuses crashkernel=320M and reserves for kdump instead: why"),
    (ProbeResult.NOT_REGISTERED, "^with crashkernel=320M on its command line: why"),
])  # fmt: skip
def test_a_system_without_fadump_is_tried_once(result, said):
    with pytest.raises(SizeError, match=said) as raised:
        measure(options(), lambda _probe: None, Script(4000, result))
    assert len(raised.value.probes) == 1


def test_the_model_of_a_measured_system_needs_what_was_measured():
    found = measure(options(), lambda _probe: None, Script(100))
    system = measured_system(found, cpus=2)
    need = capture_need(system, 4 * GIB, 2)
    assert need.size_bytes == pytest.approx(104 * MIB, abs=MIB)  # the hash tables are a bit larger
    assert need.struct_pages_bytes == 4 * MIB
    # 50 MiB less the struct pages, two CPUs' first 320 KiB, and hash tables of 16384 and 8192 buckets
    assert system.kernel_bytes == (50 - 4) * MIB - 2 * 320 * 1024 - (16384 + 8192) * 8
    assert system.user_space_bytes == 104 * MIB - need.kernel_bytes - 4 * MIB - need.per_cpu_bytes - 192 * 1024 // 2


def test_many_cpus_do_not_make_the_sum_larger_than_what_was_measured():
    system = measured_system(measure(options(), lambda _probe: None, Script(100)), cpus=15)
    assert capture_need(system, 4 * GIB, 15).size_bytes == pytest.approx(104 * MIB, abs=MIB)


def test_a_system_whose_console_says_nothing_has_no_model():
    found = measure(options(), lambda _probe: None, Script(100))
    silent = replace(found, probes=[replace(probe, available_bytes=None) for probe in found.probes])
    assert measured_system(silent, cpus=2) is None


def test_too_little_ram_for_any_boot_memory_is_refused(tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    given = options(1 * GIB)
    with pytest.raises(UsageError, match="^--memory must be 1280 MiB or more"):
        check_size(replace(given, vm=replace(given.vm, disks=(disk,))))
