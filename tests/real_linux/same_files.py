"""FADump's files in real Linux and in ``fadump shell``: one script, files.sh, run in both, in both boots."""

import re
import subprocess
from pathlib import Path

from fadump.abi.platform import Platform
from tests.real_linux.fadump_command import COMMAND, RUN_SECONDS
from tests.real_linux.scenario import MEMORY_BYTES, Scenario

SCRIPT = Path(__file__).with_name("files.sh")
BETWEEN = "=== capture boot\n"
IN_SHELL = f"sh {SCRIPT} && echo c >/proc/sysrq-trigger && echo '{BETWEEN.strip()}' && sh {SCRIPT}"
REAL_INIT = "rdinit=/fadump/init"


def said_by_linux_and_model(directory, kernel, platform, *options):
    """What the script says, lines of either; ``options`` make the shell's machine the same as the real one."""
    with Scenario(directory, kernel, platform=platform) as scenario:
        scenario.hello()
        real = scenario.run(SCRIPT.read_text()) + BETWEEN
        scenario.crash()
        real += scenario.run(SCRIPT.read_text())
    machine = ["--platform", platform, "--memory", f"{MEMORY_BYTES[platform] >> 20}M", "--cmdline", REAL_INIT, *options]
    done = subprocess.run(
        [*COMMAND, "shell", *machine, "-c", IN_SHELL], capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return comparable(real, platform), comparable(done.stdout, platform)


def comparable(text, platform):
    """Without what is another machine's or a guest's, not FADump's; each with its reason."""
    # The same words in another order: a run's own come first on QEMU, last in the shell.
    text = re.sub(rf"console=hvc0 ({REAL_INIT} )?panic=5 fadump=on( {REAL_INIT})?", "COMMAND LINE", text)
    # Its size depends on how much memory skiboot has.
    text = re.sub(r"(mpipl/core 400) \d+", r"\1 SIZE", text)
    # This guest's shell says what timeout(1) has ended.
    lines = [line for line in text.splitlines() if line != "Terminated"]
    if platform is Platform.POWERNV:  # skiboot has more memory of its own, in more pieces
        lines = [line for line in lines if "reserved-ranges" not in line and "freeing reserved memory" not in line]
    return lines
