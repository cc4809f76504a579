"""What ``fadump save`` writes of a real crash, read back whole, and read by tools that we did not write."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from drgn.helpers.linux.cpumask import for_each_online_cpu, for_each_possible_cpu
from drgn.helpers.linux.printk import get_dmesg
from drgn.helpers.linux.sched import cpu_curr

from fadump.capture.registers import with_registers
from fadump.linux.system import CrashedSystem
from fadump.vmcore.check import check_dump
from fadump.vmcore.contract import READABLE, Kind
from fadump.vmcore.dump import open_dump
from tests.real_linux.fadump_command import COMMAND
from tests.real_linux.page_sets import VIEW_BYTES, compared
from tests.real_linux.readers import check_crash, check_drgn, crash_environment, program_of

CRASHED, OFFLINE = 2, 1
FORMATS = {name: ["--compress", name] for name in ("zlib", "zstd", "lzo", "snappy", "none")}
FORMATS |= {"elf": ["--format", "elf"], "split": ["--split", "2"], "flattened": []}
PANIC_FUNCTIONS = ["panic", "sysrq_handle_crash", "__handle_sysrq"]


@dataclass(frozen=True)
class Saved:
    """All files of a saved dump."""

    format: str
    files: list[Path]


@pytest.fixture(scope="module")
def save(tmp_path_factory, busy_crash):
    """Saves the dump in a format, once."""
    done = {}

    def save(format_, *options):
        if (format_, *options) not in done:
            directory = tmp_path_factory.mktemp(format_)
            out = directory / "dump"
            words = [*COMMAND, "save", str(busy_crash), *FORMATS[format_], *(options or ("--level", "31"))]
            if format_ == "flattened":
                with out.open("wb") as stream:
                    subprocess.run([*words, "-"], stdout=stream, check=True)
            else:
                subprocess.run([*words, str(out)], check=True)
            done[format_, *options] = Saved(format_, [out] if out.exists() else sorted(directory.glob("dump.[0-9]")))
        return done[format_, *options]

    return save


@pytest.fixture(scope="module")
def source(busy_crash):
    """The dump that was saved, with what was added to it."""
    with open_dump(busy_crash) as dump:
        whole, added = with_registers(CrashedSystem(dump))
        assert added.cpus == (0, 2, 3)
        yield whole


@pytest.fixture(scope="module")
def registers(source):
    """By the numbers of the CPUs, as we read them."""
    return {cpu.number: cpu.registers for cpu in CrashedSystem(source).cpus}


@pytest.mark.parametrize("format_", FORMATS)
def test_every_page_is_the_one_that_crashed(save, source, format_):
    saved = save(format_)
    with open_dump(saved.files) as dump:
        assert dump.kind is (Kind.ELF if format_ == "elf" else Kind.KDUMP)
        report = check_dump(dump)
        assert report.whole, report.findings
        assert report.cpus == 3 and dump.vmcoreinfo == source.vmcoreinfo
        assert 10 << 20 < compared(dump, source) < source.memory.size_bytes // 2


@pytest.mark.parametrize("format_", ["zlib", "elf"])
def test_a_dump_of_everything_has_everything(save, source, format_):
    with open_dump(save(format_, "--level", "0").files) as dump:
        assert check_dump(dump).whole
        assert compared(dump, source, READABLE) == source.memory.size_bytes


@pytest.mark.parametrize("format_", [name for name in FORMATS if name != "split"])
def test_drgn_has_the_registers_of_each_cpu(save, kernel, registers, monkeypatch, format_):
    (path,) = save(format_).files
    program = program_of(path, kernel, monkeypatch)
    trace = program.crashed_thread().stack_trace()
    names = [frame.name for frame in trace]
    assert names[0] == "crash_fadump"
    assert names[names.index("panic") :][:3] == PANIC_FUNCTIONS
    assert program.crashed_thread().object.value_() == cpu_curr(program, CRASHED).value_()
    assert list(for_each_online_cpu(program)) == [0, 2, 3] == sorted(registers)
    check_drgn(program, registers)
    assert list(for_each_possible_cpu(program)) == [0, 1, 2, 3]
    with pytest.raises(LookupError, match="registers for CPU 1 were not saved"):
        program.stack_trace(cpu_curr(program, OFFLINE))


@pytest.mark.parametrize("format_", [name for name in FORMATS if name != "split"])
def test_drgn_reads_every_page_and_the_log(save, kernel, monkeypatch, format_):
    """Through libkdumpfile, but for ELF."""
    (path,) = save(format_).files
    program = program_of(path, kernel, monkeypatch)
    assert b"Kernel panic - not syncing: sysrq triggered crash" in get_dmesg(program)
    with open_dump(path) as dump:
        for piece in (piece for where in dump.memory for piece in dump.mapping(where) if piece.state in READABLE):
            for at in range(piece.range.start, piece.range.end, VIEW_BYTES):
                length = min(VIEW_BYTES, piece.range.end - at)
                assert program.read(at, length, physical=True) == dump.read_physical(at, length), hex(at)


def test_without_added_registers_drgn_has_none(save, kernel, monkeypatch):
    (path,) = save("zstd", "--level", "31", "--no-registers").files
    program = program_of(path, kernel, monkeypatch)
    with pytest.raises(LookupError, match=f"registers for CPU {CRASHED} were not saved"):
        program.crashed_thread().stack_trace()


@pytest.mark.parametrize("format_", ["split", "elf"])
def test_crash_has_the_registers_of_each_cpu(save, kernel, crash, registers, tmp_path, format_):
    commands = tmp_path / "commands"
    commands.write_text("bt\nbt -a\nhelp -r\nlog\nquit\n")
    with commands.open() as stdin:
        said = crash.run("-s", kernel.vmlinux, *save(format_).files, stdin=stdin, env=crash_environment(tmp_path))
    traces = re.split(r"^PID: ", said, flags=re.MULTILINE)[1:]
    for trace in (traces[0], traces[1 + CRASHED]):  # bt, and of bt -a the one that crashed
        assert f"CPU: {CRASHED} " in trace.splitlines()[0]
        functions = re.findall(r"^ *#\d+ \[[0-9a-f]+\] (\w+) at", trace, re.MULTILINE)
        assert functions[0] == "crash_fadump" and functions[3:6] == PANIC_FUNCTIONS
    assert [f"CPU: {cpu} " in trace for cpu, trace in enumerate(traces[1:5])] == [True] * 4
    shown = check_crash(said, registers)
    assert f"NIP: {0:016x}" in shown[str(OFFLINE)] if format_ == "split" else f"CPU {OFFLINE}: [OFFLINE]" in said
    assert "Kernel panic - not syncing: sysrq triggered crash" in said


@pytest.mark.parametrize("format_", ["zlib", "elf"])
def test_makedumpfile_finds_the_log(save, makedumpfile, tmp_path, format_):
    (path,) = save(format_).files
    makedumpfile.run("--dump-dmesg", path, tmp_path / "log")
    assert "Kernel panic - not syncing: sysrq triggered crash" in (tmp_path / "log").read_text()


def test_makedumpfile_leaves_out_of_ours_what_it_leaves_out_of_the_vmcore(save, makedumpfile, busy_crash, tmp_path):
    (path,) = save("lzo", "--level", "1").files
    makedumpfile.run("-l", "-d", "31", path, tmp_path / "ours")
    makedumpfile.run("-l", "-d", "31", busy_crash, tmp_path / "theirs")
    with open_dump(tmp_path / "ours") as ours, open_dump(tmp_path / "theirs") as theirs, open_dump(path) as before:
        assert ours.readable == theirs.readable
        assert check_dump(ours).whole
        assert compared(ours, before) > 10 << 20


def test_makedumpfile_makes_a_file_of_our_stream(save, makedumpfile, source, tmp_path):
    (path,) = save("flattened").files
    with path.open("rb") as stream:
        makedumpfile.run("-R", tmp_path / "dump", stdin=stream)
    with open_dump(tmp_path / "dump") as dump:
        assert not dump.flattened and check_dump(dump).whole
        assert compared(dump, source) > 10 << 20
