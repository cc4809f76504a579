"""FADump's files are those of real Linux: one script, files.sh, run in QEMU and in ``fadump shell``, says the same.

What is made the same before is in :func:`comparable`, each with its reason.
"""

import re
import subprocess
from pathlib import Path

import pytest

from fadump.abi.platform import Platform
from tests.linux.fadump_command import COMMAND, RUN_SECONDS
from tests.linux.scenario import MEMORY_BYTES, Scenario

SCRIPT = Path(__file__).with_name("files.sh")
BETWEEN = "=== capture boot\n"
IN_SHELL = f"sh {SCRIPT} && echo c >/proc/sysrq-trigger && echo '{BETWEEN.strip()}' && sh {SCRIPT}"
REAL_INIT = "rdinit=/fadump/init"


@pytest.fixture(scope="module", params=list(Platform))
def said(request, tmp_path_factory, kernel):
    """What the script says in real Linux and in the shell, in both boots."""
    platform = request.param
    with Scenario(tmp_path_factory.mktemp("files"), kernel, platform=platform) as scenario:
        scenario.hello()
        real = scenario.run(SCRIPT.read_text()) + BETWEEN
        scenario.crash()
        real += scenario.run(SCRIPT.read_text())
    machine = ["--platform", platform, "--memory", f"{MEMORY_BYTES[platform] >> 20}M", "--cmdline", REAL_INIT]
    done = subprocess.run(
        [*COMMAND, "shell", *machine, "-c", IN_SHELL], capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return comparable(real, platform), comparable(done.stdout, platform)


def comparable(text, platform):
    """Without what is another machine's or a guest's, not FADump's."""
    # The same words in another order: a run's own come first on QEMU, last in the shell.
    text = re.sub(rf"console=hvc0 ({REAL_INIT} )?panic=5 fadump=on( {REAL_INIT})?", "COMMAND LINE", text)
    # Its size depends on how much memory skiboot has.
    text = re.sub(r"(mpipl/core 400) \d+", r"\1 SIZE", text)
    # This guest's shell says what timeout(1) has ended.
    lines = [line for line in text.splitlines() if line != "Terminated"]
    if platform is Platform.POWERNV:  # skiboot has more memory of its own, in more pieces
        lines = [line for line in lines if "reserved-ranges" not in line and "freeing reserved memory" not in line]
    return lines


def test_the_script_comes_to_its_end_in_both_boots(said):
    for lines in said:
        assert lines.count("== the end") == 2
        assert "1 to /sys/kernel/fadump/release_mem: done" in lines


def test_the_files_are_linuxs(said):
    real, model = said
    assert model == real
