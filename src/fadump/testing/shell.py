"""``fadump.shell()``: a script of this computer's on the embedded machine's files, as a function for tests."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from fadump.errors import MachineError
from fadump.mount.shell import run_shell
from fadump.printable import printable
from fadump.run.options import RunOptions
from fadump.testing.choices import checked_options


def shell(
    script: str,
    *,
    platform: str = "pseries",
    memory: int | str | None = None,
    cpus: int = 2,
    cmdline: str = "",
    kernel_version: str | None = None,
    page_size: str | None = None,
    faults: Sequence[str] = (),
) -> str:
    """Run a shell script where /proc, /sys/kernel and /sys/firmware are those of a machine with a model of Linux, which
    has registered; return what it prints.

    All other files and all programs are this computer's. Writing ``c`` to /proc/sysrq-trigger crashes the machine, and
    the script goes on in the capture kernel, which has a /proc/vmcore. The arguments are the options of ``fadump
    shell`` that are called so.

    :raises MachineError: the script has ended with another status than 0; the sentence has what it has printed.
    :raises SetupError: there is no FUSE, or this computer allows no mount namespace.
    :raises UsageError: an argument can't be, or two don't go together.
    """
    typed = RunOptions(out=Path(), cpus=cpus, cmdline=cmdline)
    options = checked_options(typed, platform, memory, kernel_version, page_size, faults)
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        status = run_shell(options, ["sh", "-c", f"exec 2>&1\n{script}"], stdout=output)
        output.seek(0)
        said = output.read()
    if status:
        said = printable(said.strip()) or "it has printed nothing"
        raise MachineError(f"the script has ended with status {status}: {said}")
    return said
