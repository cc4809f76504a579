"""The whole cycle on the embedded machine: the same cycle, firmware and proof as on the QEMU machine."""

import errno
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fadump.abi.platform import Platform
from fadump.capture.files import HostFiles
from fadump.cli import main
from fadump.cli.run_view import RunView
from fadump.cycle import CycleRequest, run_cycle
from fadump.errors import FadumpError, SetupError, UsageError
from fadump.linux.system import open_system
from fadump.look import Look
from fadump.machine.contract import StopAt
from fadump.machine.embedded.machine import EmbeddedMachine
from fadump.machine.qemu.config import Dimm
from fadump.memory.ranges import Range
from fadump.observer import CrashBy, Milestone
from fadump.proof.verify import Verifier
from fadump.run.faults import parse_faults
from fadump.run.host import check_host
from fadump.run.options import MIB, RunOptions, WhichMachine, WhoseFirmware, check_options
from fadump.run.run import run
from fadump.vmcore.check import check_dump
from fadump.vmcore.contract import Kind
from fadump.vmcore.elfcore import ElfCore
from tests.machine.embedded.bench import ALL, LEAST, config_of, disk, firmware_of

CRASHES = [CrashBy.SYSRQ, CrashBy.NMI, CrashBy.PLATFORM]
GIB = 1 << 30
HOLE = (Range(0, 1 * GIB), Range(3 * GIB, 4 * GIB))


class Silent:
    def milestone(self, milestone, at_seconds): ...
    def handed_over(self, handover): ...
    def firmware_call(self, call, outcome, at_seconds): ...
    def seen(self, seen, at_seconds): ...
    def terminated(self, trigger, at_seconds): ...
    def preserved(self, dump, at_seconds): ...
    def report(self, report): ...


def reserved_for_firmware():
    return "reserved for firmware in the crashed kernel's device tree (reserved-ranges)"


def cycles(config, *requests):
    """Each cycle's result and the verdict about its dump; and the disk as the last one has left it."""
    firmware = firmware_of(config.platform)
    room_bytes = sum(piece.size_bytes for piece in config.memory) + 128 * MIB
    with disk(room_bytes) as fd, EmbeddedMachine(config, fd, io.BytesIO()) as machine, Verifier() as verifier:
        before, done = None, []
        for request in requests:
            before = run_cycle(machine, firmware, request, Silent(), verifier, before)
            vmcore = Path(f"/proc/self/fd/{fd}")
            done.append((before, verifier.judge(vmcore, before.dump)))
        with ElfCore(os.dup(fd)) as core:
            yield from done
            yield core


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize("crash_by", CRASHES)
def test_a_cycle_comes_to_its_end_and_no_byte_differs(platform, crash_by):
    result, verdict = next(cycles(config_of(platform, cpus=4, smt=2), CycleRequest(crash_by)))
    assert [milestone for milestone, _at in result.timeline] == list(Milestone)
    assert (result.reboots, result.cpus, verdict.registers) == (1, 4, [])
    assert verdict.memory.bytes_different == 0 and verdict.memory.bytes_compared > LEAST[platform] // 4
    reasons = {left_out.reason for left_out in verdict.memory.excluded}
    assert reasons == ({reserved_for_firmware()} if platform is Platform.POWERNV else set())


@pytest.mark.parametrize("platform", ALL)
def test_cycles_in_a_row_without_a_reset_between_them(platform):
    (first, first_verdict), (second, second_verdict), core = cycles(
        config_of(platform), CycleRequest(crash_cpu=1), CycleRequest(CrashBy.NMI)
    )
    assert first_verdict.same and second_verdict.same
    assert (
        first.vmcore_bytes
        == second.vmcore_bytes
        == max(segment.file_offset + segment.file_bytes for segment in core.segments)
    )


