"""The verdict and the findings for whole systems, each a modelled kernel's files with a distribution's around them."""

import gzip
import os
import re
import shutil
import socket
from dataclasses import replace

import pytest

from fadump.abi.platform import Platform
from fadump.errors import SetupError
from fadump.memory.ranges import Range
from fadump.service.doctor.examination import examine
from fadump.service.doctor.files import SystemFiles
from fadump.service.doctor.findings import Check, Severity
from fadump.service.doctor.machine import look_at
from fadump.service.doctor.need import most_dump_bytes
from fadump.service.doctor.verdict import Outcome
from tests.service.doctor.trees import (
    CONFIG,
    KDUMP_TOOLS,
    RULES,
    RULES_FILE,
    Tree,
    as_it_is,
    booted,
    crashed,
    powervm,
    without_fadump,
)

GIB = 1 << 30
FOUR_GIB = (Range(0, 4 * GIB),)
SAVED = "A crash now would be saved to /var/crash by kdump-tools."
NOT_SAVED = "A crash now would NOT be saved: "


def found(examination, check, least=Severity.NOTE):
    """The sentences of one check, and what mends them."""
    return [
        (finding.severity, finding.sentence, finding.mend)
        for finding in examination.findings
        if finding.check is check and finding.severity >= least
    ]


def outcome(examination):
    return examination.verdict.outcome, examination.severity


@pytest.fixture
def armed(tmp_path):
    """A partition where all is well: registered, with kdump-tools of Debian's, whose udev rules are masked."""
    tree = booted(tmp_path, "fadump=on,nocma fadump=nocma crashkernel=512M", memory=FOUR_GIB, on_tree=powervm)
    tree.kdump_tools()
    tree.put(RULES_FILE, RULES)
    tree.link("/etc/udev/rules.d/50-kdump-tools.rules", "/dev/null")
    return tree


def test_a_system_where_all_is_well(armed):
    examination = examine(armed.files)
    assert outcome(examination) == (Outcome.SAVED, Severity.GOOD)
    assert examination.verdict.sentence == SAVED
    assert {finding.severity for finding in examination.findings} == {Severity.GOOD}
    assert {finding.check for finding in examination.findings} == {
        *(Check.FIRMWARE, Check.KERNEL, Check.REGISTRATION, Check.HOTPLUG, Check.BOOT_MEMORY, Check.PANIC),
        Check.SERVICE,
    }
    (firmware,) = found(examination, Check.FIRMWARE, Severity.GOOD)
    assert firmware[1] == "the firmware offers FADump: this is a PowerVM partition, IBM,9105-22A"


def test_on_powernv_too(tmp_path):
    tree = booted(tmp_path, "fadump=nocma", Platform.POWERNV, memory=(Range(0, 16 * GIB),))
    tree.kdump_tools()
    examination = examine(tree.files)
    assert outcome(examination) == (Outcome.SAVED, Severity.GOOD)
    assert "a machine with OPAL" in found(examination, Check.FIRMWARE, Severity.GOOD)[0][1]


def test_a_kernel_that_has_unregistered(armed):
    armed.put("/sys/kernel/fadump/registered", "0\n")
    examination = examine(armed.files)
    assert outcome(examination) == (Outcome.NOT_SAVED, Severity.CRITICAL)
    assert examination.verdict.sentence == f"{NOT_SAVED}the kernel is not registered with the firmware."
    (finding,) = found(examination, Check.REGISTRATION)
    assert finding[2] == "echo 1 >/sys/kernel/fadump/registered"
    assert examination.findings[0].check is Check.REGISTRATION  # the worst comes first


def test_a_dump_that_waits(tmp_path):
    tree = crashed(tmp_path)
    tree.kdump_tools()
    examination = examine(tree.files)
    assert outcome(examination) == (Outcome.NOT_SAVED, Severity.CRITICAL)
    assert examination.verdict.sentence == f"{NOT_SAVED}the dump of an earlier one still waits to be saved."
    (finding,) = found(examination, Check.REGISTRATION)
    assert "/proc/vmcore" in finding[1] and finding[2] == "fadump capture"


