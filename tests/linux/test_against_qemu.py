"""QEMU dumps a guest whose memory has a crashed Linux: no VMCOREINFO, headers of the firmware's byte order, pages of 64
KiB. All of what Linux says is found, as it was put there."""

import json
import os
import subprocess

import pytest

from fadump.capture.options import Format, SaveOptions
from fadump.linux.pages.page_class import DumpLevel, PageClass
from fadump.linux.system import CrashedSystem, open_system
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.capture.saving import save_file
from tests.linux.test_vmcoreinfo_note import guest

RAM_BYTES = 256 << 20
MACHINE = ["qemu-system-ppc64", "-machine", "pseries,memory-backend=ram", "-cpu", "POWER9", "-m", "256M"]
QUIET = ["-nodefaults", "-display", "none", "-S", "-qmp", "stdio"]


@pytest.fixture(scope="module")
def dumps(tmp_path_factory):
    """QEMU's dumps of a little-endian Linux, which is put into memory when QEMU has loaded its firmware there."""
    directory = tmp_path_factory.mktemp("qemu")
    ram = directory / "ram"
    with ram.open("wb") as file:
        os.truncate(file.fileno(), RAM_BYTES)
    backend = f"memory-backend-file,id=ram,size=256M,mem-path={ram},share=on"
    with subprocess.Popen(
        [*MACHINE, "-object", backend, *QUIET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as qemu:
        assert "QMP" in qemu.stdout.readline()
        qemu.stdin.write(json.dumps({"execute": "qmp_capabilities"}) + "\n")
        qemu.stdin.flush()
        assert "return" in qemu.stdout.readline()
        with ram.open("r+b") as file:
            file.write(guest().memory)
        requests = []
        for format_ in ("elf", "kdump-zlib"):
            where = {"paging": False, "protocol": f"file:{directory / format_}", "format": format_}
            requests.append({"execute": "dump-guest-memory", "arguments": where})
        requests.append({"execute": "quit"})
        answers, _err = qemu.communicate("".join(json.dumps(request) + "\n" for request in requests), timeout=120)
    assert '"error"' not in answers
    return directory


@pytest.mark.parametrize("format_", ["elf", "kdump-zlib"])
def test_what_linux_says_is_found(dumps, format_):
    with open_system(dumps / format_) as system:
        assert system.dump.vmcoreinfo is None
        assert (system.dump.byte_order, system.memory.byte_order) == ("big", "little")
        assert system.vmcoreinfo.text("OSRELEASE") == "6.12.0-fake"
        assert system.kernel.node == "guest"
        assert system.ending.panic == "sysrq triggered crash"
        assert system.page_classes.count(list(system.dump.memory))[PageClass.FREE] == 1
        assert check_dump(system.dump).whole


@pytest.mark.parametrize("source", ["elf", "kdump-zlib"])
@pytest.mark.parametrize("format_", list(Format))
def test_it_is_saved_with_what_was_found(dumps, tmp_path, source, format_):
    with open_dump(dumps / source) as dump:
        save_file(dump, tmp_path / "out", SaveOptions(levels=(DumpLevel(31),), format=format_))
    with CrashedSystem(open_dump(tmp_path / "out")) as system:
        assert system.dump.vmcoreinfo == guest().vmcoreinfo()
        assert [cpu.registers["nip"] for cpu in system.cpus] == [0x100]  # where QEMU's CPU waits
        assert (system.dump.machine, system.kernel.machine) == ("ppc64le", "ppc64le")
        assert system.ending.panic == "sysrq triggered crash"