@pytest.mark.parametrize(
    "others",
    [
        {"memory": HOLE},
        {"memory": (Range(0, GIB), Range(GIB, 2 * GIB))},
        {"radix": False},
        {"cmdline": "fadump=nocma crashkernel=320M", "memory": (Range(0, 2 * GIB),)},
    ],
    ids=["hole", "nodes", "hash", "nocma"],
)
def test_other_machines(others):
    _result, verdict = next(cycles(config_of(Platform.PSERIES, **others), CycleRequest()))
    assert verdict.same, verdict


def test_a_machine_of_64_tib_takes_no_more_than_what_was_written(tmp_path):
    config = config_of(Platform.PSERIES, memory=(Range(0, 64 << 40),))
    with disk((64 << 40) + 128 * MIB) as fd, EmbeddedMachine(config, fd, io.BytesIO()) as machine:
        result = run_cycle(machine, firmware_of(Platform.PSERIES), CycleRequest(), Silent())
        assert os.fstat(fd).st_blocks * 512 < 96 * MIB
    assert result.boot_memory_bytes == (64 << 40) // 20 // (256 * MIB) * (256 * MIB)
    assert result.vmcore_bytes > 60 << 40


def fadump_run(tmp_path, capsys, *options):
    status = main(["run", "--json", "--out", str(tmp_path / "out"), *options])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("platform", "options"),
    [(Platform.PSERIES, ("--memory", "1G", "--verify")), (Platform.POWERNV, ())],
    ids=ALL,
)
def test_the_command_leaves_a_dump_with_the_kernels_log_in_it(tmp_path, capsys, platform, options):
    status, said = fadump_run(tmp_path, capsys, "--platform", platform, "--cycles", "2", *options)
    assert (status, said["result"], said["machine"], said["platform"]) == (0, "saved", "embedded", platform)
    assert len(said["cycles"]) == 2
    assert said.get("verified", {}).get("bytes_different") == (0 if options else None)
    with open_system(said["vmcore"]) as system:
        assert system.kernel.release == said["kernel_release"]
        assert system.ending.panic == "sysrq triggered crash"
        text = "".join(f"{line}\n" for record in system.log() for line in record.lines())
    assert text in (tmp_path / "out" / "console.log").read_text()


def test_the_dump_is_proven_and_then_saved_in_its_place(tmp_path, capsys):
    options = ("--memory", "1G", "--verify", "--save-level", "1,31", "--save-compress", "zstd")
    out = tmp_path / "out"
    out.mkdir()
    (out / "vmcore.saved.incomplete").write_bytes(b"of an earlier run")
    status, said = fadump_run(tmp_path, capsys, *options)
    assert (status, said["verified"]["bytes_different"], said["saved"]["level"]) == (0, 0, 1)
    assert said["saved"]["files"] == [said["vmcore"]]
    assert said["saved"]["bytes"] == (out / "vmcore").stat().st_size < said["vmcore_bytes"] // 100
    assert "Kernel panic" in (out / "vmcore-dmesg.txt").read_text()
    assert (out / "earlier-1" / "vmcore.saved.incomplete").read_bytes() == b"of an earlier run"
    assert sorted(path.name for path in out.glob("vmcore*")) == ["vmcore", "vmcore-dmesg.txt"]
    with open_system(said["vmcore"]) as system:
        assert system.dump.kind is Kind.KDUMP and system.ending.panic == "sysrq triggered crash"
        assert check_dump(system.dump).whole


def test_a_fault_of_the_firmware_is_gone_through(tmp_path, capsys):
    status, said = fadump_run(tmp_path, capsys, "--memory", "1G", "--fault", "register=busy*3")
    assert (status, said["result"]) == (0, "saved")
    assert (tmp_path / "out" / "firmware.log").read_text().count("status -2") == 3


