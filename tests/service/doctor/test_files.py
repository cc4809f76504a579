"""A tree that was copied from a system: its links lead where they would lead there, never out of it."""

import os

import pytest

from fadump.service.doctor.files import SystemFiles


@pytest.fixture
def files(tmp_path):
    root = tmp_path / "root"
    (root / "etc/inner").mkdir(parents=True)
    (root / "etc/file").write_text("inside\n")
    (tmp_path / "outside").write_text("outside\n")
    return SystemFiles(root)


@pytest.mark.parametrize("target", ["/etc/file", "../../etc/file", "../../../../../etc/file", "./../file", "../other"])
def test_links_are_followed_within_the_tree(files, target):
    (files.directory / "etc/other").symlink_to("file")
    (files.directory / "etc/inner/link").symlink_to(target)
    assert files.text("/etc/inner/link") == "inside\n"


@pytest.mark.parametrize("target", ["/../outside", "../../../outside", "/nothing", "loop"])
def test_no_link_leads_out_of_it(files, target):
    (files.directory / "etc/inner/loop").symlink_to(target)
    name = "/etc/inner/loop"
    assert files.text(name) is files.number(name) is files.size_bytes(name) is None
    assert not files.exists(name) and not files.is_directory(name) and files.names(name) == []
    assert files.is_named(name) and not files.is_masking(name)


def test_a_directory_may_be_a_link_too(files):
    (files.directory / "lib").symlink_to("/etc/inner")
    (files.directory / "etc/inner/a").write_text(" 0x10\n")
    assert (files.names("/lib"), files.number("/lib/a"), files.size_bytes("/lib/a")) == (["a"], 16, 6)
    assert files.is_directory("/lib") and not files.is_directory("/lib/a")


def test_what_has_no_end_is_not_read(files):
    os.mkfifo(files.directory / "etc/pipe")
    (files.directory / "etc/long").write_bytes(b"x" * (2 << 20))
    (files.directory / "etc/word").write_bytes(b"\xff 1\n")
    assert files.text("/etc/pipe") is None and files.text("/etc/inner") is None
    assert len(files.text("/etc/long")) == 1 << 20
    assert files.number("/etc/word") is None


@pytest.mark.parametrize(("target", "masks"), [("/dev/null", True), ("../dev/null", True), ("/etc/file", False)])
def test_what_stands_for_nothing(files, target, masks):
    (files.directory / "etc/rules").symlink_to(target)
    assert files.is_masking("/etc/rules") is masks
    (files.directory / "etc/empty").write_text("")
    assert files.is_masking("/etc/empty") and not files.is_masking("/etc/file")


def test_records_of_the_kernel_s_log_have_levels_and_keys(files):
    (files.directory / "dev").mkdir()
    (files.directory / "dev/kmsg").write_text(
        "30,1,5,-;daemon's\n SUBSYSTEM=cpu\n3,2,9,-;kernel's; all of it\ngarbage\n"
    )
    assert list(files.kernel_log()) == [(6, "daemon's"), (3, "kernel's; all of it")]


def test_the_running_system_is_where_it_is_looked_for():
    assert SystemFiles().text("/proc/sys/kernel/osrelease") == f"{os.uname().release}\n"
