"""The emulator's process is QEMU's: what it is asked, how it is stopped and how it ends. No kernel is started here."""

import os
import signal
import subprocess
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from tests.emulator.running import Monitor, children, ended, program, running
from tests.kit.conftest import wait_until

ROOT = Path(__file__).parent.parent.parent
MACHINE = "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"
QEMU = "/usr/bin/qemu-system-ppc64"
GUEST = ["-m", "1G", "-nodefaults", "-nographic", "-M", MACHINE]


def said_by(command):
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_script_is_installed_by_its_name():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["fadump-qemu-system-ppc64"].partition(":")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize(
    "words", ["-version", "-M help", "-cpu help", "-m 1G -device spapr-vty,help", "-h", "-m", "-no"]
)
def test_what_is_asked_or_wrong_is_answered_as_by_qemu(tmp_path, words):
    assert said_by([program(tmp_path), *words.split()]) == said_by([QEMU, *words.split()])


def test_a_probe_without_a_machine_has_no_firmware(tmp_path):
    monitor = Monitor()
    with running(tmp_path, "-machine", "none", "-S", "-nographic", "-nodefaults", monitor=monitor) as process:
        assert monitor.ask("query-status")["status"] == "prelaunch"
        assert children(process.pid) == []
        monitor.ask("quit")
        assert process.wait() == 0
        assert process.stderr.read() == b""


def test_what_cant_be_served_is_qemu_as_it_is_and_a_line_says_so(tmp_path):
    monitor = Monitor()
    with running(tmp_path, *GUEST, "-incoming", "defer", monitor=monitor) as process:
        assert monitor.ask("query-status")["status"] == "inmigrate"
        assert children(process.pid) == []
        monitor.ask("quit")
        assert process.wait() == 0
        assert process.stderr.read().decode().splitlines() == [
            "fadump: QEMU runs without FADump: a guest that comes from elsewhere has booted without this firmware"
        ]


def test_a_qemu_that_does_not_start_says_why_and_nothing_else(tmp_path):
    words = ["-m", "256M", "-nodefaults", "-nographic", "-M", MACHINE, "-device", "no-such-device"]
    assert said_by([program(tmp_path), *words]) == said_by([QEMU, *words])


def test_a_kernel_that_powernv_cant_start_is_left_to_qemu(tmp_path):
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"no kernel")
    monitor = Monitor()
    words = ["-M", "powernv9", "-m", "1G", "-nodefaults", "-nographic", "-kernel", kernel, "-S"]
    with running(tmp_path, *words, monitor=monitor) as process:
        assert children(process.pid) == []
        monitor.ask("quit")
        assert process.wait() == 0
        assert process.stderr.readline().decode() == (
            f"fadump: QEMU runs without FADump: {kernel} is not a 64-bit ELF file: powernv needs a vmlinux\n"
        )


BACKEND = '{"qom-type":"memory-backend-ram","id":"pc.ram","size":1073741824}'
NODES = "-object memory-backend-ram,id=a,size=512M -object memory-backend-memfd,id=b,size=512M,share=on"


@pytest.mark.parametrize(
    "words",
    [
        f"-m size=1048576k,slots=16,maxmem=4194304k -M memory-backend=pc.ram -object {BACKEND}",
        f"-m 1G {NODES} -numa node,nodeid=0,memdev=a -numa node,nodeid=1,memdev=b -smp 2",
        "-M kvm-type=HV,memory-backend=m,accel=tcg -object memory-backend-memfd,id=m,size=1024M,share=on -m 1024",
        "-m 1G -mem-path {directory} -mem-prealloc",
        "-m 1G -serial mon:stdio",
        "-m 1G -accel tcg,thread=multi -smp 2,maxcpus=4",
        "-m 1G -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-m 1G -pidfile {directory}/pid",
        "-m 1G -chroot {directory}",
        "-m 1G -runas nobody",
    ],
)
def test_what_others_start_qemu_with_has_firmware(tmp_path, words):
    monitor = Monitor()
    guest = ["-nodefaults", "-display", "none", "-M", MACHINE, *words.replace("{directory}", str(tmp_path)).split()]
    with running(tmp_path, *guest, monitor=monitor) as process:
        monitor.wait_for("RESUME")
        assert len(children(process.pid)) == 1
        monitor.ask("quit")
        assert process.wait() == 0
        assert process.stderr.read() == b""


def test_the_emulator_is_named_by_the_environment_and_never_itself(tmp_path):
    other = tmp_path / "other"
    other.write_text('#!/bin/sh\necho "other $@"\n')
    other.chmod(0o755)
    with running(tmp_path, "-version", environment={"FADUMP_QEMU": str(other)}) as process:
        assert process.stdout.read() == b"other -version\n"
    (tmp_path / "first").mkdir()
    (tmp_path / "first/qemu-system-ppc64").symlink_to(program(tmp_path))
    path = f"{tmp_path}/first:{os.environ['PATH']}"
    done = subprocess.run(
        ["qemu-system-ppc64", "-version"], env=os.environ | {"PATH": path}, capture_output=True, check=True
    )
    assert done.stdout.startswith(b"QEMU emulator")