@pytest.mark.parametrize(("platform", "memory"), [("pseries", "2G"), ("powernv", "16G")])
def test_a_machine_of_2048_cpus(tmp_path, capsys, platform, memory):
    options = ("--platform", platform, "--memory", memory, "--cpus", "2048", "--smt", "8", "--crash-cpu", "2047")
    status, said = fadump_run(tmp_path, capsys, *options, "--verify")
    assert (status, said["cpus"], said["verified"]["registers_different"]) == (0, 2048, [])
    with ElfCore.open(tmp_path / "out" / "vmcore") as core:
        assert sum(note.is_prstatus() for note in core.notes) == 2048
    assert main(["show", str(tmp_path / "out" / "vmcore"), "--json"]) == 0
    cpus = json.loads(capsys.readouterr().out)["cpus"]
    assert [cpu["number"] for cpu in cpus if cpu["crashed"]] == [2047]
    if platform == "powernv":  # each PIR up to 2047 has a stack of 32 KiB in OPAL's memory
        assert (tmp_path / "out" / "opalcore").stat().st_size > 0x1C1_0000 + 2048 * 0x8000


@pytest.mark.parametrize("crash_by", CRASHES)
def test_opals_core_is_saved_and_proven(tmp_path, capsys, crash_by):
    status, said = fadump_run(tmp_path, capsys, "--platform", "powernv", "--crash-by", crash_by, "--verify")
    opal = said["verified"]["opalcore"]
    assert (status, opal["bytes_different"], opal["bytes_compared"] > 28 * MIB) == (0, 0, True)
    with ElfCore.open(tmp_path / "out" / "opalcore") as core:
        assert sum(note.is_prstatus() for note in core.notes) == said["cpus"]
    assert main(["show", str(tmp_path / "out" / "opalcore"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["opal"]["ended_by_itself"] == (crash_by is CrashBy.PLATFORM)


def test_a_dump_may_be_larger_than_the_file_system_has_room_for(tmp_path, capsys):
    status, said = fadump_run(tmp_path, capsys, "--memory", "1T", "--cpus", "8")
    assert (status, said["cpus"], said["vmcore_bytes"] > 1000 << 30) == (0, 8, True)
    assert Path(said["vmcore"]).stat().st_blocks * 512 < 96 * MIB


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"memory_bytes": 512 * MIB}, "--memory must be from 1 GiB to 64 TiB, 512 MiB is not"),
        ({"memory_bytes": 65 << 40}, "--memory must be from 1 GiB to 64 TiB"),
        ({"kernel": Path(__file__)}, "--kernel goes with --machine qemu: the embedded machine runs the model"),
        ({"initrd": Path(__file__)}, "--initrd goes with --machine qemu"),
        ({"cpu_model": "POWER7"}, "has --cpu-model POWER8, POWER9, POWER10, POWER11, POWER7 is not one"),
        ({"qemu": "newest"}, "--qemu goes with --machine qemu"),
        ({"interactive": True}, "--interactive goes with --machine qemu: the model of Linux has no console"),
        ({"gdb_port": 1234}, "--gdb goes with --machine qemu: there is nothing to attach to in the model of Linux"),
        ({"stop_at": StopAt.CRASH}, "--stop-at needs --gdb: the machine would stand still for ever"),
        ({"firmware": WhoseFirmware.QEMU}, "--firmware qemu goes with --machine qemu"),
        (
            {"faults": parse_faults(["no-put-back"], Platform.PSERIES)},
            "no-put-back is about QEMU's boot",
        ),
        ({"dimms": (Dimm(GIB, 64 << 40),)}, "--memory must be|--dimm must end below 64 TiB"),
        ({"dimms": (Dimm(GIB, 4 * GIB), Dimm(GIB, 4 * GIB))}, "--dimm is given twice for the same addresses"),
        ({"platform": Platform.POWERNV}, "--platform powernv needs 4 GiB of --memory or more"),
    ],
)
def test_what_the_embedded_machine_is_not_is_refused(tmp_path, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        check_options(RunOptions(tmp_path, **options))


def test_a_file_system_that_cannot_hold_the_dump_is_told_before_anything_happens(tmp_path, monkeypatch):
    def too_large(_fd, _size):
        raise OSError(27, "File too large")

    monkeypatch.setattr(os, "ftruncate", too_large)
    with pytest.raises(SetupError, match="can't hold a dump of 67108864 MiB, even with holes: name an --out"):
        check_host(RunOptions(tmp_path, memory_bytes=64 << 40))


def test_nothing_of_qemus_is_needed(tmp_path):
    """In a process of its own, where the packages for QEMU can't be imported."""
    program = (
        "import sys; sys.modules['qemu'] = sys.modules['qemu.qmp'] = None; from fadump.cli import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    options = ["run", "--memory", "1G", "--json", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", program, *options], capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["result"]) == (0, "saved"), done.stderr
    done = subprocess.run(
        [sys.executable, "-c", program, "run", "--machine", "qemu"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 125
    assert "a machine in QEMU needs the Python package qemu.qmp: install fadump[qemu]" in done.stderr


def test_a_dump_that_there_is_no_room_to_save_stays_as_it_was(tmp_path, capsys, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(HostFiles, "allocate", full)
    status, said = fadump_run(tmp_path, capsys, "--memory", "1G", "--save-level", "31")
    vmcore = tmp_path / "out" / "vmcore"
    assert (status, said["result"]) == (1, "failed")
    assert said["error"].startswith(f"{vmcore} is whole and stays as it was: ")
    assert "No space left on device" in said["error"] and "--continue" not in said["error"]
    assert said["phase"] == "production"
    assert list(vmcore.parent.glob("vmcore*")) == [vmcore]
    with open_system(vmcore) as system:
        assert check_dump(system.dump).whole


def test_files_of_an_earlier_run_are_set_aside_as_one_set(tmp_path, capsys):
    assert main(["run", "--out", str(tmp_path), "--save-level", "31"]) == 0
    (tmp_path / "notes").write_text("the user's own")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "notes"}
    assert {"vmcore", "vmcore-dmesg.txt", "console.log", "firmware.log", "timeline.json"} == set(before)
    assert main(["run", "--out", str(tmp_path)]) == 0
    assert f"remark: the files of an earlier run go to {tmp_path}/earlier-1" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (tmp_path / "earlier-1").iterdir()} == before
    kept = [path for path in tmp_path.iterdir() if path.name not in ("notes", "earlier-1")]
    assert {path.name for path in kept} == {"vmcore", "console.log", "firmware.log", "timeline.json"}
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}


