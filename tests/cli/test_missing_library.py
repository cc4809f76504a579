"""A host without the library that a dump is packed with: the sentence says how to get it, and what needs no page is
shown."""

import json

import pytest

from fadump.cli import check, dmesg, show
from fadump.vmcore import codecs
from tests.linux.crashed_kernel import INNER, crashed_kernel
from tests.vmcore.core_builder import prstatus
from tests.vmcore.kdump_builder import Kdump, build_kdump


def packed_with_lzo():
    kernel = crashed_kernel()
    size = kernel.page_bytes
    pages = {number: bytes(kernel.memory[number * size :][:size]) for number in range(len(kernel.memory) // size)}
    layout = {"pages": len(pages), "page_bytes": size, "codec": "lzo", "version": 4}
    notes = b"".join(prstatus(registers) for registers in kernel.cpus)
    return build_kdump(Kdump(pages, **layout, vmcoreinfo=kernel.vmcoreinfo(), notes=notes))


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
@pytest.mark.parametrize("command", [dmesg, check])
def test_without_the_library_nothing_is_shown_as_missing_from_the_dump(run_command, command):
    status, out, err = run_command(command, packed_with_lzo(), "--json")
    assert status == 125
    assert "apt-get install liblzo2-2" in json.loads(out)["error"] and err.count("fadump: ") == 1


@pytest.mark.usefixtures("without_lzo")
def test_without_the_library_the_header_is_shown_and_what_else_needs_no_page(run_command, tmp_path):
    status, out, err = run_command(show, packed_with_lzo(), "--json")
    told = json.loads(out)
    lacking = "pages packed with LZO need libno-such-thing.so.9, which isn't here: apt-get install liblzo2-2"
    assert (status, told["result"], told["missing"]) == (1, "incomplete", [lacking])
    assert (told["error"], err) == (f"{tmp_path / 'file'}: {lacking}", f"fadump: {lacking}\n")
    assert (told["kind"], told["format"], told["release"]) == ("dump", "kdump", "6.12.0-fake")
    assert told["memory"] and told["page_size"] == 65536
    assert (told["panic"], told["pages"]) == (None, None)
    assert [(cpu["number"], cpu["registers"]["nip"]) for cpu in told["cpus"]] == [(None, INNER + 4)]
    status, out, err = run_command(show, packed_with_lzo())
    assert status == 1 and out.startswith("Kernel   Linux 6.12.0-fake, ppc64le\n")
