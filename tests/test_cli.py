"""The ``fadump`` command as a whole; each command's own tests are beside what it calls."""

import subprocess
import sys

import pytest

from fadump.cli import main


def test_the_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    for command in ("run", "save", "show", "dmesg", "check", "plan", "kernel", "qemu"):
        assert command in listed


def test_a_command_that_there_is_not_is_answered_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit) as error:
        main(["shwo"])
    assert error.value.code == 2
    assert "'dmesg'" in capsys.readouterr().err


def test_a_command_imports_nothing_of_the_others():
    program = (
        "import sys; from fadump.cli import main\n"
        "try: main(['show', '--help'])\n"
        "except SystemExit: print(*[name for name in sys.modules if name.startswith('fadump.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    assert "fadump.cli.show" in modules
    assert not {"fadump.cli.run", "fadump.machine", "fadump.kernel", "fadump.kit"} & set(modules)