def test_a_run_that_fails_has_no_dump_of_an_earlier_one_beside_it(tmp_path, capsys):
    assert main(["run", "--out", str(tmp_path)]) == 0
    assert main(["run", "--out", str(tmp_path), "--fault", "register=-1"]) == 1
    assert not (tmp_path / "vmcore").exists() and (tmp_path / "earlier-1" / "vmcore").exists()
    assert main(["run", "--out", str(tmp_path), "--cpus", "2049"]) != 0  # refused: nothing is touched
    assert (tmp_path / "console.log").exists() and not (tmp_path / "earlier-2").exists()


def test_each_cycle_keeps_its_dump_and_each_is_proven_and_saved(tmp_path, capsys):
    options = ("--platform", "powernv", "--cycles", "2", "--verify", "--save-level", "31")
    status, said = fadump_run(tmp_path, capsys, *options)
    out = tmp_path / "out"
    assert (status, said["result"], said["vmcore"]) == (0, "saved", str(out / "vmcore.2"))
    assert [cycle["vmcore"] for cycle in said["cycles"]] == [str(out / "vmcore.1"), str(out / "vmcore.2")]
    for number, cycle in enumerate(said["cycles"], 1):
        assert cycle["verified"]["bytes_different"] == cycle["verified"]["opalcore"]["bytes_different"] == 0
        assert cycle["saved"]["files"] == [cycle["vmcore"]]
        with open_system(cycle["vmcore"]) as system:
            assert check_dump(system.dump).whole and system.ending.panic == "sysrq triggered crash"
        with ElfCore.open(out / f"opalcore.{number}") as core:
            assert sum(note.is_prstatus() for note in core.notes) == said["cpus"]
    names = {"vmcore.1", "vmcore.1-dmesg.txt", "vmcore.2", "vmcore.2-dmesg.txt", "opalcore.1", "opalcore.2"}
    assert {path.name for path in out.iterdir()} == names | {"console.log", "firmware.log", "timeline.json"}


