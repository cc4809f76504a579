"""Systems that the boot loader of their own disk starts, GRUB old and new, from power-on to production."""

import pytest

from tests.real_linux.boot_disk import Grub
from tests.real_linux.conftest import SUITES


@pytest.mark.parametrize("suites", [["bookworm"], SUITES], ids=["GRUB 2.06", "GRUB 2.14"])
def test_a_system_with_its_own_boot_loader_passes_with_every_byte_compared(rehearse, tmp_path_factory, suites):
    status, result, said = rehearse("--verify", grub=Grub(tmp_path_factory.mktemp("grub"), suites))
    assert (status, result["result"], result.get("error")) == (0, "saved", None), said
    assert (result["service"], result["resets"], result["warnings"]) == ("released", 1, [])
    assert result["verified"]["bytes_different"] == 0 and not result["verified"]["registers_different"]
    assert result["verified"]["bytes_compared"] > 700 << 20
