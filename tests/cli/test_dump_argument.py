import pytest

from fadump.cli import main
from tests.linux.crashed_kernel import crashed_kernel


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "console.log").write_text("no dump")
    (tmp_path / "empty").touch()
    (tmp_path / "deeper").mkdir()
    return tmp_path


@pytest.mark.parametrize("place", ["vmcore", "dump.202611291148", "by any name", "deeper/vmcore"])
@pytest.mark.parametrize("command", ["show", "dmesg"])
def test_the_dump_in_a_directory_is_taken(directory, capsys, command, place):
    (directory / place).write_bytes(crashed_kernel().core())
    assert main([command, str(directory)]) == 0
    of_directory = capsys.readouterr()
    assert main([command, str(directory / place)]) == 0
    assert capsys.readouterr() == of_directory and "sysrq triggered crash" in of_directory.out


def test_one_right_in_it_goes_before_those_deeper(directory, capsys):
    for place in ("vmcore", "deeper/vmcore"):
        (directory / place).write_bytes(crashed_kernel().core())
    assert main(["show", str(directory)]) == 0


def test_several_are_named(directory, capsys):
    for place in ("vmcore", "a\nb"):
        (directory / place).write_bytes(crashed_kernel().core())
    assert main(["show", str(directory)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (f"fadump: {directory}: there are 2 dumps, name one: {directory}/a\\nb, {directory}/vmcore\n")


def test_many_are_counted(directory, capsys):
    core = crashed_kernel().core()
    for number in range(11):
        (directory / f"vmcore.{number:02}").write_bytes(core)
    assert main(["show", str(directory)]) == 1
    err = capsys.readouterr().err
    assert "there are 11 dumps" in err and err.endswith("vmcore.07, 3 more\n")


def test_a_directory_without_one_says_so(directory, capsys):
    (directory / "link").symlink_to(directory / "nowhere")
    assert main(["show", str(directory)]) == 1
    assert capsys.readouterr().err == f"fadump: {directory}: there is no dump in this directory\n"
