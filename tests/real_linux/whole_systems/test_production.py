"""A Debian that has the package and its service enabled, crashed: saved, given back and in production by one reset.

The steps are those of docs/production.md, "Rehearse it": the package, an image with it, the service enabled at its
prompt, doctor, a rehearsal.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real_linux.conftest import REHEARSAL_SECONDS
from tests.real_linux.debian_guest import DebianGuest
from tests.real_linux.vm import vm


@pytest.fixture(scope="module")
def server(tmp_path_factory, packaged_debian):
    """The disk of a Debian with the package, whose service is enabled as an administrator does it."""
    disk = tmp_path_factory.mktemp("server") / "server.img"
    shutil.copyfile(packaged_debian["path"], disk)
    with vm(disk.parent, "--disk", disk) as machine:
        guest = DebianGuest(machine)
        guest.run("systemctl enable fadump-capture.service")
        doctor = json.loads(guest.run("fadump doctor --json 2>/dev/null"))
        machine.child.sendline("poweroff")
        assert machine.end() == 0
    assert (doctor["result"], doctor["service"]) == ("saved", "fadump-capture.service"), doctor
    return disk


@pytest.mark.parametrize("crash_by", ["nmi", "sysrq"])
def test_a_crash_is_saved_and_its_memory_given_back_without_a_second_reboot(tmp_path, server, crash_by):
    command = [sys.executable, "-m", "fadump", "rehearse", "--disk", server, "--verify", "--json"]
    command += ["--crash-by", crash_by, "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=REHEARSAL_SECONDS, check=False)
    result = json.loads(done.stdout)
    assert (done.returncode, result["result"]) == (0, "saved"), done.stderr
    assert (result["service"], result["resets"]) == ("released", 1)
    verified = result["verified"]
    assert (verified["bytes_different"], verified["registers_different"]) == (0, [])
    assert verified["bytes_compared"] > 50 << 20
    assert Path(result["dump"]["path"]).parent.parent == Path("/var/crash")
