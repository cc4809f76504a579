"""A Debian that has the package and its service enabled, crashed: saved, given back and in production by one reset.

The five commands are those of docs/production.md, "Rehearse it", as they stand there.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from tests.real_linux.conftest import REHEARSAL_SECONDS
from tests.real_linux.debian_guest import DebianGuest
from tests.real_linux.vm import SECONDS, Vm

ROOT = Path(__file__).parents[3]
SECTION = (ROOT / "docs" / "production.md").read_text().partition("## Rehearse it\n")[2].partition("\n## ")[0]
PACKAGE, IMAGE, MACHINE, AT_ITS_PROMPT, REHEARSAL = "".join(
    re.findall(r"^```\n(.*?)^```$", SECTION, flags=re.MULTILINE | re.DOTALL)
).splitlines()
COPIED = re.search(r'^cp -R (.+) "\$work', (ROOT / "tools" / "build-deb").read_text(), re.MULTILINE)[1].split()
SOURCES = ("Makefile", *COPIED)
BUILD_SECONDS = 3600
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def typed(line, directory, seconds):
    """A line of the document as it is typed."""
    return subprocess.run(
        ["bash", "-c", line],
        cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory, kernel):
    """A copy of the sources, in which all but the last of the commands have been typed."""
    directory = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, directory / name)
    for line in (PACKAGE, IMAGE):
        done = typed(line, directory, BUILD_SECONDS)
        assert done.returncode == 0, done.stderr
    child = pexpect.spawn(
        "bash", ["-c", MACHINE], cwd=str(directory), env=ENVIRONMENT, timeout=SECONDS, dimensions=(24, 200)
    )
    try:
        machine = Vm(child, None)
        DebianGuest(machine)
        child.sendline(AT_ITS_PROMPT)
        assert machine.end() == 0
        said = child.before.decode()
    finally:
        child.close(force=True)
    assert "A crash now would be saved to /var/crash by fadump-capture.service." in said
    return directory


def test_the_document_s_commands_lead_to_a_crash_that_is_saved_and_proven(sources):
    done = typed(REHEARSAL, sources, REHEARSAL_SECONDS)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^verified: [\d,]+ bytes of the dump compared with .*, 0 different$", done.stdout, re.MULTILINE)
    assert re.search(r"^saved: /var/crash/\w+/vmcore, ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("crash_by", ["nmi", "sysrq"])
def test_a_crash_is_saved_and_its_memory_given_back_without_a_second_reboot(tmp_path, sources, crash_by):
    done = typed(f"{REHEARSAL} --json --crash-by {crash_by} --out {tmp_path / 'out'}", sources, REHEARSAL_SECONDS)
    result = json.loads(done.stdout)
    assert (done.returncode, result["result"]) == (0, "saved"), done.stderr
    assert (result["service"], result["resets"]) == ("released", 1)
    verified = result["verified"]
    assert (verified["bytes_different"], verified["registers_different"]) == (0, [])
    assert verified["bytes_compared"] > 50 << 20
    assert Path(result["dump"]["path"]).parent.parent == Path("/var/crash")