def test_without_a_qemu_a_sentence_says_how_to_get_one(tmp_path):
    with running(tmp_path, "-version", environment={"FADUMP_QEMU": "no-such-qemu"}) as process:
        assert process.wait() == 127
        assert process.stderr.read().decode() == (
            "fadump: no no-such-qemu on this machine: install qemu-system-ppc, or name another QEMU in FADUMP_QEMU\n"
        )


def test_a_guest_that_is_not_held_runs(tmp_path):
    monitor = Monitor()
    with running(tmp_path, *GUEST, monitor=monitor):
        monitor.wait_for("RESUME")
        assert monitor.ask("query-status")["status"] == "running"


def test_a_guest_is_its_callers_to_hold_and_to_let_go(tmp_path):
    monitor = Monitor()
    with running(tmp_path, *GUEST, monitor=monitor):
        monitor.wait_for("RESUME")
        monitor.ask("system_reset")
        monitor.wait_for("RESUME", 2)
        assert monitor.events == ["RESUME", "RESET", "STOP", "RESET", "RESUME"]  # the second is the firmware's
        monitor.ask("stop")
        assert monitor.ask("query-status")["status"] == "paused"
        monitor.events.clear()
        monitor.ask("system_reset")
        monitor.wait_for("RESET", 2)
        assert monitor.ask("query-status")["status"] == "prelaunch"  # as QEMU calls it after a reset
        monitor.ask("cont")
        monitor.wait_for("RESUME")
        monitor.wait_until_running()  # the firmware may look at it once more before it lets it go
        assert monitor.events.count("RESET") == 2


def test_a_guest_that_is_let_go_while_the_firmware_sees_its_reset_runs(tmp_path):
    events = tmp_path / "events"
    monitor = Monitor()
    with running(tmp_path, *GUEST, monitor=monitor, environment={"FADUMP_EVENTS": str(events)}):
        monitor.wait_for("RESUME")
        for resets in range(1, 21):  # who comes first is chance
            for command in ("stop", "system_reset", "cont"):
                monitor.ask(command)
            wait_until(lambda seen=resets: events.exists() and events.read_text().count('"reset"') == seen)
            monitor.wait_until_running()


def test_a_guest_that_is_let_go_before_the_firmware_is_there_waits_for_it(tmp_path):
    monitor = Monitor("cont")
    with running(tmp_path, *GUEST, "-S", monitor=monitor):
        monitor.wait_for("RESUME", 2)
        assert monitor.events == ["RESUME", "STOP", "RESUME"]
        assert monitor.ask("query-status")["status"] == "running"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_qemu_as_it_ends_by_itself(tmp_path, number):
    monitor = Monitor()
    with running(tmp_path, *GUEST, monitor=monitor) as process:
        monitor.wait_for("RESUME")
        firmware = children(process.pid)
        process.send_signal(number)
        assert process.wait() == 0
        assert f"terminating on signal {int(number)} from pid {os.getpid()}" in process.stderr.read().decode()
        assert ended(*firmware)


def test_a_killed_qemu_leaves_nobody_behind(tmp_path):
    monitor = Monitor()
    with running(tmp_path, *GUEST, monitor=monitor) as process:
        monitor.wait_for("RESUME")
        (guard,) = children(process.pid)
        (server,) = children(guard)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert ended(guard, server)
        assert process.stderr.read() == b""


def test_a_firmware_that_is_killed_takes_qemu_with_it(tmp_path):
    monitor = Monitor()
    with running(tmp_path, *GUEST, monitor=monitor) as process:
        monitor.wait_for("RESUME")
        (guard,) = children(process.pid)
        (server,) = children(guard)
        os.kill(server, signal.SIGKILL)
        assert process.wait() == 0
        assert ended(guard)


def test_a_daemon_is_as_qemus(tmp_path):
    monitor = Monitor()
    pid_file = tmp_path / "pid"
    words = [word for word in GUEST if word != "-nographic"]
    with running(tmp_path, *words, "-display", "none", "-daemonize", "-pidfile", pid_file, monitor=monitor) as process:
        assert process.wait() == 0
        said = process.stdout.read() + process.stderr.read()  # whoever waits for their end need not wait long
        pid = int(pid_file.read_text())
        monitor.wait_for("RESUME")
        monitor.ask("quit")
        assert ended(pid)
        assert said == b""


def test_the_firmware_keeps_nothing_open_that_qemu_inherits(tmp_path):
    read_end, write_end = os.pipe()
    pipe = Path(f"/proc/self/fd/{read_end}").readlink()
    monitor = Monitor()
    with running(tmp_path, *GUEST, monitor=monitor, fds=[write_end]) as process:
        monitor.wait_for("RESUME")
        (guard,) = children(process.pid)
        opened = {pid: [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()] for pid in (process.pid, guard)}
        assert pipe in opened[process.pid]
        assert pipe not in opened[guard]
    os.close(read_end)
    os.close(write_end)
