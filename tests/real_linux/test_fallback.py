"""``fadump rehearse`` where Linux falls back to kdump, as boot memory is too small for FADump: kdump really saves.

Debian's kexec loads the crash kernel. The system's crash starts it without a reset, and nobody's firmware is asked.
"""

from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.real_linux import mini_system

TOO_LITTLE = f"{mini_system.CMDLINE} crashkernel=256M"
REASON = "fadump: Can't enable fadump with boot memory size (0x10000000) less than 0x14000000"
LOAD = "PATH=/usr/sbin:/sbin:/bin kexec -p /boot/vmlinux --command-line='console=hvc0 root=/dev/vda nr_cpus=1 panic=5'"
NOT_REGISTERED = "the system is in production and has not registered: Linux has reserved 256 MiB for kdump instead "


def test_what_kdump_saves_is_looked_at(rehearse, tmp_path, kernel, kexec):
    crash_and_look("sysrq", rehearse, tmp_path, kernel, kexec)


def crash_and_look(crash_by, rehearse, tmp_path, kernel, kexec):
    """Rehearse a system that has loaded a crash kernel, and look at what that has saved."""
    status, result, said = rehearse(
        *("--cmdline", TOO_LITTLE, "--crash-by", crash_by, "--patience", "0.5"),
        then=mini_system.REBOOT,
        extra=LOAD,
        program=kexec,
        boot=kernel.bootable,
    )
    assert (status, result["result"], result["phase"]) == (1, "not-registered", "registered"), said
    saved = "kdump is armed: a crash was made, and it has saved /var/crash/today/vmcore, which is whole"
    assert result["error"] == f"{NOT_REGISTERED}({REASON}); {saved}"
    assert result["kdump"] == {"reserved_bytes": 256 << 20, "reason": REASON, "started": True}
    assert (result["dump"]["path"], result["dump"]["check"]) == ("/var/crash/today/vmcore", "whole")
    (copy,) = (tmp_path / "out").rglob("vmcore")
    with open_dump(copy) as dump:
        assert check_dump(dump).whole and b"CRASHTIME=" in dump.vmcoreinfo
