"""GRUB and initrds that are too large for low memory: a GRUB that knows of FADump, and one that doesn't.

SLOF's device tree has the dump in it, as on PowerVM: the former keeps out of it, whatever comes of that.
"""

import os

import pytest

from fadump.errors import MachineError
from fadump.kit.initramfs import build_initramfs
from fadump.kit.kernel import build_kernel
from tests.real_linux.boot_disk import Grub
from tests.real_linux.conftest import SUITES
from tests.real_linux.grub_scenario import GrubScenario
from tests.real_linux.scenario import MIB

MEMORY_BYTES = 2048 * MIB
BOOT_MEMORY_BYTES = 512 * MIB
"""What such a machine's command line asks for."""
FIRMWARES_BYTES = 8 * MIB
"""What SLOF and prom_init touch above boot memory is 4.4 MiB; GRUB 2.14, not told of a dump, 17."""


@pytest.fixture(scope="module")
def kernel():
    """The default kernel."""
    return build_kernel()


@pytest.fixture(scope="module")
def knowing_grub(tmp_path_factory):
    """Debian's GRUB 2.14."""
    return Grub(tmp_path_factory.mktemp("knowing"), SUITES)


@pytest.fixture(scope="module")
def unknowing_grub(tmp_path_factory):
    """Debian's GRUB 2.06."""
    return Grub(tmp_path_factory.mktemp("unknowing"), ["bookworm"])


def initrd(directory, mib):
    """Our initramfs behind so many MiB of zeros, which Linux skips."""
    path = directory / "initrd"
    path.touch()
    os.truncate(path, mib * MIB)
    with path.open("ab") as file:
        file.write(build_initramfs().read_bytes())
    return path


def test_a_grub_that_knows_of_the_dump_keeps_out_of_it(tmp_path, kernel, knowing_grub):
    with GrubScenario(
        tmp_path, knowing_grub, kernel, memory_bytes=MEMORY_BYTES, initrd=initrd(tmp_path, 400)
    ) as scenario:
        scenario.hello()
        scenario.crash()
        assert scenario.trees[-1].initrd().end < BOOT_MEMORY_BYTES
        assert 0 < scenario.machine.served.put_back_bytes < FIRMWARES_BYTES
        dump = scenario.save()
        assert (dump.verdict.same, dump.verdict.memory.bytes_different) == (True, 0)
        scenario.back_to_production()


def test_it_rather_boots_without_an_initrd_than_overwrite_the_dump(tmp_path, kernel, knowing_grub):
    with GrubScenario(
        tmp_path, knowing_grub, kernel, memory_bytes=MEMORY_BYTES, initrd=initrd(tmp_path, 600)
    ) as scenario:
        scenario.hello()
        assert scenario.trees[-1].initrd().end > BOOT_MEMORY_BYTES
        with pytest.raises(MachineError, match="Unable to mount root fs"):
            scenario.crash()
        assert scenario.has_dump[-2:] == [False, True]
        assert scenario.trees[-1].initrd() is None


def test_a_grub_that_knows_of_nothing_overwrites_the_dump_and_that_is_told(tmp_path, kernel, unknowing_grub):
    with GrubScenario(
        tmp_path, unknowing_grub, kernel, memory_bytes=MEMORY_BYTES, initrd=initrd(tmp_path, 600)
    ) as scenario:
        scenario.hello()
        with pytest.raises(MachineError, match="loaded over .* MiB of the crashed kernel's memory, from 0x20000000 on"):
            scenario.crash()
