"""fadump shell: scripts with absolute paths, their exit status, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mount.mounted import mounts
from tests.real_linux.fadump_command import COMMAND, END_SECONDS, wait_until_gone

SMALL = ("--memory", "1G")
TREE = "/sys/fs"
"""What the shell mounts over, in a namespace of its own."""
NOT_ROOT = [] if os.geteuid() else ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
"""Root without the right to mount, who needs a user namespace for that as anyone else."""
LIMITS = "for kind in mnt user; do echo 0 >/proc/sys/user/max_${kind}_namespaces || exit 9; done; "
NO_NAMESPACES = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", LIMITS + 'exec "$@"', "sh"]


def shell(*words, before=(), **options):
    options = {"timeout": END_SECONDS, "capture_output": True, "text": True} | options
    return subprocess.run([*before, *COMMAND, "shell", *words], check=False, **options)


@pytest.mark.parametrize("before", [[], NOT_ROOT], ids=["root", "user namespace"])
def test_a_script_with_absolute_paths_goes_through_the_whole_cycle(before):
    done = shell(
        *SMALL,
        "-c",
        """set -e
        cat /sys/kernel/fadump_registered
        echo c >/proc/sysrq-trigger
        cat /sys/kernel/fadump/registered
        head -c 4 /proc/vmcore | od -An -c
        ls /proc/device-tree/rtas/ibm,kernel-dump
        echo 1 >/sys/kernel/fadump_release_mem
        ! ls /proc/vmcore
        echo 1 >/sys/kernel/fadump/registered
        cat /sys/kernel/fadump/registered
        """,
        before=before,
    )
    assert done.stderr.splitlines()[-1].endswith("No such file or directory"), done.stderr
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "0", "177", "E", "L", "F", "/proc/device-tree/rtas/ibm,kernel-dump", "1"]
    assert TREE not in mounts()


def test_all_other_files_are_this_computers(tmp_path):
    done = shell(
        *SMALL, "-c", "readlink /proc/$$/exe; cat /proc/$$/comm; pwd; ls /sys/kernel/mm; echo new >new", cwd=tmp_path
    )
    lines = done.stdout.splitlines()
    assert (lines[0], lines[1], lines[2]) == (str(Path("/bin/sh").resolve()), "sh", str(tmp_path)), done.stderr
    assert lines[3:] == sorted(path.name for path in Path("/sys/kernel/mm").iterdir())
    assert (tmp_path / "new").read_text() == "new\n"


def test_no_module_of_the_working_directory_is_run(tmp_path):
    (tmp_path / "fadump").mkdir()
    for name in ("fadump/__init__.py", "mfusepy.py"):
        (tmp_path / name).write_text("raise SystemExit('not ours')")
    command = [sys.executable, "-P", "-m", "fadump", "shell", *SMALL, "-c", "cat /sys/kernel/fadump/registered"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=END_SECONDS, check=False)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_the_hosts_firmware_is_there_but_for_what_a_power_machine_has():
    done = shell(*SMALL, "--platform", "powernv", "--memory", "4G", "-c", "ls /sys/firmware")
    hosts = {path.name for path in Path("/sys/firmware").iterdir()} - {"devicetree", "opal"}
    assert set(done.stdout.split()) == hosts | {"devicetree"}


@pytest.mark.parametrize("before", [[], NOT_ROOT], ids=["root", "user namespace"])
def test_what_a_script_sets_in_its_machine_is_not_set_in_this_computer(before):
    before_it = Path("/proc/sys/kernel/panic_on_oops").read_text()
    script = "sysctl -n kernel.panic_on_oops; sysctl -w kernel.panic_on_oops=1; echo 1 >/sys/kernel/profiling"
    done = shell(*SMALL, "-c", script, before=before)
    assert done.returncode != 0
    assert (done.stdout, Path("/proc/sys/kernel/panic_on_oops").read_text()) == (before_it, before_it)


@pytest.mark.parametrize(("words", "status"), [
    (["-c", "exit 7"], 7),
    (["-c", "kill -TERM $$"], 143),
    (["--", "false"], 1),
    (["--", "sh", "-c", 'exit "$1"', "sh", "5"], 5),
    (["--", "/nothing/here"], 127),
])  # fmt: skip
def test_the_exit_status_is_the_commands(words, status):
    assert shell(*SMALL, *words).returncode == status


def test_what_is_no_command_is_said_by_name():
    done = shell(*SMALL, "--", "/nothing/here")
    assert done.stderr.startswith("fadump shell: ") and "/nothing/here" in done.stderr


@pytest.mark.parametrize("name", ["/bin/sh", ""])
def test_without_a_command_it_is_a_shell(name):
    done = shell(*SMALL, input="cat /sys/kernel/fadump/enabled; exit 3\n", env={**os.environ, "SHELL": name})
    assert (done.returncode, done.stdout) == (3, "1\n")


def test_json_has_the_exit_status():
    done = shell(*SMALL, "--json", "-c", "echo words; exit 7")
    assert (done.returncode, json.loads(done.stdout)) == (7, {"result": "ended", "exit_status": 7})
    assert done.stderr == "words\n"


def test_two_shells_are_two_machines():
    with subprocess.Popen(
        [*COMMAND, "shell", *SMALL, "-c", "echo c >/proc/sysrq-trigger; echo crashed; read -r _; ls /proc/vmcore"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as first:  # fmt: skip
        assert first.stdout.readline() == "crashed\n"
        assert shell(*SMALL, "-c", "cat /sys/kernel/fadump/registered").stdout == "1\n"
        assert first.communicate("\n", timeout=END_SECONDS)[0] == "/proc/vmcore\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_it_leaves_no_process_and_no_mount(number):
    with subprocess.Popen(
        [*COMMAND, "shell", *SMALL, "-c", "echo $$; exec sleep 1000"], stdout=subprocess.PIPE, text=True
    ) as started:
        command = int(started.stdout.readline())
        children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
        started.send_signal(number)
        started.wait(END_SECONDS)
        wait_until_gone([command, *map(int, children)])
    assert TREE not in mounts()


def test_ctrl_c_is_the_commands():
    script = "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.1; done"
    with subprocess.Popen(
        [*COMMAND, "shell", *SMALL, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as started:
        assert started.stdout.readline() == "ready\n"
        os.killpg(started.pid, signal.SIGINT)
        assert started.communicate(timeout=END_SECONDS)[0] == "interrupted\n"
    assert started.returncode == 9


def test_no_namespaces_is_said_in_one_sentence():
    done = shell(*SMALL, "-c", "true", before=NO_NAMESPACES)
    assert (done.returncode, done.stderr.count("\n")) == (125, 1)
    assert "needs a mount namespace, and this machine allows none" in done.stderr


def test_a_working_directory_that_is_gone_is_said_in_one_sentence(tmp_path):
    script = f'mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir {tmp_path}/gone && exec "$@"'
    done = shell(*SMALL, "-c", "true", before=["sh", "-c", script, "sh"])
    assert (done.returncode, done.stderr.count("\n")) == (125, 1)
    assert "the working directory has been removed: change to another one" in done.stderr


def test_a_machine_that_can_not_be_is_said_in_one_sentence():
    done = shell("--memory", "512M", "-c", "true")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--memory must be from 1 GiB" in done.stderr


def test_a_script_sees_a_firmware_that_fails():
    script = "cat $file; echo 1 >$file; cat $file".replace("$file", "/sys/kernel/fadump/registered")
    done = shell(*SMALL, "--fault", "register=-1*2", "-c", script)
    assert done.stdout == "0\n0\n"
    assert "I/O error" in done.stderr or "Input/output error" in done.stderr
