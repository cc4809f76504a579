"""A boot through a kernel with CONFIG_PRESERVE_FA_DUMP, as powernv machines have it in front of the system's own."""

import pytest

from fadump.abi.platform import Platform
from fadump.abi.powernv.kernel_metadata import KernelMetadata
from fadump.cli import main
from fadump.firmware.contract import State
from tests.machine.embedded.bench import bench

PRESERVING = "fadump: Preserving crash data for processing in next boot."


def test_the_dump_goes_through_it_unharmed(tmp_path, capsys):
    options = ["--platform", "powernv", "--petitboot", "--verify", "--json", "--cycles", "2"]
    assert main(["run", *options, "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert (tmp_path / "out" / "console.log").read_text().count(PRESERVING) == 2


def test_it_says_what_it_preserves():
    with bench(Platform.POWERNV, petitboot=True) as guest:
        guest.to_capture()
        _before, _said, after = guest.log.partition(PRESERVING)
        assert "fadump: Reserving 3328MB of memory at 0x00000030000000 for preserving crash data" in after
        guest.to_production()


def test_without_boot_memorys_top_the_dump_is_overwritten(tmp_path, capsys):
    options = ["--platform", "powernv", "--petitboot", "--verify", "--fault", "query-boot-mem-tag=parameter"]
    assert main(["run", *options, "--out", str(tmp_path / "out")]) == 1
    log = (tmp_path / "out" / "console.log").read_text()
    assert "opal fadump: Failed to get boot memory tag (-1)" in log and PRESERVING not in log


@pytest.mark.parametrize("spoil", ["unregistered", "nowhere"])
def test_without_registered_ranges_there_is_nothing_to_preserve(spoil):
    def tamper(guest):
        (at,) = {call.args[1] for call in guest.calls if call.args[0] == 2 and call.token == 174}
        data = KernelMetadata().encode() if spoil == "unregistered" else b"\xff" * 16
        guest.machine.memory.write(at, data)

    with bench(Platform.POWERNV, petitboot=True) as guest:
        guest.on_dump = tamper
        guest.to_capture()
        assert PRESERVING not in guest.log
        assert guest.firmware.state is not State.IDLE
