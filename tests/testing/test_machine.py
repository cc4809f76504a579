"""fadump.Machine on the model of Linux; real Linux: tests/real_linux/more_kernels/test_examples.py."""

import json
import stat

import pytest

import fadump

MIB = 1 << 20
SMALL = {"memory": "1G"}


def test_a_crash_is_saved_proven_and_leaves_the_machine_in_production(tmp_path):
    with fadump.Machine(tmp_path / "files", **SMALL, cpus=3) as machine:
        crash = machine.crash(cpu=2)
        again = machine.crash(by="platform")
    assert (crash.cpus, crash.resets, crash.output) == (3, 1, "")
    assert crash.vmcore_bytes == crash.vmcore.stat().st_size > crash.verified_bytes > 512 * MIB
    assert crash.reserved_bytes > crash.boot_memory_bytes and crash.memory_released > 256 * MIB
    assert list(crash.timeline) == [
        *("power_on", "registered", "crash", "preserved", "capture_boot", "vmcore_ready", "saved", "released"),
        "production",
    ]
    assert [path.name for path in (crash.vmcore, again.vmcore)] == ["vmcore.1", "vmcore.2"]
    assert {path.name for path in (tmp_path / "files").iterdir()} == {
        *("vmcore.1", "vmcore.2", "console.log", "firmware.log", "timeline.json"),
    }
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (tmp_path / "files").iterdir())
    with fadump.open(crash.vmcore) as system:
        assert (system.ending.panic, system.crashed_cpu.number) == ("sysrq triggered crash", 2)
    assert json.loads((tmp_path / "files/timeline.json").read_text())[-1]["event"] == "production"
    assert "Kernel panic" in machine.console_log.read_text()


@pytest.mark.parametrize("platform", ["pseries", "powernv"])
def test_what_is_not_asked_for_is_not_compared(tmp_path, platform):
    with fadump.Machine(tmp_path, platform=platform) as machine:
        assert machine.crash(verify=False).verified_bytes is None


def test_a_lost_dump_says_on_the_way_to_what_why_and_where_the_console_is(tmp_path):
    with fadump.Machine(tmp_path, **SMALL, faults=["register=hardware-error"]) as machine:
        with pytest.raises(fadump.MachineError, match="the guest could not register: ") as failed:
            machine.crash()
        with pytest.raises(fadump.UsageError, match="this machine is off, as after a failure: make another"):
            machine.crash()
    error = failed.value
    assert (error.phase, error.firmware, error.console) == (
        "registered",
        "this status was asked for",
        tmp_path / "console.log",
    )


def test_a_dump_that_is_not_the_machine_is_a_failure_and_is_kept(tmp_path):
    machine = fadump.Machine(tmp_path, platform="powernv", faults=["query-cpu-tag=parameter"])
    with machine, pytest.raises(fadump.MachineError, match=r"vmcore.1 is different from the machine at its crash: "):
        machine.crash()
    assert (tmp_path / "vmcore.1").exists()


def test_a_dump_that_was_saved_is_kept_whatever_fails_after_it(tmp_path):
    with fadump.Machine(tmp_path, **SMALL, faults=["invalidate=hardware-error"]) as machine:
        with pytest.raises(fadump.MachineError) as failed:
            machine.crash()
        assert (failed.value.phase, (tmp_path / "vmcore.1").exists()) == ("production", True)


def test_a_fault_that_never_strikes_is_a_failure_at_the_end(tmp_path):
    machine = fadump.Machine(tmp_path, **SMALL, faults=["power-cut=99999"])
    machine.crash()
    with pytest.raises(fadump.MachineError, match="--fault power-cut=99999 never struck: a cycle had no more than"):
        machine.close()
    with pytest.raises(fadump.UsageError, match="this machine is off"):
        machine.crash()
    machine = fadump.Machine(tmp_path, **SMALL, faults=["power-cut=99999"])
    with pytest.raises(ZeroDivisionError), machine:
        _ = machine.crash().resets / 0


def test_a_machine_that_is_not_used_leaves_nothing(tmp_path):
    with fadump.Machine(tmp_path / "files"):
        pass
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"machine": "quemu"}, "machine must be qemu or embedded, 'quemu' is not"),
        ({"platform": "x86"}, "platform must be pseries or powernv, 'x86' is not"),
        ({"memory": "much"}, "memory='much': 'much' is not a size; write it as 2G or 0x80000000"),
        ({"memory": 2}, "memory=2: that is 2 bytes: write 2G"),
        ({"memory": "256M"}, "--memory must be from 1 GiB to 64 TiB, 256 MiB is not"),
        ({"kernel_version": "5.4"}, r"kernel_version must be 6\.1, .*, '5\.4' is not"),
        ({"page_size": "16K"}, "page_size must be 4K or 64K, '16K' is not"),
        ({"faults": ["none"]}, "'none' is not a fault"),
        ({"machine": "embedded", "kernel": "vmlinux"}, "--kernel goes with --machine qemu"),
    ],
)
def test_what_can_not_be_is_said_at_once(tmp_path, options, sentence):
    with pytest.raises(fadump.UsageError, match=sentence):
        fadump.Machine(tmp_path, **options)


def test_how_it_crashes_is_checked_too_and_costs_the_machine_nothing(tmp_path):
    with fadump.Machine(tmp_path, **SMALL) as machine:
        with pytest.raises(fadump.UsageError, match="by must be sysrq, nmi, platform or opal, 'panic' is not"):
            machine.crash(by="panic")
        with pytest.raises(fadump.UsageError, match="--crash-cpu must be a CPU of the guest, 0 to 1, 7 is not"):
            machine.crash(cpu=7)
        for scripts in ({"script": "true"}, {"capture": "true"}):
            with pytest.raises(fadump.UsageError, match="scripts go with a machine in QEMU"):
                machine.crash(**scripts)
        with pytest.raises(fadump.UsageError, match="scripts go with a machine in QEMU"):
            machine.run("true")
        assert machine.crash().verified_bytes


def test_a_kernel_makes_it_qemus_and_no_kernel_is_built_for_a_test(tmp_path, cache):
    with pytest.raises(fadump.SetupError, match=r"--kernel .*/vmlinux can't be read: No such file"):
        fadump.Machine(tmp_path / "1", kernel=tmp_path / "vmlinux").crash()
    with pytest.raises(fadump.SetupError, match="no kernel to run yet: type 'fadump kernel build' once"):
        fadump.Machine(tmp_path / "2", machine="qemu").run("true")
    assert [*tmp_path.rglob("*")] in ([], [cache])


def test_a_rehearsal_says_what_is_missing(tmp_path):
    with pytest.raises(fadump.SetupError, match="--disk .* can't be opened: No such file"):
        fadump.rehearse(tmp_path / "files", tmp_path / "disk")
    with pytest.raises(fadump.UsageError, match="platform must be"):
        fadump.rehearse(tmp_path / "files", tmp_path / "disk", platform="x86")