@pytest.mark.parametrize(("change", "reason", "mend"), [
    (lambda tree: tree.remove("/etc/systemd/system/basic.target.wants/kdump-tools.service"),
     "kdump-tools saves nothing: kdump-tools.service is disabled", "systemctl enable --now kdump-tools.service"),
    (lambda tree: tree.link("/etc/systemd/system/kdump-tools.service", "/dev/null"),
     "kdump-tools saves nothing: kdump-tools.service is masked",
     "systemctl unmask kdump-tools.service && systemctl enable --now kdump-tools.service"),
    (lambda tree: tree.put("/etc/default/kdump-tools", KDUMP_TOOLS.replace("=1", "=0")),
     "kdump-tools saves nothing: USE_KDUMP in /etc/default/kdump-tools is 0",
     "echo USE_KDUMP=1 >>/etc/default/kdump-tools && systemctl restart kdump-tools.service"),
    (lambda tree: tree.remove("/usr/lib/systemd/system/kdump-tools.service"),
     "no service is installed that would save a dump", None),
])  # fmt: skip
def test_a_registration_that_nobody_saves_from(armed, change, reason, mend):
    change(armed)
    examination = examine(armed.files)
    assert outcome(examination) == (Outcome.NOT_SAVED, Severity.CRITICAL)
    assert examination.verdict.sentence == f"{NOT_SAVED}the firmware would keep it, but {reason}."
    (finding,) = found(examination, Check.SERVICE)
    assert finding[1] == reason and mend in (None, finding[2])


TOO_LITTLE = (
    "the command line asks for FADump and doesn't get it: 256 MiB of boot memory is less than 320 MiB, the least on "
    "pseries: crashkernel= asks for it"
)
SAID = "fadump: Can't enable fadump with boot memory size (0x10000000) less than 0x14000000"


@pytest.fixture
def fallen_back(tmp_path):
    """A system with too little boot memory for FADump, whose kernel has reserved it for kdump without a word."""
    tree = booted(tmp_path, "fadump=on crashkernel=256M", memory=FOUR_GIB)
    tree.kdump_tools()
    tree.put("/sys/kernel/kexec_crash_size", f"{256 << 20}\n")
    tree.put("/etc/default/grub.d/kdump-tools.cfg", "")
    return tree


def test_the_fallback_to_kdump_is_told_with_its_reason(fallen_back):
    fallen_back.put("/sys/kernel/kexec_crash_loaded", "1\n")
    examination = examine(fallen_back.files)
    assert outcome(examination) == (Outcome.SAVED_BY_KDUMP, Severity.WARNING)
    assert examination.verdict.sentence == (
        f"A crash now would be saved by kdump (kdump-tools), to /var/crash, not by firmware: {TOO_LITTLE}."
    )
    (finding,) = found(examination, Check.COMMAND_LINE)
    words = 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT fadump=on crashkernel=320M"'
    assert finding == (
        Severity.WARNING, TOO_LITTLE,
        f"echo '{words}' >/etc/default/grub.d/zzz-fadump.cfg && update-grub && reboot",
    )  # fmt: skip


def test_memory_for_kdump_without_a_kernel_in_it_saves_nothing(fallen_back):
    examination = examine(fallen_back.files)
    assert outcome(examination) == (Outcome.NOT_SAVED, Severity.CRITICAL)
    assert examination.verdict.sentence == (
        f"{NOT_SAVED}{TOO_LITTLE}; 256 MiB are reserved for kdump instead, but no kernel is loaded for it."
    )


def test_what_the_kernel_has_said_is_quoted(fallen_back):
    fallen_back.put("/dev/kmsg", f"6,100,0,-;fadump: an information\n3,101,0,-;{SAID}\n SUBSYSTEM=x\n")
    (finding,) = found(examine(fallen_back.files), Check.COMMAND_LINE)
    assert finding[1] == f"{TOO_LITTLE}; the kernel said: {SAID}"


def test_kdump_that_was_asked_for_is_as_good_as_fadump(tmp_path):
    tree = booted(tmp_path, "crashkernel=512M", memory=FOUR_GIB)
    tree.kdump_tools()
    tree.put("/sys/kernel/kexec_crash_loaded", "1\n")
    examination = examine(tree.files)
    assert outcome(examination) == (Outcome.SAVED_BY_KDUMP, Severity.NOTE)
    assert Severity.NOTE.exit_code == 0
    assert "not by firmware: fadump=on is not on the kernel's command line." in examination.verdict.sentence


