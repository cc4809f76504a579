"""Opening a crashed system: what is given with the dump is looked at before the dump is."""

import pytest

import fadump
from fadump.errors import FadumpError
from tests.linux.kernel_builder import FakeKernel


def test_a_vmlinux_that_is_not_there_is_refused_before_anything_is_read(tmp_path):
    vmcore = tmp_path / "vmcore"
    vmcore.write_bytes(FakeKernel().core())
    with pytest.raises(FileNotFoundError) as error:
        fadump.open(vmcore, vmlinux=tmp_path / "vmlinux")
    assert error.value.filename == str(tmp_path / "vmlinux")
    with pytest.raises(FadumpError, match="is a directory"):
        fadump.open(vmcore, vmlinux=tmp_path)
