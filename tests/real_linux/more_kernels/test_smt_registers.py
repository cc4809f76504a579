"""Threads, of which one is offline, on both platforms: drgn and crash have each one's own registers."""

import pytest

from fadump.abi.platform import Platform
from fadump.capture.options import Format, SaveOptions
from fadump.capture.registers import with_registers
from fadump.kit.kernel import build_kernel
from fadump.kit.qemu import fetch_qemu
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import CrashedSystem
from fadump.vmcore.dump import open_dump
from tests.capture.saving import save_file
from tests.real_linux.foreign import ForeignProgram
from tests.real_linux.page_sets import BUSY_CPUS, crash_under_load
from tests.real_linux.readers import check_crash, check_drgn, crash_environment, program_of


@pytest.mark.parametrize(
    ("platform", "cpus", "smt", "crash_cpu", "with_notes"),
    [
        (Platform.PSERIES, 8, 4, 5, [0, 2, 3, 4, 5, 6, 7]),
        (Platform.POWERNV, 4, 2, 3, [0, 1, 2, 3]),  # OPAL reports the offline one too
    ],
)
def test_each_thread_has_its_own(tmp_path, monkeypatch, platform, cpus, smt, crash_cpu, with_notes):
    kernel = build_kernel()
    crash = ForeignProgram("crash", tmp_path / "ppc64el", ["forky", "sid"])
    machine = {"platform": platform, "cpus": cpus, "smt": smt, "qemu": str(fetch_qemu().path)}
    vmcore = crash_under_load(tmp_path / "crash", kernel, BUSY_CPUS, crash_cpu, **machine)
    (tmp_path / "commands").write_text("bt\nhelp -r\nquit\n")
    for format_ in Format:
        out = tmp_path / format_
        with open_dump(vmcore) as source:
            dump, added = with_registers(CrashedSystem(source), every_cpu=format_ is Format.KDUMP)
            assert list(added.cpus) == with_notes
            registers = {cpu.number: cpu.registers for cpu in CrashedSystem(dump).cpus}
            save_file(dump, out, SaveOptions(levels=(DumpLevel(31),), format=format_, threads=2))
        program = program_of(out, kernel, monkeypatch)
        assert program.crashed_thread().stack_trace()[0].name == "crash_fadump"
        check_drgn(program, registers)
        with (tmp_path / "commands").open() as stdin:
            said = crash.run("-s", kernel.vmlinux, out, stdin=stdin, env=crash_environment(tmp_path))
        online = {cpu: values for cpu, values in registers.items() if cpu != 1 or format_ is Format.KDUMP}
        check_crash(said, online)
        assert f"CPU: {crash_cpu} " in said and "crash_fadump at" in said