@pytest.mark.parametrize(("words", "said"), [
    ("quiet", ""), ("fadump=off", " (fadump=off is)"), ("fadump=1", " (fadump=1 is)"),
    ("fadump=on fadump=off", " (fadump=off is)"),
])  # fmt: skip
def test_a_command_line_that_asks_for_nothing(tmp_path, words, said):
    tree = booted(tmp_path, words, memory=FOUR_GIB)
    examination = examine(tree.files)
    assert examination.verdict.sentence == f"{NOT_SAVED}fadump=on is not on the kernel's command line{said}."
    (finding,) = found(examination, Check.COMMAND_LINE)
    assert finding[2] == "add to the kernel's command line, then reboot: fadump=on crashkernel=320M"


UPDATE_BOOTLOADER = (
    "update-bootloader --add-option 'fadump=on' && update-bootloader --add-option 'crashkernel=320M' && "
    "update-bootloader --refresh && reboot"
)


@pytest.mark.parametrize(("program", "mend"), [
    ("/usr/sbin/grubby", "grubby --update-kernel=ALL --args='fadump=on crashkernel=320M' && reboot"),
    ("/sbin/update-bootloader", UPDATE_BOOTLOADER),
])  # fmt: skip
def test_words_are_added_by_the_distribution_s_own_command(tmp_path, program, mend):
    tree = booted(tmp_path, "quiet", memory=FOUR_GIB)
    tree.put(program, "")
    assert found(examine(tree.files), Check.COMMAND_LINE)[0][2] == mend


@pytest.mark.parametrize(("edit", "whose", "mend"), [
    (powervm, "a PowerVM partition, IBM,9105-22A", "ask for newer firmware of the managed system"),
    (lambda _tree: None, "a guest, fadump embedded machine", "start the guest with QEMU 10.2 or later"),
])  # fmt: skip
def test_a_firmware_without_fadump(tmp_path, edit, whose, mend):
    tree = booted(tmp_path, on_tree=lambda tree: (edit(tree), without_fadump(tree)))
    examination = examine(tree.files)
    assert examination.verdict.sentence == f"{NOT_SAVED}the firmware offers no FADump: this is {whose}."
    (finding,) = found(examination, Check.FIRMWARE)
    assert finding[2].startswith(mend)


WITHOUT_VMCORE = CONFIG.replace("CONFIG_PROC_VMCORE=y", "# CONFIG_PROC_VMCORE is not set")


@pytest.mark.parametrize(("config", "sentence"), [
    (CONFIG.replace("CONFIG_FA_DUMP=y", ""), "was built without CONFIG_FA_DUMP: it has no FADump"),
    (WITHOUT_VMCORE, "was built without CONFIG_PROC_VMCORE: it can't offer a dump as /proc/vmcore"),
    ("CONFIG_PRESERVE_FA_DUMP=y\n", "was built with CONFIG_PRESERVE_FA_DUMP only, as petitboot's is: it leaves"),
])  # fmt: skip
@pytest.mark.parametrize("place", ["/boot/config-6.12.0-model", "/lib/modules/6.12.0-model/config"])
def test_a_kernel_that_was_built_without(tmp_path, config, sentence, place):
    tree = booted(tmp_path, "fadump=off", memory=FOUR_GIB)
    tree.remove("/proc/config.gz")
    tree.put(place, config)
    (finding,) = found(examine(tree.files), Check.KERNEL)
    assert finding[0] is Severity.CRITICAL and f"Linux 6.12.0-model {sentence}" in finding[1]


def test_a_kernel_that_registers_and_can_t_offer_the_dump(armed):
    armed.put("/proc/config.gz", gzip.compress(WITHOUT_VMCORE.encode()))
    examination = examine(armed.files)
    assert outcome(examination) == (Outcome.NOT_SAVED, Severity.CRITICAL)
    assert "CONFIG_PROC_VMCORE" in examination.verdict.sentence
    armed.put("/proc/config.gz", gzip.compress(b"CONFIG_PRESERVE_FA_DUMP=y\nCONFIG_PROC_VMCORE=y\n"))  # another's
    assert examine(armed.files).verdict.sentence == SAVED


