"""A host without the library that a dump is packed with: the sentence says how to get it, and what needs no page is
shown."""

import json
import sys

import pytest

from fadump.cli import check, dmesg, main, show
from fadump.vmcore import codecs, snappy
from tests.linux.crashed_kernel import INNER, crashed_kernel
from tests.vmcore.core_builder import prstatus
from tests.vmcore.kdump_builder import Kdump, build_kdump

LACKING = {
    "lzo": "pages packed with LZO need libno-such-thing.so.9, which isn't here: apt-get install liblzo2-2",
    "snappy": "pages packed with Snappy need the Python package cramjam, which isn't here: pip install cramjam, "
    "or apt-get install libsnappy1v5",
}

codec = pytest.mark.parametrize("codec", LACKING)


def packed(codec):
    kernel = crashed_kernel()
    size = kernel.page_bytes
    pages = {number: bytes(kernel.memory[number * size :][:size]) for number in range(len(kernel.memory) // size)}
    layout = {"pages": len(pages), "page_bytes": size, "codec": codec, "version": 4}
    notes = b"".join(prstatus(registers) for registers in kernel.cpus)
    return build_kdump(Kdump(pages, **layout, vmcoreinfo=kernel.vmcoreinfo(), notes=notes))


@pytest.fixture
def without_libraries(monkeypatch):
    for cached in (codecs.lzo_function, snappy.find_snappy):
        cached.cache_clear()
    monkeypatch.setattr(codecs, "_LZO_LIBRARY", "libno-such-thing.so.9")
    monkeypatch.setattr(snappy, "_LIBRARY", "libno-such-thing.so.9")
    monkeypatch.setitem(sys.modules, "cramjam", None)
    yield
    for cached in (codecs.lzo_function, snappy.find_snappy):
        cached.cache_clear()


@codec
@pytest.mark.parametrize("command", [show, dmesg])
def test_with_the_library_the_dump_is_read(run_command, command, codec):
    _status, out, _err = run_command(command, packed(codec))
    assert "sysrq" in out


@codec
@pytest.mark.usefixtures("without_libraries")
@pytest.mark.parametrize("command", [dmesg, check])
def test_without_the_library_nothing_is_shown_as_missing_from_the_dump(run_command, command, codec):
    status, out, err = run_command(command, packed(codec), "--json")
    assert status == 125
    assert LACKING[codec] in json.loads(out)["error"] and err.count("fadump: ") == 1


@codec
@pytest.mark.usefixtures("without_libraries")
def test_without_the_library_the_header_is_shown_and_what_else_needs_no_page(run_command, tmp_path, codec):
    status, out, err = run_command(show, packed(codec), "--json")
    told = json.loads(out)
    lacking = LACKING[codec]
    assert (status, told["result"], told["missing"]) == (1, "incomplete", [lacking])
    assert (told["error"], err) == (f"{tmp_path / 'file'}: {lacking}", f"fadump: {lacking}\n")
    assert (told["kind"], told["format"], told["release"]) == ("dump", "kdump", "6.12.0-fake")
    assert told["memory"] and told["page_size"] == 65536
    assert (told["panic"], told["pages"]) == (None, None)
    assert [(cpu["number"], cpu["registers"]["nip"]) for cpu in told["cpus"]] == [(None, INNER + 4)]
    status, out, err = run_command(show, packed(codec))
    assert status == 1 and out.startswith("Kernel   Linux 6.12.0-fake, ppc64le\n")


@codec
@pytest.mark.usefixtures("without_libraries")
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_without_the_library_no_dump_is_begun_that_would_be_packed_with_it(tmp_path, capsys, codec, more):
    (tmp_path / "vmcore").write_bytes(packed("zlib"))
    words = ["save", str(tmp_path / "vmcore"), str(tmp_path / "saved"), "--compress", codec, "-q", *more]
    assert main(words) == 125
    assert capsys.readouterr().err == f"fadump: {LACKING[codec]}\n"
    assert {path.name for path in tmp_path.iterdir()} == {"vmcore"}


@codec
@pytest.mark.usefixtures("without_libraries")
def test_without_the_library_an_elf_core_is_saved(tmp_path, codec):
    (tmp_path / "vmcore").write_bytes(packed("zlib"))
    words = ["save", str(tmp_path / "vmcore"), str(tmp_path / "saved"), "--format", "elf", "-q"]
    assert main([*words, "--compress", codec]) == 0


@codec
@pytest.mark.usefixtures("without_libraries")
def test_without_the_library_no_machine_is_started_whose_dump_would_be_packed_with_it(tmp_path, capsys, codec):
    assert main(["run", "--save-compress", codec, "--out", str(tmp_path / "out")]) == 125
    assert capsys.readouterr().err == f"fadump: {LACKING[codec]}\n"
    assert [*tmp_path.iterdir()] == []


@codec
@pytest.mark.usefixtures("without_libraries")
def test_without_the_library_no_capture_is_begun_that_would_pack_with_it(tmp_path, capsys, codec):
    (tmp_path / "vmcore").write_bytes(packed("zlib"))
    config = tmp_path / "fadump.toml"
    config.write_text(
        f'[save]\ncompress = "{codec}"\n[hooks]\nbefore = ["touch", "{tmp_path}/before"]\n'
        f'[[target]]\ntype = "directory"\npath = "{tmp_path}/crash"\n'
    )
    assert main(["capture", "--config", str(config), "--vmcore", str(tmp_path / "vmcore")]) == 125
    assert capsys.readouterr().err == f"fadump: {LACKING[codec]}\n"
    assert {path.name for path in tmp_path.iterdir()} == {"vmcore", "fadump.toml"}


@pytest.mark.usefixtures("without_libraries")
def test_the_version_says_which_codecs_are_not_here(capsys):
    assert main(["version", "-v"]) == 0
    assert capsys.readouterr().out.splitlines()[3:5] == ["lzo    not here", "snappy not here"]
