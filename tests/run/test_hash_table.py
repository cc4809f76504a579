"""The file of a run that has what is preserved of the hash page table, and the options about it, with the model."""

import json
import struct

import pytest

from fadump.cli import main


@pytest.fixture
def ran(tmp_path, capsys):
    def ran(*options):
        status = main(["run", "--json", "--verify", "--out", str(tmp_path / "out"), "--memory", "1G", *options])
        return status, json.loads(capsys.readouterr().out)

    return ran


def modes(directory):
    return {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir() if path.name.startswith("hpte")}


def test_a_hash_guests_table_is_a_file_and_proven(ran, tmp_path):
    status, told = ran("--cpu-model", "POWER8")
    assert (status, told["result"]) == (0, "saved")
    assert told["verified"]["hash_table"] == {"bytes_compared": 4096, "bytes_different": 0, "not_compared": None}
    table = (tmp_path / "out" / "hpte").read_bytes()
    valid = [virtual & 1 for virtual, _real in struct.iter_unpack(">QQ", table)]
    assert len(valid) == 256 and any(valid)
    assert modes(tmp_path / "out") == {"hpte": 0o600}


def test_each_cycle_has_its_own_and_the_next_run_sets_them_aside(ran, tmp_path):
    options = ["--cpu-model", "POWER8", "--hpte-size", "128K"]
    assert ran(*options, "--cycles", "2")[0] == 0
    first, second = [(tmp_path / "out" / f"hpte.{number}").read_bytes() for number in (1, 2)]
    assert len(first) == len(second) == 128 << 10 and first != second
    assert ran(*options)[0] == 0
    assert modes(tmp_path / "out") == {"hpte": 0o600}
    assert modes(tmp_path / "out" / "earlier-1") == {"hpte.1": 0o600, "hpte.2": 0o600}


def test_a_large_machines_table_takes_no_more_memory_than_is_looked_at(ran):
    status, told = ran("--cpu-model", "POWER8", "--memory", "8T")
    assert (status, told["verified"]["hash_table"]["bytes_different"]) == (0, 0)


@pytest.mark.parametrize("options", [[], ["--cpu-model", "POWER8", "--hpte-size", "0"]], ids=["radix", "none wanted"])
def test_without_a_section_there_is_no_file(ran, tmp_path, options):
    status, told = ran(*options)
    assert (status, "hash_table" in told["verified"]) == (0, False)
    assert modes(tmp_path / "out") == {}


def test_a_spoilt_table_is_different(ran):
    status, told = ran("--cpu-model", "POWER8", "--fault", "hpte=shifted")
    assert (status, told["result"]) == (1, "different")
    assert told["verified"]["bytes_different"] == 0
    assert told["verified"]["hash_table"]["bytes_different"] > 0
    assert "in the hash page table" in told["error"]


def test_the_firmware_offers_what_a_prototype_wants(ran, tmp_path):
    status, told = ran("--cpu-state-size", "1M", "--hpte-size", "64K", "--reserved", "320M..321M")
    assert (status, told["result"]) == (0, "saved")
    log = (tmp_path / "out" / "firmware.log").read_text()
    assert "preserved type 0x1: 0x100000 of 0x100000 bytes from 0x0 to 0x14100000" in log  # behind what is reserved
    assert "preserved type 0x2: 0x10000 of 0x10000 bytes" in log
    assert (tmp_path / "out" / "hpte").read_bytes() == bytes(64 << 10)  # a radix guest has no table


def test_too_little_room_for_registers_loses_the_dump_as_linux_has_it(ran):
    status, told = ran("--cpu-state-size", "1K")
    assert status == 1
    assert "Dump taken by platform is not valid (0)" in told["error"]
