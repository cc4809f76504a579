"""The pytest plugin in projects of their own: what is green, what is red and what it then says."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

import fadump
from fadump import testing

READ = (fadump.Machine, fadump.rehearse, fadump.shell, fadump.CrashedSystem, testing.MachineUnderTest)
"""What a run of pytest in this process would read again: numpy can't be."""
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DOCUMENT = ROOT / "docs" / "testing-with-pytest.md"
GOOD = """
    import fadump

    def test_my_patch(fadump_machine):
        crash = fadump_machine(memory="1G").crash()
        assert crash.verified_bytes
        with fadump.open(crash.vmcore) as system:
            assert system.ending.panic == "sysrq triggered crash"
"""


@pytest.fixture(autouse=True)
def at_a_desk(monkeypatch):
    """In CI, as pytest finds by the environment, it repeats all of a failure in its summary."""
    monkeypatch.delenv("CI", raising=False)


@pytest.fixture
def project(pytester):
    """A project of somebody's; its tests run here, in a process that has read fadump already."""
    pytester.makeini("[pytest]\naddopts = -p no:randomly --strict-markers\nfilterwarnings = error")
    return pytester


@pytest.fixture
def examples(project):
    """A project with the examples."""
    shutil.copytree(EXAMPLES, project.path, dirs_exist_ok=True)
    return project


def test_a_good_machine_is_green_and_nothing_of_it_is_left(project):
    project.makepyfile(GOOD)
    result = project.runpytest("--basetemp=kept")
    result.assert_outcomes(passed=1)
    assert not [*project.path.rglob("vmcore*")] and [*project.path.glob("kept/*")]


def test_its_files_are_kept_if_they_are_to_be(project):
    project.makepyfile(GOOD)
    project.runpytest("--basetemp=kept", "--fadump-keep=all").assert_outcomes(passed=1)
    (vmcore,) = project.path.glob("kept/test_my_patch0/machine/vmcore.1")
    assert vmcore.stat().st_mode & 0o077 == 0


def test_red_says_what_broke_where_why_and_what_linux_said_and_no_stack_of_ours(project):
    project.makepyfile(GOOD)
    result = project.runpytest("--basetemp=kept", "--fadump-fault=register=hardware-error")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            ">*crash = fadump_machine(memory=?1G?).crash()",
            "E * the guest could not register: * Hardware Error(-1)*",
            "E * on the way to: registered",
            "E * the console, in */kept/test_my_patch0/machine/console.log, ends with:",
            "E *| *rtas fadump: Failed to register. Hardware Error(-1).",
            "*files of fadump*",
            "*/kept/test_my_patch0/machine",
        ]
    )
    shown = result.stdout.str()
    assert "src/fadump" not in shown and "site-packages" not in shown
    assert shown.count("ends with:") == 1
    assert {path.name for path in project.path.glob("kept/test_my_patch0/machine/*")} >= {"console.log", "firmware.log"}


def test_a_test_that_fails_by_itself_has_the_console_and_the_files_too(project):
    project.makepyfile(
        """
        def test_resets(fadump_machine):
            assert fadump_machine(memory="1G").crash().resets == 7
        """
    )
    result = project.runpytest("--basetemp=kept")
    result.stdout.fnmatch_lines(
        ["E *assert 1 == 7", "*/kept/test_resets0/machine; its console ends with:", "*rtas fad*"]
    )
    assert [*project.path.glob("kept/test_resets0/machine/vmcore.1")]


def test_a_failure_is_an_assertion_and_an_error_of_fadumps_with_its_attributes(project):
    project.makepyfile(
        """
        import pytest
        import fadump

        def test_it_is_noticed(fadump_machine):
            machine = fadump_machine(memory="1G", faults=["terminate=hardware-error"])
            with pytest.raises(AssertionError, match="without a dump") as failed:
                machine.crash()
            assert isinstance(failed.value, fadump.MachineError)
            assert failed.value.phase == "crash"
            assert failed.value.console == machine.console_log
        """
    )
    project.runpytest("--basetemp=kept").assert_outcomes(passed=1)


