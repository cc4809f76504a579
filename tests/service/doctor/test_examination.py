"""The verdict and the findings for whole systems, each a modelled kernel's files with a distribution's around them."""

import gzip
from importlib.resources import files

import pytest

from fadump.abi.platform import Platform
from fadump.errors import SetupError
from fadump.memory.ranges import Range
from fadump.service.doctor.examination import examine
from fadump.service.doctor.files import SystemFiles
from fadump.service.doctor.findings import Check, Severity
from fadump.service.doctor.verdict import Outcome
from tests.service.doctor.answers import NOT_SAVED, SAVED, found, outcome
from tests.service.doctor.trees import (
    CONFIG,
    FOUR_GIB,
    GIB,
    KDUMP_TOOLS,
    RULES_FILE,
    UNITS,
    Tree,
    as_it_is,
    booted,
    crashed,
    powervm,
    without_fadump,
)

GUARD = "fadump-capture-guard.service"
DROP_IN, BEFORE_KDUMP = (
    (files("fadump.service") / "data" / name).read_text() for name in ("kdump-tools.conf", "before-kdump.conf")
)


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


def test_newer_kernels_leave_a_crashkernel_for_cma_to_kdump(tmp_path):
    """Which kernel it is, is told by where kexec's files are."""
    cmdline = "fadump=nocma crashkernel=512M crashkernel=1G,cma"
    tree = booted(tmp_path, cmdline, memory=FOUR_GIB)
    tree.kdump_tools()
    (finding,) = found(examine(tree.files), Check.COMMAND_LINE)
    assert "crashkernel= is not valid" in finding[1]
    tree.put("/sys/kernel/kexec/loaded", "0\n")
    assert found(examine(tree.files), Check.COMMAND_LINE) == []


def test_boot_memory_that_is_too_little_for_the_capture_boot(tmp_path):
    """The 320 MiB that a probe needed at most of 160 GiB and at least of 236 GiB, by its struct pages alone."""
    tree = booted(tmp_path, "fadump=nocma", memory=FOUR_GIB)
    tree.kdump_tools()
    assert found(examine(tree.files), Check.BOOT_MEMORY) == []
    tree.put("/proc/meminfo", f"MemTotal: {(4 * GIB - (640 << 20)) >> 10} kB\n")
    (finding,) = found(examine(tree.files), Check.BOOT_MEMORY)
    assert finding[0] is Severity.WARNING
    assert finding[1].startswith(
        "320.0 MiB of boot memory are reserved, and a capture boot needs about 412.1 MiB (an estimate: 309.3 MiB for "
        "kernel and firmware, 4.0 MiB for struct pages of all RAM, 6.0 MiB for per-CPU memory, 768.0 KiB for hash "
        "tables, 92.0 MiB for user space and its page cache); distributions recommend for this much RAM: "
    )
    assert "Debian, Ubuntu (kdump-tools, ppc64el): 512.0 MiB" in finding[1]
    assert finding[2].endswith("fadump=on crashkernel=576M")


@pytest.mark.parametrize(("unit", "beside_mib"), [("fadump-capture.service", 12), ("kdump.service", 92)])
def test_an_initrd_counts_packed_and_unpacked_and_is_given_back_unless_dumps_are_saved_there(
    tmp_path, unit, beside_mib
):
    def with_initrd(tree):
        chosen = tree.find("/chosen").properties
        chosen["linux,initrd-start"], chosen["linux,initrd-end"] = (
            (at << 20).to_bytes(8, "big") for at in (1000, 1020)
        )

    tree = booted(tmp_path, "fadump=nocma", memory=FOUR_GIB, on_tree=with_initrd)
    tree.unit(unit)
    (finding,) = found(examine(tree.files), Check.BOOT_MEMORY, Severity.GOOD)
    assert "92.0 MiB for the initrd, packed and unpacked" in finding[1]
    assert f"{beside_mib}.0 MiB for user space" in finding[1]


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
    warnings = [finding for finding in told if "a hole in boot memory" in finding[1]]
    assert [finding[2] for finding in warnings] == ["fadump plan --memory-map /proc/device-tree"]


def test_kdump_tools_udev_rules_take_a_registration_away(armed):
    armed.remove("/etc/udev/rules.d/50-kdump-tools.rules")
    examination = examine(armed.files)
    assert outcome(examination) == (Outcome.SAVED, Severity.WARNING)
    (finding,) = found(examination, Check.HOTPLUG)
    assert f"({RULES_FILE})" in finding[1] and "hotplug_ready is 1" in finding[1]
    assert finding[2] == "ln -s /dev/null /etc/udev/rules.d/50-kdump-tools.rules && udevadm control --reload"
    armed.link("/etc/systemd/system/kdump-tools.service", "/dev/null")  # which udev doesn't ask for
    assert found(examine(armed.files), Check.HOTPLUG) == [finding]
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
    armed.unit(GUARD, enabled=False)
    armed.put(f"{UNITS}/kdump-tools.service.d/fadump-capture.conf", BEFORE_KDUMP)
    examination = examine(armed.files)
    assert examination.verdict.sentence == SAVED
    (finding,) = found(examination, Check.SERVICE)
    assert finding[0] is Severity.WARNING and "before fadump-capture-network.service does" in finding[1]
    assert finding[2] == "systemctl mask kdump-tools.service"


@pytest.mark.parametrize("drop_in", ["", DROP_IN])
@pytest.mark.parametrize("units", [["fadump-capture.service"], ["fadump-capture-network.service", GUARD]], ids=str)
def test_kdump_tools_is_not_started_where_ours_has_not_saved_the_dump(armed, units, drop_in):
    """Whatever is added to kdump-tools: ours comes first."""
    for unit in units:
        armed.unit(unit)
    armed.put(f"{UNITS}/kdump-tools.service.d/fadump-capture.conf", BEFORE_KDUMP)
    armed.put("/etc/systemd/system/kdump-tools.service.d/fadump.conf", drop_in)
    examination = examine(armed.files)
    assert examination.verdict.sentence == f"A crash now would be saved to /var/crash by {units[0]}."
    sentence = (
        f"kdump-tools has no part in a dump of the firmware's: {units[0]} comes first, and as long as that hasn't "
        "saved it, the firmware keeps it and kdump-tools isn't started"
    )
    assert found(examination, Check.SERVICE) == [(Severity.NOTE, sentence, None)]
    assert not any("reboots" in finding.sentence for finding in examination.findings)


def test_without_our_part_of_its_unit_kdump_tools_comes_after_ours(armed):
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