def test_dumps_of_cycles_are_different_ones(tmp_path, capsys):
    _status, said = fadump_run(tmp_path, capsys, "--memory", "1G", "--cycles", "2")
    logs = []
    for cycle in said["cycles"]:
        with open_system(cycle["vmcore"]) as system:
            logs.append("".join(f"{line}\n" for record in system.log() for line in record.lines()))
    assert logs[0] != logs[1]


def test_cycles_have_headings_and_their_resets_add_up(tmp_path, capsys):
    assert main(["run", "--memory", "1G", "--cpus", "1", "--cycles", "3", "--out", str(tmp_path / "o u t")]) == 0
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith("cycle ")] == [
        f"cycle {number} of 3" for number in (1, 2, 3)
    ]
    assert " crashed 3 times with 1 CPU, was dumped and is in production again: 3 resets, " in said
    (hint,) = (line for line in said.splitlines() if line.startswith("look at it:"))
    words = shlex.split(hint.removeprefix("look at it:"))
    assert words[-2:] == ["show", str(tmp_path / "o u t" / "vmcore.3")]
    shown = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (shown.returncode, "sysrq triggered crash" in shown.stdout) == (0, True), shown.stderr


@pytest.mark.parametrize("free_bytes", [0, 1 << 30])
def test_a_full_disk_is_the_hosts_and_not_the_guests(tmp_path, capsys, monkeypatch, free_bytes):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    usage = shutil.disk_usage(tmp_path)._replace(free=free_bytes)
    monkeypatch.setattr("fadump.machine.embedded.guest.save_vmcore", full)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    status, said = fadump_run(tmp_path, capsys, "--memory", "1G")
    assert (status, said["result"]) == (1, "failed")
    told = f"the disk of {tmp_path / 'out'} is full: make room there, or name another --out (the guest could not save"
    assert said["error"].startswith("the guest could not save" if free_bytes else told)


def test_an_error_before_power_on_says_so(tmp_path):
    for options in ({"cpus": 2049}, {"machine": WhichMachine.QEMU, "kernel": tmp_path / "none"}):
        with pytest.raises(FadumpError) as raised:
            run(RunOptions(tmp_path / "out", **options), RunView(Look(io.StringIO())))
        assert raised.value.phase == "power_on"


class Meddler(RunView):
    """Puts a directory in the place of the timeline's file, which can't be written then."""

    def __init__(self, out, moment):
        super().__init__(io.StringIO())
        self._out, self._moment = out, moment
        self._seen = []

    def milestone(self, milestone, at_seconds):
        self._meddle(milestone)

    def cycle_begins(self, number, count):
        self._meddle(f"cycle {number}")

    def _meddle(self, moment):
        if moment == self._moment:
            (self._out / "timeline.json").unlink(missing_ok=True)
            (self._out / "timeline.json").mkdir()


@pytest.mark.parametrize(
    ("moment", "phase"),
    [
        ("cycle 1", "registered"),
        (Milestone.POWER_ON, "crash"),
        (Milestone.RELEASED, "production"),
        ("cycle 2", "preserved"),
    ],
)
def test_an_error_of_the_hosts_says_where_it_was(tmp_path, moment, phase):
    options = RunOptions(tmp_path, memory_bytes=GIB, cycles=2)
    with pytest.raises(IsADirectoryError) as raised:
        run(options, Meddler(tmp_path, moment))
    assert raised.value.phase == phase


class Unheard(RunView):
    """Nobody reads what it prints."""

    def cycle_begins(self, number, count):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def test_an_error_of_the_hosts_before_power_on_says_so(tmp_path):
    with pytest.raises(BrokenPipeError) as raised:
        run(RunOptions(tmp_path, memory_bytes=GIB), Unheard(io.StringIO()))
    assert raised.value.phase == "power_on"