@pytest.mark.parametrize(("number", "told"), [("0", 1), ("438", 1), ("1", 0), ("8", 0), ("0x1ff", 0)])
@pytest.mark.parametrize(("edit", "mend"), [(powervm, "on the HMC: "), (as_it_is, "on the host: virsh inject-nmi")])
def test_a_system_that_hangs_can_be_crashed(tmp_path, edit, mend, number, told):
    tree = booted(tmp_path, "fadump=nocma", on_tree=edit)
    tree.put("/proc/sys/kernel/sysrq", f"{number}\n")
    notes = found(examine(tree.files), Check.PANIC)
    assert [(note[0], note[2].startswith(mend)) for note in notes] == [(Severity.NOTE, True)] * told


def test_our_service_has_no_part_in_kdump(fallen_back):
    fallen_back.put("/sys/kernel/kexec_crash_loaded", "1\n")
    fallen_back.unit("fadump-capture.service")
    assert "saved by kdump (kdump-tools), to /var/crash" in examine(fallen_back.files).verdict.sentence


def test_a_kernel_without_fadump_s_files_and_no_configuration_anywhere(armed):
    for name in ("enabled", "registered", "hotplug_ready", "mem_reserved", "bootargs_append"):
        armed.remove(f"/sys/kernel/fadump/{name}")
    armed.remove("/proc/config.gz")
    examination = examine(armed.files)
    assert "it was built without CONFIG_FA_DUMP" in examination.verdict.sentence


def test_an_older_kernel_has_its_files_elsewhere(armed):
    for name in ("hotplug_ready", "bootargs_append"):
        armed.remove(f"/sys/kernel/fadump/{name}")
    for name in ("enabled", "registered"):
        armed.remove(f"/sys/kernel/fadump/{name}")
        armed.remove(f"/sys/kernel/fadump_{name}")
        armed.put(f"/sys/kernel/fadump_{name}", "1\n")
    examination = examine(armed.files)
    assert examination.verdict.sentence == SAVED
    (finding,) = found(examination, Check.HOTPLUG)
    assert finding[0] is Severity.WARNING and "has no hotplug_ready" in finding[1]


def test_boot_memory_that_is_too_little_for_the_capture_boot(tmp_path):
    """The 320 MiB that a probe needed at most of 160 GiB and at least of 236 GiB, by its struct pages alone."""
    tree = booted(tmp_path, "fadump=nocma", memory=FOUR_GIB)
    tree.kdump_tools()
    assert found(examine(tree.files), Check.BOOT_MEMORY) == []
    tree.put("/proc/meminfo", f"MemTotal: {(4 * GIB - (640 << 20)) >> 10} kB\n")
    (finding,) = found(examine(tree.files), Check.BOOT_MEMORY)
    assert finding[0] is Severity.WARNING
    assert finding[1].startswith(
        "320.0 MiB of boot memory are reserved, and a capture boot needs about 389.9 MiB (an estimate: 319.9 MiB for "
        "kernel, tables and firmware, 70.0 MiB for user space); distributions recommend for this much RAM: "
    )
    assert "Debian, Ubuntu (kdump-tools, ppc64el): 512.0 MiB" in finding[1]
    assert finding[2].endswith("fadump=on crashkernel=512M")


def test_an_initrd_counts_packed_and_unpacked(tmp_path):
    def with_initrd(tree):
        chosen = tree.find("/chosen").properties
        chosen["linux,initrd-start"], chosen["linux,initrd-end"] = (
            (at << 20).to_bytes(8, "big") for at in (1000, 1020)
        )

    tree = booted(tmp_path, "fadump=nocma", memory=FOUR_GIB, on_tree=with_initrd)
    (finding,) = found(examine(tree.files), Check.BOOT_MEMORY, Severity.GOOD)
    assert "80.0 MiB for the initrd and 3 times its size unpacked" in finding[1]


@pytest.mark.parametrize(("words", "severity", "sentence"), [
    ("fadump=on", Severity.NOTE, "the reserved memory is lent to processes until a crash"),
    ("fadump=nocma crashkernel=x", Severity.WARNING, "crashkernel= is not valid, a size is expected, so its size is"),
    ("fadump=nocma crashkernel=512M fadump_reserve_mem=1G", Severity.NOTE,
     "fadump_reserve_mem= does nothing beside crashkernel=, which counts"),
    ("fadump=nocma xmon=on", Severity.WARNING, "xmon=on is on the command line: at a crash the kernel waits"),
])  # fmt: skip
def test_words_that_are_worth_a_word(tmp_path, words, severity, sentence):
    tree = booted(tmp_path, words, memory=FOUR_GIB)
    (finding,) = found(examine(tree.files), Check.COMMAND_LINE)
    assert finding[0] is severity and finding[1].startswith(sentence)


