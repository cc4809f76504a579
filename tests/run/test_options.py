"""What ``fadump run`` refuses before anything is started, and how it says so."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fadump.abi.platform import Platform
from fadump.capture.options import SaveOptions
from fadump.cli import main
from fadump.errors import SetupError, UsageError
from fadump.firmware.pseries import Offer
from fadump.kit.command_line import petitboot_command_line
from fadump.kit.kexec import Kexec
from fadump.machine.qemu.config import Dimm, KernelInFront
from fadump.memory.ranges import Range, RangeSet
from fadump.observer import CrashBy
from fadump.run.faults import parse_faults
from fadump.run.host import check_host
from fadump.run.options import MIB, RunOptions, WhichMachine, WhoseFirmware, check_options
from fadump.run.parts import kernel_command_line, qemu_config
from fadump.run.qemu_files import QemuFiles

on_qemu = partial(RunOptions, machine=WhichMachine.QEMU)
on_pseries = partial(parse_faults, platform=Platform.PSERIES)
POWERNV = {"platform": Platform.POWERNV, "memory_bytes": 4096 * MIB}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"memory_bytes": 512 * MIB}, "--memory must be from 1 to 256 GiB, 512 MiB is not"),
        (
            {"source": Path("linux"), "kernel": Path("vmlinux")},
            "--source is a kernel to be built, and --kernel one that",
        ),
        ({"config": Path("more.config")}, "--config goes with --source: a kernel that has been built is configured"),
        (
            {"machine": WhichMachine.EMBEDDED, "source": Path("linux")},
            "--source goes with --machine qemu: the embedded",
        ),
        ({"memory_bytes": (256 * 1024 + 256) * MIB}, "262400 MiB is not"),
        ({"memory_bytes": 100 << 40}, "104857600 MiB is not"),
        ({"memory_bytes": 2048 * MIB + 1}, "multiples of 256 MiB"),
        ({"nodes": (1024 * MIB, 512 * MIB)}, "the --node sizes add up to 1536 MiB, --memory is 2048 MiB"),
        ({"dimms": (Dimm(1024 * MIB, 1024 * MIB),)}, "--dimm at 0x40000000 lies in the 2048 MiB of --memory"),
        ({"nodes": (2048 * MIB, 0)}, "--node and --dimm take a size of 256 MiB or more, 0 is not"),
        ({"dimms": (Dimm(0, 4096 * MIB),)}, "--node and --dimm take a size of 256 MiB or more, 0 is not"),
        ({"cpus": 4, "smt": 3}, "--smt must be 1, 2, 4 or 8 and divide --cpus, 3 is not"),
        ({"cpus": 2, "max_cpus": 1}, "--max-cpus must be at least --cpus and whole cores, 1 is not"),
        ({"cycles": 0}, "--cycles must be from 1 to 1000, 0 is not"),
        ({"cpus": 0}, "--cpus must be from 1 to 32 with --machine qemu, 0 is not"),
        ({"cpus": 33}, "--cpus must be from 1 to 32 with --machine qemu, 33 is not"),
        ({"max_cpus": 4097}, "--max-cpus must be at most 4096, as many as QEMU's pseries has, 4097 is not"),
        ({"crash_by": CrashBy.NMI, "crash_cpu": 1}, "--crash-cpu goes with --crash-by sysrq: nmi stops all CPUs"),
        ({"crash_by": CrashBy.OPAL}, "--crash-by opal goes with --machine qemu --platform powernv: no other machine"),
        (
            POWERNV | {"crash_by": CrashBy.OPAL, "crash_cpu": 1},
            "--crash-cpu goes with --crash-by sysrq: opal",
        ),
        ({"crash_cpu": 2}, "--crash-cpu must be a CPU of the guest, 0 to 1, 2 is not"),
        ({"memory_bytes": 1024 * MIB, "cmdline": "quiet crashkernel=320M"}, "needs at least 1280 MiB"),
        (
            {"firmware": WhoseFirmware.QEMU, "crash_by": CrashBy.PLATFORM},
            "--firmware qemu dumps when Linux asks for it, not --crash-by platform",
        ),
        (
            {"firmware": WhoseFirmware.QEMU, "faults": on_pseries(["no-put-back"])},
            "--fault no-put-back is one of our firmware's, which --firmware qemu puts aside",
        ),
        ({"platform": Platform.POWERNV}, "--platform powernv needs 4 GiB of --memory or more, 2048 MiB is not"),
        (POWERNV | {"nodes": (2048 * MIB,) * 2}, "--node and --dimm go with --platform pseries"),
        (POWERNV | {"max_cpus": 4}, "--max-cpus goes with --platform pseries"),
        (POWERNV | {"cpus": 8, "smt": 8}, "QEMU's powernv has 4 threads per core at most, --smt 8 is more"),
        (POWERNV | {"cpu_model": "POWER8"}, "has --cpu-model POWER9, POWER10, POWER11, POWER8 is not one"),
        (POWERNV | {"firmware": WhoseFirmware.QEMU}, "--firmware qemu goes with --platform pseries"),
        (
            {
                "firmware": WhoseFirmware.QEMU,
                "faults": on_pseries(["no-reserved-ranges", "register=-1"]),
            },
            "--fault register=-1 is one of our firmware's, which --firmware qemu puts aside",
        ),
        (
            POWERNV | {"faults": on_pseries(["cpu-state=short"])},
            "--fault cpu-state=short is one of --platform pseries, not of powernv",
        ),
        ({"kernel_version": "6.1"}, "--kernel-version goes with --machine embedded: to real Linux, give a --kernel"),
        (
            POWERNV | {"memory_bytes": 4096 * MIB, "offer": Offer(hpte_bytes=0)},
            "--hpte-size, --cpu-state-size and --reserved go with --platform pseries",
        ),
        (
            {"firmware": WhoseFirmware.QEMU, "offer": Offer(cpu_state_bytes=0x1000)},
            "--hpte-size, --cpu-state-size and --reserved are our firmware's, which --firmware qemu puts aside",
        ),
        (
            {"offer": Offer(hpte_bytes=0x1040)},
            "--hpte-size must be whole groups of entries, a multiple of 128 bytes up to 16384K, 0x1040 is not$",
        ),
        ({"offer": Offer(hpte_bytes=16 * MIB + 128)}, "up to 16384K, 0x1000080 is not: no guest with this memory has"),
        ({"offer": Offer(cpu_state_bytes=0)}, "--cpu-state-size must be from 1 byte to 64 MiB, 0x0 is not"),
        ({"offer": Offer(cpu_state_bytes=64 * MIB + 1)}, "from 1 byte to 64 MiB, 0x4000001 is not"),
        (
            {"offer": Offer(reserved=RangeSet([Range(512 * MIB, 513 * MIB), Range(2047 * MIB, 2049 * MIB)]))},
            "--reserved takes memory of the guest, in pages of 64 KiB, 0x7ff00000..0x80100000 is not",
        ),
        (
            {"offer": Offer(reserved=RangeSet([Range(0x1000, 0x2_0000)]))},
            "in pages of 64 KiB, 0x1000..0x20000 is not",
        ),
        ({"petitboot": True}, "--petitboot goes with --platform powernv: no pseries machine boots through it"),
        ({"page_size": "4K"}, "--page-size goes with --machine embedded"),
        (POWERNV | {"kexec": Kexec.FILE_LOAD}, "--kexec goes with --machine qemu and --petitboot"),
    ],
)
def test_what_cannot_work_is_refused_with_its_reason(tmp_path, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        check_options(on_qemu(tmp_path, **options))


def test_a_kernel_in_front_has_a_command_line_of_its_own_with_the_systems_in_it(tmp_path):
    kernel, initrd, in_front, its_initrd = (tmp_path / name for name in ("kernel", "initrd", "petitboot", "its-initrd"))
    options = on_qemu(tmp_path, petitboot=True, cmdline="quiet", **POWERNV)
    files = QemuFiles("qemu", None, kernel, initrd, (in_front, its_initrd))
    config = qemu_config(options, files)
    system = kernel_command_line(options)
    assert (config.kernel, config.initrd, config.cmdline) == (kernel, initrd, system)
    assert config.in_front == KernelInFront(in_front, its_initrd, petitboot_command_line(system))
    assert config.started_kernel == in_front
    without = qemu_config(options, replace(files, petitboot=None))
    assert (without.in_front, without.started_kernel) == (None, kernel)


def test_the_model_of_petitboot_takes_no_kernel(tmp_path):
    with pytest.raises(
        UsageError, match=r"--petitboot KERNEL goes with --machine qemu: the embedded machine has a model"
    ):
        check_options(RunOptions(tmp_path, petitboot=True, petitboot_kernel=tmp_path, **POWERNV))


def test_a_host_without_the_memory_is_told(tmp_path):
    with pytest.raises(SetupError, match="a guest with 1048576 MiB needs about that and 512 MiB more of"):
        check_host(on_qemu(tmp_path, memory_bytes=1 << 40))


def test_a_disk_without_the_room_is_told_and_nothing_is_made(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=2047 * MIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage if path == tmp_path else pytest.fail(f"asked {path}"))
    with pytest.raises(SetupError, match="and .* has 2047 MiB free: make room there, name another --out"):
        check_host(on_qemu(tmp_path / "not" / "there", memory_bytes=2048 * MIB))
    assert not (tmp_path / "not").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=2048 * MIB))
    check_host(on_qemu(tmp_path, memory_bytes=2048 * MIB))
    with pytest.raises(SetupError, match=r"may be as large, and 3 of them have to be there at a time, and"):
        check_host(on_qemu(tmp_path, memory_bytes=2048 * MIB, cycles=3))
    with pytest.raises(SetupError, match=r"may be as large, and 2 of them"):
        check_host(on_qemu(tmp_path, memory_bytes=2048 * MIB, cycles=3, save=SaveOptions()))


def test_crashkernel_is_ours_only_where_linux_allows_enough_of_it(tmp_path):
    assert "crashkernel=512M" in kernel_command_line(RunOptions(tmp_path, memory_bytes=1280 * MIB))
    assert "crashkernel" not in kernel_command_line(RunOptions(tmp_path, memory_bytes=1024 * MIB))
    assert "crashkernel" not in kernel_command_line(RunOptions(tmp_path, **POWERNV))


def test_the_users_words_come_last(tmp_path):
    assert kernel_command_line(RunOptions(tmp_path, cmdline="fadump=nocma quiet")).endswith(" fadump=nocma quiet")


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({}, "fadump=on crashkernel=512M"),
        ({"cmdline": "crashkernel=1G"}, "fadump=on crashkernel=1G"),
        ({"cmdline": "quiet crashkernel=1G,high"}, "fadump=on quiet crashkernel=1G,high"),
        ({"cmdline": "fadump=on", "bare_cmdline": True}, "fadump=on"),
        ({"bare_cmdline": True}, ""),
    ],
)
def test_what_is_said_of_fadump_is_the_users(tmp_path, others, words):
    """Without a crashkernel= Linux has a size of its own, 5 % of RAM."""
    machines = {
        WhichMachine.QEMU: "console=hvc0 rdinit=/fadump/init panic=5",
        WhichMachine.EMBEDDED: "console=hvc0 panic=5",
    }
    for machine, needed in machines.items():
        line = kernel_command_line(RunOptions(tmp_path, machine=machine, memory_bytes=4096 * MIB, **others))
        assert line == f"{needed} {words}".strip()


def test_a_refusal_is_one_sentence_and_exit_2(tmp_path, capsys):
    assert main(["run", "--cpus", "2049", "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.err == "fadump: --cpus must be from 1 to 2048, 2049 is not\n"
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


def test_with_json_a_refusal_is_an_object_too(tmp_path, capsys):
    assert main(["run", "--json", "--cpus", "2049", "--out", str(tmp_path / "out")]) == 2
    assert json.loads(capsys.readouterr().out)["result"] == "failed"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--memory", "0"], "--memory must be from 1 GiB to 64 TiB, 0 MiB is not"),
        (["--node", "0"], "--node and --dimm take a size of 256 MiB or more, 0 is not"),
    ],
)
def test_no_memory_is_not_the_default_memory(tmp_path, capsys, arguments, sentence):
    assert main(["run", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err


def test_cpus_may_have_several_threads(tmp_path, capsys):
    assert main(["run", "--json", "--cpus", "4", "--smt", "2", "--out", str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["cpus"] == 4


@pytest.mark.parametrize("number", ["two", "1.5", "2G", "-1"])
@pytest.mark.parametrize("option", ["--smt", "--cpus"])
def test_a_number_of_cpus_or_threads_is_a_whole_number(tmp_path, capsys, option, number):
    assert main(["run", f"{option}={number}", "--out", str(tmp_path / "out")]) == 2
    assert option in capsys.readouterr().err


@pytest.mark.parametrize("size", ["1G", "1g", "1024M", "1GiB", "1GB", "0x40000000", "1073741824"])
def test_memory_is_written_as_in_a_plan(tmp_path, capsys, size):
    dimm = f"{size}@{size}"
    assert main(["run", "--json", "--memory", size, "--dimm", dimm, "--out", str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["vmcore_bytes"] > 1 << 30


@pytest.mark.parametrize("arguments", [["run", "--memory", "much"], ["run", "--machine", "toaster"], [], ["nonsense"]])
def test_wrong_usage_is_exit_2(arguments, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("fadump") and said.count("\n") == 1


@pytest.mark.parametrize("command", [
    [], ["run"], ["mount"], ["shell"], ["save"], ["show"], ["dmesg"], ["check"], ["plan"], ["compare"], ["kernel"],
    ["kernel", "build"], ["kernel", "list"], ["qemu"], ["qemu", "fetch"], ["qemu", "list"],
])  # fmt: skip
def test_help_has_an_example_and_its_text_is_wrapped(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command, "--help"]) == 0
    text, _, examples = capsys.readouterr().out.partition("\nexample")
    assert examples.count("\n  fadump ") >= 1
    assert max(map(len, text.splitlines())) < 80


def test_a_reader_that_has_had_enough_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "fadump", "run", "--fault", "list"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_shell_for_nobody_is_refused(capsys, tmp_path):
    assert main(["run", "--machine", "qemu", "--interactive", "--json", "--out", str(tmp_path / "out")]) == 2
    assert "--interactive is for people, and --json for programs" in capsys.readouterr().err
    words = [sys.executable, "-m", "fadump", "run", "--machine", "qemu", "--interactive", "--out", tmp_path / "out"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "fadump: --interactive needs a terminal as standard input\n")
    assert not (tmp_path / "out").exists()


def test_an_out_where_no_file_can_be_made_is_told_with_what_to_do(capsys):
    assert main(["run", "--out", "/proc/x"]) == 125
    said = "can't make a file in /proc (No such file or directory): name an --out elsewhere"
    assert capsys.readouterr().err == f"fadump: {said}\n"
