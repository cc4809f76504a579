"""``fadump rehearse`` where Linux falls back to kdump, as boot memory is too small for FADump: kdump really saves.

Debian's kexec loads the crash kernel. The system's crash starts it without a reset, and nobody's firmware is asked.
"""

import pytest

from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.real_linux import mini_system
from tests.real_linux.conftest import SUITES
from tests.real_linux.foreign import ForeignProgram

TOO_LITTLE = f"{mini_system.CMDLINE} crashkernel=256M"
REASON = "fadump: Can't enable fadump with boot memory size (0x10000000) less than 0x14000000"
LOAD = "PATH=/usr/sbin:/sbin:/bin kexec -p /boot/vmlinux --command-line='console=hvc0 root=/dev/vda nr_cpus=1 panic=5'"
NOT_REGISTERED = "the system is in production and has not registered: Linux has reserved 256 MiB for kdump instead "


@pytest.fixture(scope="module")
def kexec(tmp_path_factory):
    return ForeignProgram("kexec", tmp_path_factory.mktemp("kexec"), SUITES, package="kexec-tools")


@pytest.mark.parametrize("crash_by", ["sysrq", "nmi"])
def test_what_kdump_saves_is_looked_at(rehearse, tmp_path, kernel, kexec, crash_by):
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


def test_without_a_kernel_loaded_a_crash_is_not_dumped_at_all(rehearse):
    status, result, said = rehearse("--cmdline", TOO_LITTLE.replace("panic=5", "panic=0"), "--patience", "0.5")
    assert (status, result["result"]) == (1, "not-registered"), said
    sentence, *_console = result["error"].splitlines()
    not_armed = "a crash was made, and no other kernel was seen to start: kdump is not armed, or silent"
    assert sentence == f"{NOT_REGISTERED}({REASON}); {not_armed}; the kernel has panicked, and has started no other"
    assert result["kdump"]["started"] is False and result["dump"] is None