def test_a_hole_in_boot_memory_is_told_as_plan_does(tmp_path):
    pieces = (Range(0, 256 << 20), Range(1 * GIB, 4 * GIB))
    tree = booted(tmp_path, "fadump=nocma crashkernel=512M", memory=pieces)
    told = found(examine(tree.files), Check.COMMAND_LINE)
    warnings = [finding for finding in told if "within boot memory" in finding[1]]
    assert [finding[2] for finding in warnings] == ["fadump plan --memory-map /proc/device-tree"]


def test_kdump_tools_udev_rules_take_a_registration_away(armed):
    armed.remove("/etc/udev/rules.d/50-kdump-tools.rules")
    examination = examine(armed.files)
    assert outcome(examination) == (Outcome.SAVED, Severity.WARNING)
    (finding,) = found(examination, Check.HOTPLUG)
    assert f"({RULES_FILE})" in finding[1] and "hotplug_ready is 1" in finding[1]
    assert finding[2] == "ln -s /dev/null /etc/udev/rules.d/50-kdump-tools.rules && udevadm control --reload"
    armed.put("/etc/default/kdump-tools", "USE_KDUMP=0\n")  # kdump-config refuses then
    assert found(examine(armed.files), Check.HOTPLUG) == []


def test_an_older_kernel_needs_those_rules(armed):
    armed.remove("/etc/udev/rules.d/50-kdump-tools.rules")
    armed.remove("/sys/kernel/fadump/hotplug_ready")
    (finding,) = found(examine(armed.files), Check.HOTPLUG)
    assert finding[0] is Severity.NOTE and "which this kernel needs" in finding[1] and finding[2] is None


def test_a_panic_that_hangs_and_an_oops_that_is_none(armed):
    armed.put("/proc/sys/kernel/panic", "0\n")
    armed.put("/proc/sys/kernel/panic_on_oops", "0\n")
    hangs, oops = found(examine(armed.files), Check.PANIC)
    assert hangs[0] is Severity.WARNING and "kernel.panic=10" in hangs[2]
    assert oops[0] is Severity.NOTE and "kernel.panic_on_oops=1" in oops[2]


def test_kdump_tools_comes_before_the_network(armed):
    armed.unit("fadump-capture-network.service")
    examination = examine(armed.files)
    assert examination.verdict.sentence == SAVED
    (finding,) = found(examination, Check.SERVICE)
    assert finding[0] is Severity.WARNING and "before fadump-capture-network.service does" in finding[1]
    assert finding[2] == "systemctl mask kdump-tools.service"


def test_our_service_comes_before_kdump_tools(armed):
    unit = "fadump-capture.service"
    armed.unit(unit)
    examination = examine(armed.files)
    assert examination.verdict.sentence == f"A crash now would be saved to /var/crash by {unit}."
    (finding,) = found(examination, Check.SERVICE)
    assert finding[0] is Severity.NOTE and finding[1].startswith(f"kdump-tools comes after {unit}: ")
    assert finding[2] == "systemctl disable kdump-tools.service"


def test_a_service_in_the_initrd_comes_before_ours(armed):
    armed.remove("/etc/default/kdump-tools")
    armed.unit("fadump-capture.service")
    armed.unit("kdump.service")
    armed.put("/etc/kdump.conf", "path /var/crash\n")
    examination = examine(armed.files)
    assert examination.verdict.sentence == "A crash now would be saved to /var/crash by kdump-utils."
    (finding,) = found(examination, Check.SERVICE)
    assert finding[0] is Severity.WARNING and "before fadump-capture.service does" in finding[1]
    assert finding[2] == "systemctl mask kdump.service && dracut --force"


DEVICE = """\
[[target]]
type = "{type}"
device = "{device}"
"""


