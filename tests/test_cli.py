"""The ``fadump`` command as a whole; each command's own tests are beside what it calls."""

import json
import subprocess
import sys

import pytest

from fadump.cli import main
from fadump.vmcore.flattened import END_OF_STREAM
from tests.vmcore.core_builder import Load, build_core, note


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


@pytest.mark.parametrize("words", ["check {dump}", "check {dump} --json", "save {dump} -", "save {dump} {out}"])
@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "<&- >&- 2>&-", ">/dev/full"])
def test_a_stdout_that_nothing_can_be_written_to_is_one_sentence(tmp_path, words, closed):
    dump, out = tmp_path / "dump", tmp_path / "out"
    dump.write_bytes(build_core([Load(0, bytes(0x1000))], [note("VMCOREINFO", 0, b"PAGESIZE=4096\n")]))
    command = f"{sys.executable} -m fadump {words.format(dump=dump, out=out)} {closed}"
    done = subprocess.run(["bash", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    if "2>" not in closed:
        sentences = [line for line in done.stderr.splitlines() if line.startswith("fadump: ")]
        assert len(sentences) == 1 and "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_a_closed_stderr_leaves_a_stream_as_it_is(tmp_path):
    dump, flat = tmp_path / "dump", tmp_path / "flat"
    dump.write_bytes(build_core([Load(0, bytes(0x1000))], [note("VMCOREINFO", 0, b"PAGESIZE=4096\n")]))
    command = f"{sys.executable} -m fadump save {dump} - >{flat} 2>&-"
    subprocess.run(["bash", "-c", command], check=True)
    assert flat.read_bytes().endswith(END_OF_STREAM)


@pytest.mark.parametrize("command", ["check", "show", "dmesg"])
def test_a_file_that_is_not_there_is_told_in_json_too(tmp_path, command, capsys):
    assert main([command, str(tmp_path / "nothing"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "result": "failed",
        "error": f"{tmp_path / 'nothing'}: No such file or directory",
    }
