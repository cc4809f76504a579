"""A big-endian kernel on both platforms, and by GRUB: its dump is right, and gdb reads its registers.

Debian has no user space for it, so that the guest's only program is big_endian_init.c.
"""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from fadump.abi.platform import Platform
from fadump.kit.kernel import build_kernel
from fadump.kit.kernel_config import read_fragment
from fadump.kit.newc import NewcWriter
from fadump.linux.system import CrashedSystem
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.machine import QemuMachine
from fadump.observer import Seen, Unwatched
from fadump.proof.verify import Verifier
from fadump.run.output import OutputDirectory
from fadump.session import PoweredOffError, Session
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.machine.qemu.gdb_script import free_port
from tests.real_linux.boot_disk import Grub, boots_from
from tests.real_linux.gdb_session import GDB_SECONDS, functions, gdb_session
from tests.real_linux.scenario import FIRMWARE, MEMORY_BYTES, MIB

HERE = Path(__file__).parent
CMDLINE = "console=hvc0 fadump=on"
GCC = ["powerpc64le-linux-gnu-gcc", "-mbig-endian", "-mabi=elfv2", "-Os", "-Wall", "-Werror", "-ffreestanding"]
GCC += ["-nostdlib", "-static", "-no-pie"]
MSR_LE, MSR_DR_IR, MSR_SF = 1, 0x30, 1 << 63
GDB_SCRIPT = """
set pagination off
set remotetimeout 60
target remote :{port}
echo == registered\\n
break panic
bt
p/x $msr
continue
echo == panic\\n
bt
x/i $pc
p/x $msr
delete
continue
"""


@pytest.fixture(scope="module")
def kernel():
    """Linux 6.12, built as big-endian."""
    return build_kernel(options={**read_fragment(HERE / "small.config"), **read_fragment(HERE / "big_endian.config")})


@pytest.fixture(scope="module")
def initrd(tmp_path_factory):
    """An initramfs with that one program."""
    directory = tmp_path_factory.mktemp("initrd")
    init = directory / "init"
    subprocess.run([*GCC, "-o", init, HERE / "big_endian_init.c"], check=True)
    with (directory / "initrd").open("wb") as stream:
        archive = NewcWriter(stream)
        archive.add_file("init", init.read_bytes(), 0o755)
        archive.close()
    return directory / "initrd"


def machine_config(way, directory, kernel, initrd):
    """A machine that QEMU or GRUB starts the kernel on; the latter's disk is seen by SLOF only."""
    platform = Platform.POWERNV if way == "powernv" else Platform.PSERIES
    started = {"kernel": kernel.bootable, "initrd": initrd, "cmdline": CMDLINE}
    if way == "GRUB":
        grub = Grub(directory, ["bookworm"])
        disk = grub.disk(directory / "disk", directory / "files", CMDLINE, kernel.bootable, initrd)
        started = {"kernel": None, "initrd": None, "cmdline": "", "extra_arguments": boots_from(disk)}
    return QemuConfig(**started, platform=platform, nodes=(MEMORY_BYTES[platform],), has_guest_channel=False)


def seen_until_power_off(session):
    with suppress(PoweredOffError):
        while True:
            session.serve()
    return [seen for seen, _at_seconds in session.record.seen]


def saved_by_fadump(vmcore, path):
    """The dump, packed and without zeros, cache, user and free pages; nothing is added to its memory."""
    command = [sys.executable, "-m", "fadump", "save", "-q", "--level", "31", "--no-registers"]
    subprocess.run([*command, vmcore, path], check=True)
    return path


@pytest.mark.parametrize("way", ["pseries", "powernv", "GRUB"])
def test_its_dump_is_right(tmp_path, kernel, initrd, way):
    config = machine_config(way, tmp_path, kernel, initrd)
    with (
        OutputDirectory(tmp_path / "out", config.nodes[0] + 128 * MIB) as output,
        Verifier() as verifier,
        QemuMachine(config, output.vmcore_fd, output.console_log) as machine,
    ):
        session = Session(machine, FIRMWARE[config.platform](), output.watch(Unwatched()), verifier)
        assert seen_until_power_off(session)[:6] == [
            *(Seen.REGISTERED, Seen.CRASHED, Seen.PRESERVED, Seen.CAPTURE_BOOT, Seen.INVALIDATED, Seen.REGISTERED),
        ]
        console = (tmp_path / "out" / "console.log").read_text(errors="replace")
        assert "Firmware-assisted dump is active" in console and "init: saved" in console
        verdict = verifier.judge(output.vmcore_on_disk, session.record.dump)
        assert (verdict.memory.bytes_different, [*verdict.registers]) == (0, [])
        assert verdict.memory.bytes_compared > 700 * MIB
        assert verdict.memory.bytes_excluded == 0 or way == "powernv"
        with open_dump(saved_by_fadump(output.vmcore_on_disk, tmp_path / "saved")) as saved:
            assert (saved.kind, saved.byte_order) == ("kdump", "big")
            assert verifier.judge_saved(saved, session.record.dump).same
        with open_dump(output.vmcore_on_disk) as dump:
            system = CrashedSystem(dump)
            assert (dump.byte_order, check_dump(dump).whole) == ("big", True)
            assert (system.kernel.machine, system.kernel.release) == ("ppc64", kernel.release)
            assert system.ending.panic == "sysrq triggered crash"
            crashed, other = sorted(system.cpus, key=lambda cpu: not cpu.crashed)
            assert (crashed.crashed, other.crashed, other.number is not None) == (True, False, True)
            assert "sysrq_handle_crash" in [frame.symbol.name for frame in crashed.backtrace.frames if frame.symbol]
            assert other.registers["msr"] & (MSR_LE | MSR_DR_IR) == MSR_DR_IR
            assert other.backtrace.frames[0].symbol is not None


def test_gdb_reads_its_registers(tmp_path, kernel, initrd):
    port = free_port()
    command = [sys.executable, "-m", "fadump", "vm", "--kernel", kernel.bootable, "--initrd", initrd]
    command += ["--cmdline", CMDLINE, "--memory", "1G", "--gdb", str(port), "--stop-at", "registered"]
    with (
        (tmp_path / "console").open("wb") as console,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.PIPE, text=True
        ) as machine,
    ):
        try:
            told = next(line for line in machine.stderr if "has registered" in line)
            said = gdb_session(tmp_path, kernel.vmlinux, GDB_SCRIPT.format(port=port))
            told += machine.communicate(timeout=GDB_SECONDS)[1]
        finally:
            machine.kill()
    assert machine.returncode == 0, told
    assert "rtas_call" in functions(said["registered"])  # without debug information gdb gets no further
    assert functions(said["panic"])[:2] == ["panic", "sysrq_handle_crash"]
    assert "<panic" in said["panic"]
    for stop in ("registered", "panic"):
        msr = int(said[stop].rpartition("= 0x")[2].split()[0], 16)
        assert msr & (MSR_SF | MSR_DR_IR | MSR_LE) == MSR_SF | MSR_DR_IR
    assert "exited normally" in said["panic"]
