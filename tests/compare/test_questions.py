"""The script that asks a guest, run here by a shell, and what is made of its output."""

import subprocess

import pytest

from fadump.compare.questions import Messages, Names, Read, Write, numbered, parse, script
from fadump.errors import FormatError


def ask(*questions):
    output = subprocess.run(["bash"], input=script(questions), capture_output=True, text=True, check=True).stdout
    return list(parse(questions, output).values())


@pytest.mark.parametrize("text", ["", "1\n", "1", "two\nlines\n", "\n@answer or so\n", "absent", " "])
def test_a_file_is_read_with_its_mode_to_the_byte(tmp_path, text):
    file = tmp_path / "a file"
    file.write_text(text)
    file.chmod(0o640)
    assert ask(Read(str(file)))[0] == f"640 {text}"


def test_what_is_not_there_and_what_cannot_be_read(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    link_to_file = tmp_path / "link to a file"
    (tmp_path / "file").write_text("x")
    link_to_file.symlink_to("file")
    (tmp_path / "file").chmod(0o600)
    found = ask(Read(str(tmp_path / "nothing")), Read(str(link)), Read(str(link_to_file)))
    assert found[0] == "absent"
    assert found[1].endswith(", can't be read: Is a directory")
    assert found[2] == "600 x"


@pytest.mark.parametrize("text", ["1\n", "", "-1", "'\"$x`\\", "\x01\0\n", "é"])
def test_a_text_is_written_to_the_byte(tmp_path, text):
    file = tmp_path / "file"
    file.touch()
    assert ask(Write(str(file), text)) == ["done"]
    assert file.read_bytes() == text.encode()


def test_what_cannot_be_written_says_why_and_what_is_not_there_is_not_made(tmp_path):
    assert ask(Write("/dev/full", "x"), Write(str(tmp_path / "new"), "x")) == ["No space left on device", "absent"]
    assert not (tmp_path / "new").exists()


def test_names_are_sorted(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).touch()
    assert ask(Names(str(tmp_path)), Names(str(tmp_path / "nothing"))) == ["a\nb", ""]


def test_a_question_that_is_asked_again_has_a_name_of_its_own():
    names = [name for _question, name in numbered([Read("/a"), Messages(), Read("/a"), Write("/a", "1\n")])]
    assert names == ["read /a", "messages", "read /a (2)", "write '1\\n' to /a"]


@pytest.mark.parametrize("output", ["", "\n@answer 0@444\n1", "rubbish", "\n@answer 1@\n@answer 0@"])
def test_output_that_is_cut_or_not_the_scripts_is_refused(output):
    with pytest.raises(FormatError, match="a mark is missing"):
        parse([Read("/a")], output)