def test_a_fault_that_has_never_struck_is_an_error_of_its_test(project):
    project.makepyfile(GOOD)
    result = project.runpytest("--fadump-fault=power-cut=99999")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E *--fault power-cut=99999 never struck: *"])
    assert "contextlib" not in result.stdout.str()


NOT_TRIED = """
    def test_kernel(fadump_machine):
        fadump_machine(kernel="/nowhere/vmlinux").crash()
"""


NOT_TRIED_LINES = [
    "E *could not be tried: --kernel /nowhere/vmlinux can't be read: No such file or directory",
    "fadump: 1 of these could not be tried",
]


def test_what_can_not_be_tried_is_red_and_ends_with_125(project):
    project.makepyfile(NOT_TRIED)
    result = project.runpytest()
    assert result.ret == 125
    result.stdout.fnmatch_lines(NOT_TRIED_LINES)


def test_beside_a_failure_that_is_a_failure(project):
    project.makepyfile(NOT_TRIED + "\n    def test_wrong(): assert 0\n")
    assert project.runpytest().ret == pytest.ExitCode.TESTS_FAILED


def test_a_module_that_can_not_be_read_is_a_failure_too(project):
    project.makepyfile(test_one=NOT_TRIED, test_two="1/0")
    assert project.runpytest("--continue-on-collection-errors").ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("where", ["option", "ini"])
def test_it_is_skipped_if_that_is_wanted(project, where):
    project.makepyfile(NOT_TRIED)
    if where == "ini":
        project.makeini("[pytest]\nfadump_not_tried = skip")
    result = project.runpytest("-rs", *(["--fadump-not-tried=skip"] if where == "option" else []))
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*could not be tried: --kernel /nowhere/vmlinux*"])
    assert result.ret == pytest.ExitCode.OK


def test_wrong_use_is_no_reason_to_skip(project):
    project.makepyfile("def test_small(fadump_machine): fadump_machine(memory='1M').crash()")
    result = project.runpytest("--fadump-not-tried=skip")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["E *--memory, --node and --dimm take multiples of 256 MiB*"])


def test_a_kernel_of_the_ini_file_is_beside_it_and_one_of_the_command_line_is_here(project):
    project.makeini("[pytest]\nfadump_kernel = built/vmlinux")
    project.mkdir("sub")
    project.makepyfile(**{"sub/test_it": NOT_TRIED.replace('kernel="/nowhere/vmlinux"', "")})
    project.chdir()
    there = project.path / "built/vmlinux"
    project.runpytest("sub").stdout.fnmatch_lines([f"E *--kernel {there} can't be read*"])
    here = project.path / "mine"
    project.runpytest("sub", "--fadump-kernel=mine").stdout.fnmatch_lines([f"E *--kernel {here} can't be read*"])


def test_what_a_test_says_itself_goes_before_the_command_line(project):
    project.makepyfile(
        """
        def test_model(fadump_machine):
            assert fadump_machine(machine="embedded", memory="1G").crash().kernel_release == "6.12.0-model"

        def test_version(fadump_machine):
            assert fadump_machine(kernel_version="6.1", memory="1G").crash().kernel_release.startswith("6.1.")

        def test_dump(dump):
            assert dump.name == "vmcore.1"
        """
    )
    result = project.runpytest("--fadump-kernel=/nowhere/vmlinux", "--fadump-platform=pseries")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["E *could not be tried: --kernel /nowhere/vmlinux*"])


def test_a_wrong_value_in_the_ini_file_is_said_before_anything_runs(project):
    project.makeini("[pytest]\nfadump_machine = quemu")
    project.makepyfile(GOOD)
    result = project.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: fadump_machine = quemu: choose embedded or qemu"])


@pytest.mark.parametrize(
    ("words", "ini", "said"),
    [
        (["--fadump-kernel="], "", "--fadump-kernel is empty: give a file, or leave it out"),
        (["--fadump-kernel=x", "--fadump-machine=embedded"], "", "--fadump-kernel goes with --fadump-machine qemu*"),
        (["--fadump-kernel=x"], "fadump_machine = embedded", "--fadump-kernel goes with --fadump-machine qemu*"),
    ],
)
def test_a_kernel_of_the_command_line_that_would_not_be_run_is_refused(project, words, ini, said):
    """As by a variable that a CI hasn't set: all would be green, on the model."""
    project.makeini(f"[pytest]\n{ini}")
    project.makepyfile(GOOD)
    result = project.runpytest(*words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said}"])


