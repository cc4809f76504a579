"""A rehearsal that is killed where it has most that nobody else may see: while it looks into the system's disk."""

import os
import subprocess
from pathlib import Path

from tests.real_linux import mini_system
from tests.real_linux.fadump_command import COMMAND, wait_until_gone


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_nothing_is_left_but_what_is_its_own_to_show(tmp_path, kernel):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    machine = ["--kernel", kernel.bootable, "--cmdline", mini_system.CMDLINE, "--disk", mini_system.build(tmp_path)]
    command = [*COMMAND, "rehearse", "--out", tmp_path / "out", *machine, "--memory", "1G"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=os.environ | {"TMPDIR": str(scratch)}
    ) as process:
        said = next((line for line in process.stderr if "Copying the system's disk" in line), None)
        children = children_of(process.pid)
        process.kill()
    assert said is not None and process.returncode == -9
    wait_until_gone(children)
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"console.log", "crash0"}
    assert list(scratch.iterdir()) == []
