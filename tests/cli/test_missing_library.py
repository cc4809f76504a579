"""A host without the library that a dump is packed with: nothing is tried, and the sentence says how to get it."""

import json

import pytest

from fadump.cli import dmesg, show
from fadump.vmcore import codecs
from tests.linux.crashed_kernel import crashed_kernel
from tests.vmcore.kdump_builder import Kdump, build_kdump


def packed_with_lzo():
    kernel = crashed_kernel()
    size = kernel.page_bytes
    pages = {number: bytes(kernel.memory[number * size :][:size]) for number in range(len(kernel.memory) // size)}
    return build_kdump(
        Kdump(pages, pages=len(pages), page_bytes=size, codec="lzo", version=3, vmcoreinfo=kernel.vmcoreinfo())
    )


@pytest.fixture
def without_lzo(monkeypatch):
    codecs.lzo_function.cache_clear()
    monkeypatch.setattr(codecs, "_LZO_LIBRARY", "libno-such-thing.so.9")
    yield
    codecs.lzo_function.cache_clear()


@pytest.mark.parametrize("command", [show, dmesg])
def test_with_the_library_the_dump_is_read(run_command, command):
    _status, out, _err = run_command(command, packed_with_lzo())
    assert "sysrq" in out


@pytest.mark.usefixtures("without_lzo")
@pytest.mark.parametrize("command", [show, dmesg])
def test_without_the_library_nothing_is_shown_as_missing_from_the_dump(run_command, command):
    status, out, err = run_command(command, packed_with_lzo(), "--json")
    assert status == 125
    assert "apt-get install liblzo2-2" in json.loads(out)["error"] and err.count("\n") == 1
