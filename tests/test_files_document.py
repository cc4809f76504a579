"""The transcripts in docs/files.md are what happens. ``python -m tests.test_files_document`` writes them anew.

Debian's kdump-config is unpacked here and runs as it is; makedumpfile is ppc64el's, in QEMU's user mode.
"""

import shlex
import tempfile
from pathlib import Path

from fadump.kit.debian import fetch, native_architecture
from fadump.kit.package_file import unpack
from tests.real_linux.conftest import SUITES
from tests.real_linux.foreign import ForeignProgram
from tests.transcript import Transcript

DOCUMENT = Path(__file__).parent.parent / "docs" / "files.md"
SMALL = ("--memory", "1G")
LAY_OVER = "mount -t overlay overlay -o lowerdir={programs}:/usr/sbin /usr/sbin || exit 1\n"
"""In the shell's own mount namespace: kdump-config looks for programs where they are installed only."""


def run_shell(directory):
    return Transcript(DOCUMENT, "shell").run(directory, *SMALL)


def run_kdump(directory):
    unpacked, programs, dumps = (directory / name for name in ("unpacked", "programs", "dumps"))
    for path in (unpacked, programs, dumps):
        path.mkdir()
    unpack(fetch("kdump-tools", ("ppc64el", native_architecture())), unpacked)
    (unpacked / "usr/sbin/kdump-config").rename(programs / "kdump-config")
    foreign = directory / "ppc64el"
    foreign.mkdir()
    command = shlex.join(ForeignProgram("makedumpfile", foreign, SUITES).command)
    wrapper = programs / "makedumpfile"
    wrapper.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    wrapper.chmod(0o755)
    return Transcript(DOCUMENT, "kdump").run(dumps, *SMALL, prelude=LAY_OVER.format(programs=programs))


def test_a_machine_in_a_shell(tmp_path):
    assert run_shell(tmp_path) == Transcript(DOCUMENT, "shell").text()


def test_debians_kdump_tools(tmp_path):
    assert run_kdump(tmp_path) == Transcript(DOCUMENT, "kdump").text()


def main():
    for name, run in (("shell", run_shell), ("kdump", run_kdump)):
        with tempfile.TemporaryDirectory() as directory:
            Transcript(DOCUMENT, name).replace(run(Path(directory)))


if __name__ == "__main__":
    main()
