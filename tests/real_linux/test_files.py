"""FADump's files are those of real Linux, in content, modes and errors, on both platforms and in both boots."""

import pytest

from fadump.abi.platform import Platform
from tests.real_linux.same_files import said_by_linux_and_model


@pytest.fixture(scope="module", params=list(Platform))
def said(request, tmp_path_factory, kernel):
    return said_by_linux_and_model(tmp_path_factory.mktemp("files"), kernel, request.param)


def test_the_script_comes_to_its_end_in_both_boots(said):
    for lines in said:
        assert lines.count("== the end") == 2
        assert "1 to /sys/kernel/fadump/release_mem: done" in lines


def test_the_files_are_linuxs(said):
    real, model = said
    assert model == real
