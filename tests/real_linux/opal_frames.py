"""Where OPAL's core has its crashing CPU, as gdb sees it."""

import re
import subprocess
import sys


def opal_frames(core, symbols):
    """The functions on its stack, innermost first, with the symbols that are written to a file of this name."""
    subprocess.run([sys.executable, "-m", "fadump", "show", core, "--write-symbols", symbols], check=True)
    command = ["gdb-multiarch", "--batch", "-nx", symbols, core, "-ex", "echo == bt\\n", "-ex", "bt"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    _before, _mark, backtrace = done.stdout.partition("== bt\n")
    return re.findall(r"^#\d+ +0x[0-9a-f]+ in (\S+)", backtrace, re.MULTILINE)