@pytest.mark.parametrize("kind", ["raw", "filesystem"])
@pytest.mark.parametrize("device", ["/dev/sdb1", "UUID=11-22", "LABEL=crash dumps"])
def test_a_device_that_dumps_go_to(armed, kind, device):
    armed.unit("fadump-capture.service")
    armed.remove("/etc/default/kdump-tools")
    armed.put("/etc/fadump.toml", DEVICE.format(type=kind, device=device))
    assert found(examine(armed.files), Check.TARGET, Severity.GOOD) == []  # a copied tree has no devices
    armed.put("/dev/disk/by-uuid/other", "")
    examination = examine(armed.files)
    assert examination.verdict.sentence == (
        f"{NOT_SAVED}{device}, where fadump-capture.service saves to, is not there."
    )
    armed.put("/dev/sdb1", "")
    armed.link("/dev/disk/by-uuid/11-22", "../../sdb1")
    armed.link("/dev/disk/by-label/crash\\x20dumps", "../../sdb1")
    armed.put("/sys/class/block/sdb1/size", f"{(64 << 20) // 512}\n")
    (finding,) = found(examine(armed.files), Check.TARGET)
    assert finding[0] is Severity.WARNING and finding[1].startswith(f"{device} has 64.0 MiB; a dump of this moment at ")
    armed.put("/sys/class/block/sdb1/size", f"{(64 << 30) // 512}\n")
    (finding,) = found(examine(armed.files), Check.TARGET, Severity.GOOD)
    assert finding[0] is Severity.GOOD


def test_with_another_place_nothing_is_lost(armed):
    armed.unit("fadump-capture.service")
    armed.put("/etc/fadump.toml", DEVICE.format(type="raw", device="/dev/sdb1") + '[[target]]\ntype = "directory"\n')
    armed.put("/dev/disk/by-uuid/other", "")
    examination = examine(armed.files)
    assert outcome(examination) == (Outcome.SAVED, Severity.WARNING)
    assert "to /dev/sdb1, or else to /var/crash by fadump-capture.service" in examination.verdict.sentence


def test_another_service_s_place_is_not_what_counts(armed):
    """A crash goes to the service that comes first."""
    armed.unit("fadump-capture.service")
    armed.unit("kdump.service")
    armed.put("/etc/kdump.conf", "nfs there:/crash\n")
    armed.put("/etc/fadump.toml", DEVICE.format(type="raw", device="/dev/sdb1"))
    armed.put("/dev/disk/by-uuid/other", "")
    examination = examine(armed.files)
    assert outcome(examination) == (Outcome.SAVED, Severity.WARNING)
    assert "nfs://there:/crash" in examination.verdict.sentence


def test_a_directory_s_room_is_that_of_its_file_system(armed):
    """Of this machine's, where the tree is: /proc/meminfo is what differs."""
    armed.put("/proc/meminfo", f"MemFree: {4 << 20} kB\n")
    files = replace(armed.files, is_running_system=True)
    free_bytes = shutil.disk_usage(armed.directory).free
    (finding,) = found(examine(files), Check.TARGET, Severity.GOOD)
    told = re.fullmatch(
        r"/var/crash has ([\d.]+) GiB free; a dump of this moment at level 31 has .* is packed", finding[1]
    )
    assert finding[0] is Severity.GOOD and float(told[1]) == pytest.approx(free_bytes / GIB, rel=0.2)
    tree = booted(armed.directory / "large", "fadump=nocma", memory=(Range(0, 1 << 42),))
    tree.kdump_tools()
    tree.put("/proc/meminfo", "MemFree: 0 kB\n")
    (finding,) = found(examine(replace(tree.files, is_running_system=True)), Check.TARGET)
    assert finding[0] is Severity.WARNING and "has at most 4.0 TiB" in finding[1]
    assert finding[2] == "remove older dumps from /var/crash, or name another place in /etc/default/kdump-tools"


def test_a_server_that_dumps_go_to_is_asked_whether_it_is_there(armed):
    armed.put("/etc/default/kdump-tools", "USE_KDUMP=1\nSSH=root@localhost\n")
    (finding,) = found(examine(armed.files), Check.TARGET)
    assert finding[0] is Severity.NOTE and finding[1].endswith("which is not looked at from here")
    armed.remove("/etc/default/kdump-tools")
    armed.unit("kdump.service")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        armed.put("/etc/sysconfig/kdump", f"KDUMP_SAVEDIR=sftp://me@127.0.0.1:{port}/crash\nKDUMP_FADUMP=yes\n")
        files = replace(armed.files, is_running_system=True)
        (finding,) = found(examine(files), Check.TARGET, Severity.GOOD)
        assert finding[1] == f"127.0.0.1, where openSUSE's kdump saves to, answers at port {port}"
    examination = examine(files)
    assert outcome(examination) == (Outcome.NOT_SAVED, Severity.CRITICAL)
    assert examination.verdict.sentence.endswith(f"can't be reached at port {port}: Connection refused.")


