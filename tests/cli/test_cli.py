"""The ``fadump`` command as a whole; each command's own tests are beside what it calls."""

import json
import os
import subprocess
import sys

import pytest

import fadump
from fadump.cli import main
from fadump.vmcore.flattened import END_OF_STREAM
from tests.linux.crashed_kernel import crashed_kernel
from tests.linux.kernel_builder import Log, Message
from tests.vmcore.core_builder import Load, build_core, note


def test_the_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    for command in ("run", "save", "show", "dmesg", "check", "plan", "kernel", "qemu"):
        assert command in listed


def test_the_version_is_said(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fadump {fadump.__version__}\n"


def test_a_command_that_there_is_not_is_answered_with_those_that_there_are(capsys):
    assert main(["shwo"]) == 2
    said = capsys.readouterr().err
    assert "choose run, vm, rehearse, size, mount" in said and said.endswith("did you mean show?\n")


def test_numpy_starts_no_threads_of_its_own():
    program = (
        "import atexit, os, sys; from fadump.__main__ import main\n"
        "atexit.register(lambda: print(len(os.listdir('/proc/self/task'))))\n"
        "sys.argv = ['fadump', 'save', '--help']; main()"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_NUM")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "1"


def test_a_command_imports_nothing_of_the_others():
    program = (
        "import sys; from fadump.cli import main\n"
        "main(['-q', 'show', '--help'])\n"
        "print(*[name for name in sys.modules if name.startswith('fadump.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    assert "fadump.cli.show" in modules
    assert not {"fadump.cli.run", "fadump.machine", "fadump.kernel", "fadump.kit"} & set(modules)


@pytest.mark.parametrize(("words", "unneeded"), [
    (["show", "{dump}"], {"difflib", "rich.progress", "rich._emoji_codes"}),
    (["check", "{dump}"], {"difflib", "rich"}),
    (["save", "{dump}", "{out}"], {"difflib", "rich"}),
])  # fmt: skip
def test_a_command_does_not_wait_for_what_only_terminals_and_wrong_words_need(tmp_path, words, unneeded):
    dump = tmp_path / "dump"
    dump.write_bytes(crashed_kernel().core())
    program = f"import sys; from fadump.cli import main; print(main(sys.argv[1:]), *({unneeded} & set(sys.modules)))"
    command = [word.format(dump=dump, out=tmp_path / "out") for word in words]
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"


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


@pytest.mark.parametrize("command", ["check", "show", "dmesg"])
def test_who_reads_no_more_of_the_output_ends_the_command(tmp_path, command):
    dump = tmp_path / "dump"
    dump.write_bytes(crashed_kernel().core())
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as out:
        done = subprocess.run([sys.executable, "-m", "fadump", command, str(dump)], stdout=out, check=False)
    assert done.returncode == 141


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_unicode_gets_escapes_and_plain_bars(tmp_path, encoding):
    kernel = crashed_kernel(with_log=False)
    Log(kernel, [Message("Kernel panic - not syncing: \N{GREEK SMALL LETTER OMEGA}".encode())])
    dump = tmp_path / "dump"
    dump.write_bytes(kernel.core())
    words = [sys.executable, "-m", "fadump", "show", str(dump)]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(words, env=environment, capture_output=True, check=True)
    lines = done.stdout.decode("ascii").splitlines()
    assert "Panic    \\u03c9" in lines
    assert any(line.startswith("kernel ") and line.endswith("##########") for line in lines)


@pytest.mark.parametrize(
    "words", ["check {dump}", "save {dump} {dump}.2", "show {cut}", "run --json", "check {dump} --json"]
)
def test_a_full_disk_of_stderr_is_not_taken_for_another(tmp_path, words):
    dump, cut = tmp_path / "dump", tmp_path / "cut"
    dump.write_bytes(crashed_kernel().core())
    cut.write_bytes(crashed_kernel().core()[:-100])
    command = f"{sys.executable} -m fadump {words.format(dump=dump, cut=cut)} 2>/dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    if "--json" in words:
        assert json.loads(done.stdout)["error"] == "standard error: No space left on device"


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2> >(true)", "2>&-"])
def test_a_capture_goes_on_though_nothing_can_be_written_to_stderr(tmp_path, stderr):
    dump, config, heard = tmp_path / "dump", tmp_path / "config", tmp_path / "heard"
    dump.write_bytes(crashed_kernel().core())
    config.write_text(
        f'save.priority = "normal"\nhooks.after = ["/bin/sh", "-c", "test -e /proc/self/fd/2 && : >{heard}"]\n'
        f'[[target]]\ntype = "directory"\npath = "{tmp_path}/crash"\n'
    )
    command = f"{sys.executable} -m fadump capture --config {config} --vmcore {dump} {stderr}"
    done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("saved: ")
    assert len([*tmp_path.glob("crash/*/vmcore")]) == 1 and heard.exists()


@pytest.mark.parametrize("words", [
    "dmesg {dump}", "show {dump}", "check {dump} --json", "plan", "plan --svg -", "help", "run", "run -v",
])  # fmt: skip
def test_a_full_disk_of_stdout_is_named(tmp_path, words):
    dump = tmp_path / "dump"
    dump.write_bytes(crashed_kernel().core())
    command = f"{sys.executable} -m fadump {words.format(dump=dump)} >/dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "fadump: standard output: No space left on device"


def test_a_full_disk_of_a_file_is_named(capsys):
    assert main(["plan", "--svg", "/dev/full", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"] == "--svg /dev/full can't be written: No space left on device"


def test_a_closed_stderr_leaves_a_stream_as_it_is(tmp_path):
    dump, flat = tmp_path / "dump", tmp_path / "flat"
    dump.write_bytes(build_core([Load(0, bytes(0x1000))], [note("VMCOREINFO", 0, b"PAGESIZE=4096\n")]))
    command = f"{sys.executable} -m fadump save {dump} - >{flat} 2>&-"
    subprocess.run(["bash", "-c", command], check=True)
    assert flat.read_bytes().endswith(END_OF_STREAM)


@pytest.mark.parametrize("words", [
    ["mount", ""], ["check", ""], ["show", ""], ["dmesg", ""], ["save", "", "x"], ["save", "x", ""],
    ["run", "--out", ""], ["run", "--kernel", ""], ["plan", "--svg", ""], ["compare", "--out", ""],
])  # fmt: skip
def test_an_empty_name_is_not_the_working_directory(words, capsys):
    assert main(words) == 2
    assert "a file needs a name, and this one is empty" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "show", "dmesg"])
def test_a_file_that_is_not_there_is_told_in_json_too(tmp_path, command, capsys):
    assert main([command, str(tmp_path / "nothing"), "--json"]) == 125
    assert json.loads(capsys.readouterr().out) == {
        "result": "failed",
        "error": f"{tmp_path / 'nothing'}: No such file or directory",
        "phase": None,
    }
