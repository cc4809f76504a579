"""The pytest plugin on real Linux: the examples, scripts in the guest, a system on a disk; and where one is spoilt."""

import shutil
from pathlib import Path

import pytest

from tests.real_linux import mini_system
from tests.real_linux.debian_kernel import fetch_debian_kernel

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def examples(pytester, kernel):
    """A project with the examples; its kernel is the default one, unless a test says otherwise."""
    shutil.copytree(EXAMPLES, pytester.path, dirs_exist_ok=True)
    pytester.makeini(f"[pytest]\nfilterwarnings = error\nfadump_kernel = {kernel.bootable}")
    return pytester


@pytest.mark.parametrize("platform", ["pseries", "powernv"])
def test_the_example_for_kernels_is_green(examples, platform):
    result = examples.runpytest_subprocess("test_kernel.py", f"--fadump-platform={platform}")
    result.assert_outcomes(passed=4)


def test_it_is_red_with_a_kernel_that_does_not_find_its_dump(examples, kernel):
    data = kernel.bootable.read_bytes()
    spoilt = data.replace(b"ibm,kernel-dump\0", b"ibm,kernel-dumb\0")
    assert len(spoilt) == len(data) and spoilt != data
    (examples.path / "vmlinux").write_bytes(spoilt)
    one = "test_kernel.py::test_every_crash_is_dumped[sysrq]"
    result = examples.runpytest_subprocess(one, "--fadump-kernel=vmlinux")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E *the guest could not save: this boot has no /proc/vmcore*", "E *on the way to: vmcore_ready", "E *| *"]
    )


def test_a_kernel_without_fadump_is_not_tried(examples):
    result = examples.runpytest_subprocess("test_kernel.py", f"--fadump-kernel={fetch_debian_kernel()}", "-k", "sysrq")
    assert result.ret == 125
    result.stdout.fnmatch_lines(["E *could not be tried: the kernel in --kernel * has no FADump*"])


def test_scripts_run_in_the_guest_before_at_and_after_its_crash(examples):
    examples.makepyfile(
        test_scripts="""
        import fadump
        import pytest

        def test_scripts(fadump_machine):
            machine = fadump_machine(memory="1G")
            assert machine.run("cat /sys/kernel/fadump/registered") == "1\\n"
            crash = machine.crash(
                script="echo last words >/dev/kmsg; echo c >/proc/sysrq-trigger",
                capture="test -e /proc/vmcore && echo 1 >/sys/kernel/fadump/release_mem && test ! -e /proc/vmcore",
            )
            assert (crash.output, crash.memory_released, crash.resets) == ("", 0, 1)
            with fadump.open(crash.vmcore) as system:
                assert "last words" in [record.text for record in system.log()]
            assert machine.run("cat /sys/kernel/fadump/registered") == "1\\n"
            again = machine.crash(by="nmi", capture="stat -c %s /proc/vmcore")
            assert int(again.output) == again.vmcore_bytes and again.memory_released

        def test_one_that_does_not_crash(fadump_machine):
            with pytest.raises(fadump.MachineError, match="Linux has survived the script .* status 0: hello"):
                fadump_machine(memory="1G").crash(script="echo hello")
        """
    )
    examples.runpytest_subprocess("test_scripts.py").assert_outcomes(passed=2)


@pytest.mark.parametrize(("save", "outcome"), [(mini_system.SAVE, "passed"), ("true", "failed")])
def test_a_system_is_rehearsed(examples, tmp_path, kernel, save, outcome):
    image = mini_system.build(tmp_path, save=save)
    examples.makepyfile(
        test_system=f"""
        def test_system(fadump_rehearsal):
            rehearsal = fadump_rehearsal("{image}", kernel="{kernel.bootable}", memory="1G",
                                         cmdline="{mini_system.CMDLINE}")
            assert (rehearsal.service, rehearsal.resets) == ("released", 1)
            assert rehearsal.path == "/var/crash/today/vmcore" and rehearsal.dump.stat().st_size
            assert rehearsal.verified_bytes > 700 << 20
        """
    )
    result = examples.runpytest_subprocess("test_system.py")
    result.assert_outcomes(**{outcome: 1})
    if outcome == "failed":
        result.stdout.fnmatch_lines(["E *lost: the system * there is no new dump in its /var/crash*"])