def test_our_service_makes_a_directory_whose_parent_is_there(armed):
    armed.unit("fadump-capture.service")
    armed.remove("/etc/default/kdump-tools")
    (armed.directory / "var/crash").rmdir()
    assert found(examine(armed.files), Check.TARGET) == []
    (armed.directory / "var").rmdir()
    assert found(examine(armed.files), Check.TARGET)[0][2] == "mkdir -m 700 -p /var/crash"


def test_what_a_dump_has_at_most_is_what_the_level_leaves(tmp_path):
    """By hand: 4 GiB, of which 3 are free, 512 MiB page cache (of those 128 shared memory) and 64 MiB processes'."""
    tree = booted(tmp_path, "fadump=nocma", memory=FOUR_GIB)
    kib = {"MemFree": 3 << 20, "Buffers": 0, "Cached": 512 << 10, "Shmem": 128 << 10, "AnonPages": 64 << 10}
    tree.put("/proc/meminfo", "".join(f"{name}: {size} kB\n" for name, size in kib.items()))
    machine = look_at(tree.files)
    sizes = {level: most_dump_bytes(machine, level) >> 20 for level in (0, 1, 8, 16, 31)}
    assert sizes == {0: 4096, 1: 4096, 8: 4032, 16: 1024, 31: 576}


@pytest.mark.parametrize(("name", "severity"), [
    ("202611291605/dump.202611291605", Severity.NOTE), ("127.0.0.1-2026-11-29-16:05/vmcore", Severity.NOTE),
    ("202611291605/dump-incomplete", Severity.WARNING), ("20261129T1605Z/vmcore.incomplete", Severity.WARNING),
])  # fmt: skip
def test_the_last_dump_and_whether_it_is_whole(armed, name, severity):
    for file, seconds in (("201001010000/dump.201001010000", 1262304000), (name, 1795968300)):
        armed.put(f"/var/crash/{file}", "a dump")
        os.utime(armed.directory / f"var/crash/{file}", (seconds, seconds))
    (finding,) = found(examine(armed.files), Check.LAST_DUMP)
    assert finding[0] is severity and f"/var/crash/{name}, is of 2026-11-29 16:05 UTC" in finding[1]
    assert finding[2] == f"fadump check /var/crash/{name}"


def test_a_directory_that_is_missing_is_made_by_some(armed):
    shutil.rmtree(armed.directory / "var")
    assert found(examine(armed.files), Check.TARGET) == []  # by kdump-config
    armed.remove("/etc/default/kdump-tools")
    armed.unit("kdump.service")
    armed.put("/etc/sysconfig/kdump", "KDUMP_FADUMP=true\n")
    assert found(examine(armed.files), Check.TARGET) == []  # by openSUSE's kdump-save
    armed.put("/etc/kdump.conf", "path /var/crash\n")
    (finding,) = found(examine(armed.files), Check.TARGET)  # not by kdump-utils
    assert (finding[0], finding[2]) == (Severity.WARNING, "mkdir -m 700 -p /var/crash")


@pytest.mark.parametrize("what", ["nothing", "no cells", "no Power", "no memory"])
def test_what_is_no_power_system(tmp_path, what):
    base = "/sys/firmware/devicetree/base"
    tree = Tree(tmp_path)
    if what != "nothing":
        tree.put(f"{base}/model", b"a board\0")
    if what in ("no Power", "no memory"):
        tree.put(f"{base}/#address-cells", b"\0\0\0\2")
    if what == "no memory":
        tree.put(f"{base}/rtas/name", b"rtas\0")
    sentences = {
        "nothing": "is no Power system, as it has no /proc/device-tree", "no cells": "has no file #address-cells",
        "no Power": "neither /rtas nor /ibm,opal", "no memory": "makes no sense: device tree: there is no memory at",
    }  # fmt: skip
    with pytest.raises(SetupError, match=sentences[what]):
        examine(tree.files)


def test_it_is_said_of_the_running_system_that_it_is_no_power_system():
    with pytest.raises(SetupError, match=r"^this is no Power system, as it has no /proc/device-tree; --root DIR"):
        examine(SystemFiles())
