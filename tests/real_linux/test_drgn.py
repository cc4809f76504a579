"""drgn, which we did not write, reads the dump; so does gdb."""

import json
import subprocess
import sys

import drgn
import pytest
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.printk import get_dmesg


@pytest.fixture(scope="session")
def program(any_cycle):
    program = drgn.Program()
    program.set_core_dump(any_cycle.json["vmcore"])
    program.load_debug_info([any_cycle.json["vmlinux"]])
    return program


def test_the_log_ends_with_the_crash(program):
    assert b"sysrq: Trigger a crash" in get_dmesg(program)


def test_the_release_is_the_one_that_ran(program, any_cycle):
    assert program["init_uts_ns"].name.release.string_().decode() == any_cycle.json["kernel_release"]


def test_the_guests_tasks_are_there(program):
    names = {task.comm.string_() for task in for_each_task(program)}
    assert {b"init", b"kthreadd", b"swapper/0"} & names >= {b"init", b"kthreadd"}


def test_the_crashed_cpu_is_known(program, any_cycle):
    assert program["crashing_cpu"].value_() == (1 if any_cycle.json["platform"] == "powernv" else 0)


def handed_over(name, cycle, directory, *words):
    command = [sys.executable, "-m", "fadump", name, cycle.json["vmcore"], "--keep", str(directory)]
    command += ["--vmlinux", cycle.json["vmlinux"], "--", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_drgn_started_by_us_has_the_registers_and_the_lines_of_the_crash(any_cycle, tmp_path):
    told = handed_over("drgn", any_cycle, tmp_path, "-q", "-e", "print(prog.crashed_thread().stack_trace())")
    assert "sysrq_handle_crash (drivers/tty/sysrq.c:" in told and "ksys_write (fs/read_write.c:" in told


def test_gdb_started_by_us_has_a_thread_for_each_cpu(any_cycle, tmp_path):
    told = handed_over("gdb", any_cycle, tmp_path, "-batch", "-ex", "info threads", "-ex", "backtrace")
    assert all(f"LWP {number + 1} " in told for number in range(any_cycle.json["cpus"]))
    assert " in sysrq_handle_crash (" in told


FRAMES = (
    "import json; print(json.dumps([[f.name, *f.source()[:2]] for f in prog.crashed_thread().stack_trace() if {}]))"
)


def test_source_lines_and_inlined_callers_are_drgns(any_cycle, tmp_path):
    has_line = "f.name.isidentifier() and f.source()[1] > 0"
    theirs = json.loads(handed_over("drgn", any_cycle, tmp_path, "-q", "-e", FRAMES.format(has_line)).splitlines()[-1])
    words = [sys.executable, "-m", "fadump", "show", "--json", any_cycle.json["vmcore"]]
    words += ["--vmlinux", any_cycle.json["vmlinux"]]
    shown = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    (crashed,) = (cpu for cpu in shown["cpus"] if cpu["crashed"])
    ours = [
        [line["function"], line["file"], line["line"]] for frame in crashed["backtrace"] for line in frame["source"]
    ]
    assert len(ours) > 8 and ours == theirs[: len(ours)]