def test_a_dump_is_shared_and_gone_at_the_end(project):
    project.makepyfile(
        """
        import fadump

        def test_one(dump):
            with fadump.open(dump) as system:
                assert system.crashed_cpu.number == 0

        def test_two(dump):
            assert [path.name for path in dump.parent.parent.glob("dump?")] == ["dump0"]
        """
    )
    project.runpytest("--basetemp=kept").assert_outcomes(passed=2)
    assert not [*project.path.rglob("vmcore*")]


def test_processes_of_xdist_do_not_disturb_each_other_and_what_can_not_be_tried_is_told_by_them_too(project):
    project.makepyfile(
        test_kernel=NOT_TRIED,
        test_two="""
        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test_crash(fadump_machine, dump, number):
            first, second = fadump_machine(memory="1G"), fadump_machine(memory="1G")
            assert first.crash().vmcore != second.crash().vmcore
        """,
    )
    result = project.runpytest_subprocess("-n", "2")
    result.assert_outcomes(passed=2, failed=1)
    assert result.ret == 125
    result.stdout.fnmatch_lines(NOT_TRIED_LINES)


def test_a_script_runs_where_the_machines_files_are(project):
    project.makepyfile(
        """
        def test_registered(fadump_shell):
            assert fadump_shell("cat /sys/kernel/fadump/registered") == "1\\n"

        def test_fails(fadump_shell):
            fadump_shell("echo c >/proc/sysrq-trigger; ls /proc/vmcore; echo trouble >&2; exit 4")
        """
    )
    result = project.runpytest()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E *the script has ended with status 4: /proc/vmcore", "E *trouble"])


def test_a_rehearsal_has_a_directory_of_its_own(project):
    project.makepyfile("def test_disk(fadump_rehearsal): fadump_rehearsal('/nowhere.img')")
    result = project.runpytest()
    assert result.ret == 125
    result.stdout.fnmatch_lines(["E *could not be tried: --disk /nowhere.img can't be opened*"])


def test_who_does_not_use_it_reads_nothing_of_it(project):
    project.makepyfile(
        """
        import sys

        def test_nothing_is_read():
            read = {name for name in sys.modules if name.split(".")[0] in ("fadump", "numpy", "rich")}
            assert read == {"fadump", "fadump.testing", "fadump.testing.plugin"}
        """
    )
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_its_options_and_fixtures_are_described(project):
    shown = project.runpytest("--help").stdout.str() + project.runpytest("--fixtures").stdout.str()
    for name in ("machine", "platform", "kernel", "fault", "keep", "not-tried"):
        assert f"--fadump-{name}" in shown
    for name in ("fadump_machine", "fadump_rehearsal", "fadump_shell", "dump"):
        assert f"\n{name} " in shown
    assert "no docstring available" not in shown


def test_the_documents_tests_are_green_on_the_model(examples, monkeypatch):
    tests = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), flags=re.MULTILINE | re.DOTALL)
    on_the_model = [test for test in tests if "qemu" not in test and "fadump_rehearsal" not in test]
    assert (len(tests), len(on_the_model)) == (5, 3)
    paths = [examples.path / f"test_document_{number}.py" for number in range(3)]
    for path, test in zip(paths, on_the_model, strict=True):
        path.write_text(test)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    examples.runpytest(*paths).assert_outcomes(passed=5)


@pytest.mark.parametrize("example", ["test_kernel", "test_kdump_save", "test_vmcore_reader"])
def test_an_example_is_green(examples, example):
    assert examples.runpytest(f"{example}.py").ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("example", "fault"),
    [
        ("test_kernel", "terminate=hardware-error"),
        ("test_kernel", "registers=twice"),
        ("test_kdump_save", "boot-memory=invalid-type"),
    ],
)
def test_an_example_is_red_where_the_machine_is_spoilt(examples, example, fault):
    result = examples.runpytest(f"{example}.py", f"--fadump-fault={fault}", "-k", "sysrq or pseries")
    assert {name: count for name, count in result.parseoutcomes().items() if name != "deselected"} == {"failed": 1}
