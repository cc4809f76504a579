"""docs/living-with-kdump.md, followed in a real Debian that has our package: its commands are read from that page.

kdump-tools alone, on FADump, is rehearsed in test_boot_loaders.py and test_debian_rehearsals.py: saved, then rebooted.
"""

import json
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.real_linux.conftest import REHEARSAL_SECONDS, ROOT
from tests.real_linux.debian_guest import DebianGuest
from tests.real_linux.vm import vm

PAGE = (ROOT / "docs/living-with-kdump.md").read_text()
FALLS_BACK = "console=hvc0 root=/dev/vda2 ro fadump=on crashkernel=256M"
DUMP = re.compile(r"/var/crash/(\d{12})/dump\.\1")


def commands(heading):
    """The lines to type of a section, in their order."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = [block.strip() for block in section.split("```")[1::2]]
    return [line for block in blocks if not block.startswith("not-registered") for line in block.splitlines()]


@contextmanager
def administrator(disk, *machine):
    """Sits at the console of a system, which is switched off at the end."""
    with vm(disk.parent, "--disk", disk, *machine) as running:
        guest = DebianGuest(running)
        yield guest
        running.child.sendline("poweroff")
        assert running.end() == 0


@pytest.fixture
def disk(tmp_path, packaged_debian):
    return Path(shutil.copyfile(packaged_debian["path"], tmp_path / "server.img"))


def doctor(guest):
    return json.loads(guest.run("fadump doctor --json 2>/dev/null"))


def rehearse(directory, *options):
    command = [sys.executable, "-m", "fadump", "rehearse", "--json", "--out", directory / "out", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=REHEARSAL_SECONDS, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


def test_kdump_tools_saves_and_fadump_releases_in_the_place_of_its_reboot(tmp_path, disk):
    with administrator(disk) as guest:
        for command in commands("kdump-tools (Debian, Ubuntu)"):
            guest.run(command)
        told = doctor(guest)
    assert (told["result"], told["service"], told["severity"]) == ("saved", "kdump-tools", "note"), told
    assert any("kdump-tools saves a dump" in found["text"] and "the boot goes on" in found["text"]
               for found in told["findings"])  # fmt: skip
    status, result, said = rehearse(tmp_path, "--disk", disk, "--verify")
    assert (status, result["result"]) == (0, "saved"), said
    assert (result["service"], result["resets"]) == ("released", 1)
    verified = result["verified"]
    assert (verified["bytes_different"], verified["registers_different"]) == (0, [])
    assert verified["bytes_compared"] > 50 << 20
    assert DUMP.fullmatch(result["dump"]["path"])  # theirs, and none of ours beside it
    assert result["unregistered"] == []  # without the udev rules


def test_where_linux_falls_back_debian_s_kdump_saves(tmp_path, disk, packaged_debian):
    machine = ["--kernel", packaged_debian["kernel"], "--cmdline", FALLS_BACK]
    with administrator(disk, *machine) as guest:
        for command in commands("Where Linux falls back to kdump"):
            guest.run(command)
        guest.run("kdump-config unload; kdump-config load")
        armed = doctor(guest)
        guest.run("kdump-config unload")
        disarmed = doctor(guest)
    assert armed["result"] == "saved-by-kdump" and " by kdump (kdump-tools), to /var/crash, not by" in armed["verdict"]
    assert disarmed["result"] == "not-saved"
    status, result, said = rehearse(tmp_path, "--disk", disk, "--crash-by", "sysrq", *machine)
    assert (status, result["result"]) == (1, "not-registered"), said
    path = result["dump"]["path"]
    assert DUMP.fullmatch(path) and f"kdump is armed: a crash was made, and it has saved {path}, which is whole" in said
    assert (result["kdump"]["reserved_bytes"], result["kdump"]["started"]) == (256 << 20, True)
    with open_dump(Path(result["dump"]["copy"])) as dump:
        assert check_dump(dump).whole
