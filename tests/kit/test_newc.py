"""GNU cpio and Linux read the format; cpio is asked here, Linux in tests/real_linux/test_guest_channel.py."""

import io
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fadump.kit.newc import NewcWriter

names = st.from_regex(r"[a-z0-9_.-]{1,20}", fullmatch=True).filter(lambda name: name not in (".", ".."))
contents = st.dictionaries(names, st.binary(max_size=20), max_size=8)


def archive_of(fill):
    stream = io.BytesIO()
    writer = NewcWriter(stream)
    fill(writer)
    writer.close()
    return stream.getvalue()


def cpio(*options, archive, cwd):
    done = subprocess.run(["cpio", "--quiet", *options], input=archive, cwd=cwd, capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode()


@settings(max_examples=30, deadline=None)
@given(contents)
def test_cpio_unpacks_what_was_written(tmp_path_factory, files):
    def fill(writer):
        for name, content in files.items():
            writer.add_file(name, content)

    directory = tmp_path_factory.mktemp("unpacked")
    cpio("-i", archive=archive_of(fill), cwd=directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == files


def test_cpio_lists_every_kind_with_owner_mode_and_time(tmp_path):
    def fill(writer):
        writer.add_directory("dev", 0o750)
        writer.add_device("dev/console", "c", 5, 1)
        writer.add_device("dev/disk", "b", 254, 16, 0o640)
        writer.add_file("dev/script", b"#!", 0o755)

    listed = cpio("-itv", "--numeric-uid-gid", archive=archive_of(fill), cwd=tmp_path)
    assert [line.split() for line in listed.splitlines()] == [
        ["drwxr-x---", "2", "0", "0", "0", "Jan", "1", "1970", "dev"],
        ["crw-------", "1", "0", "0", "5,", "1", "Jan", "1", "1970", "dev/console"],
        ["brw-r-----", "1", "0", "0", "254,", "16", "Jan", "1", "1970", "dev/disk"],
        ["-rwxr-xr-x", "1", "0", "0", "2", "Jan", "1", "1970", "dev/script"],
    ]


def test_the_same_content_gives_the_same_bytes_in_whole_words():
    def fill(writer):
        writer.add_directory("a")
        writer.add_file("a/b", b"12345")

    archive = archive_of(fill)
    assert archive == archive_of(fill)
    assert len(archive) % 4 == 0
    assert archive[:6] == b"070701"


@pytest.mark.parametrize("name", ["", "/etc", "a//b", "a/", "./a", "../a", "a/../b", "a\0b", "TRAILER!!!"])
def test_a_name_that_would_mean_something_else_is_refused(name):
    with pytest.raises(ValueError, match="not a name for an entry"):
        archive_of(lambda writer: writer.add_file(name, b""))


def test_a_name_is_written_once():
    def fill(writer):
        writer.add_directory("a")
        writer.add_file("a", b"")

    with pytest.raises(ValueError, match="in the archive already"):
        archive_of(fill)


def test_a_device_is_character_or_block():
    with pytest.raises(ValueError, match="not 'p'"):
        archive_of(lambda writer: writer.add_device("pipe", "p", 0, 0))
