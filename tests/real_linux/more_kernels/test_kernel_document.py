"""What the kernel's document says and no other test shows on real Linux. docs/kernel-document.md has all of it."""

import re

import pytest

from tests.real_linux.scenario import Scenario
from tests.real_linux.vm import shell_initrd, vm

FADUMP = "/sys/kernel/fadump"
REGION = "/sys/kernel/debug/powerpc/fadump_region"
DEBUGFS = "mount -t debugfs debugfs /sys/kernel/debug"
CRASH = "echo c >/proc/sysrq-trigger"
INTERRUPT_LINE = 0x3C
"""A register of each PCI device's configuration that only firmware and drivers use, for notes of their own."""
MARK = 0xA5
MIB = 1 << 20


@pytest.fixture
def started(tmp_path, kernel):
    """Boots real Linux with these words; its console has a shell."""

    def start(words, *options):
        cmdline = f"console=hvc0 rdinit=/shell panic=5 quiet {words}"
        return vm(
            tmp_path, "--kernel", kernel.bootable, "--initrd", shell_initrd(tmp_path), "--cmdline", cmdline, *options
        )

    return start


def output(machine, command):
    """What a command says."""
    machine.at_prompt(f"{{ {command}; }} >/said 2>&1", "cat /said; echo THE END")
    machine.expect("THE END")
    return machine.child.before.decode().replace("\r", "").strip()


def meminfo_bytes(machine):
    """MemTotal: what Linux has for itself and for programs."""
    return int(output(machine, "sed -n 's/^MemTotal: *//p' /proc/meminfo").split()[0]) << 10


@pytest.mark.parametrize(
    ("words", "memory", "boot_memory_mib"),
    [
        pytest.param("fadump=on", "12G", 512, id="5 % of RAM, by steps of 256 MiB"),
        pytest.param("fadump=on", "2G", 320, id="at least 256 MiB, which is 320 on pseries"),
        pytest.param("fadump=on crashkernel=400M@64M", "2G", 400, id="crashkernel=, whose offset does not count"),
        pytest.param("fadump=on fadump_reserve_mem=400M", "2G", 400, id="the deprecated parameter"),
        pytest.param("fadump=on fadump_reserve_mem=400M crashkernel=512M", "2G", 512, id="which crashkernel= replaces"),
    ],
)
def test_boot_memory_is_as_large_as_the_document_says(started, words, memory, boot_memory_mib):
    with started(words, "--memory", memory) as machine:
        output(machine, DEBUGFS)
        (dump,) = re.findall(r"^DUMP: .*Size: (0x[0-9a-f]+)", output(machine, f"cat {REGION}"), re.MULTILINE)
    assert int(dump, 16) == boot_memory_mib * MIB


def test_devices_are_reset_memory_is_held_and_then_given_back(started):
    """A PCI device forgets what it was told; the capture kernel has boot memory only, and all of it after a release."""
    config = "/sys/bus/pci/devices/*/config"
    interrupt_line = f"dd if=$(ls {config}) bs=1 skip={INTERRUPT_LINE} count=1 2>/dev/null | od -An -tu1"
    with started("fadump=nocma crashkernel=512M", "--memory", "2G", "--qemu-arg=-device e1000,romfile=") as machine:
        fresh, memory_bytes = int(output(machine, interrupt_line)), meminfo_bytes(machine)
        octal = f"\\{MARK:03o}"
        output(machine, f"printf '{octal}' | dd of=$(ls {config}) bs=1 seek={INTERRUPT_LINE} conv=notrunc 2>/dev/null")
        assert int(output(machine, interrupt_line)) == MARK != fresh
        machine.at_prompt(CRASH)
        assert int(output(machine, interrupt_line)) == fresh
        assert meminfo_bytes(machine) < 512 * MIB
        output(machine, f"echo 1 >{FADUMP}/release_mem")
        assert 0 <= meminfo_bytes(machine) - memory_bytes < 8 * MIB  # Linux frees a page or two that it had kept
        assert output(machine, "ls /proc | grep -c vmcore") == "0"


def test_without_fadump_there_is_nothing_in_the_debugfs_file(started):
    with started("crashkernel=256M", "--memory", "2G") as machine:
        output(machine, DEBUGFS)
        assert output(machine, f"cat {FADUMP}/enabled") == "0"
        assert output(machine, f"ls {REGION}") == REGION
        assert output(machine, f"cat {REGION}") == ""


def test_hash_needs_768_mib_of_rma_for_arguments_of_the_capture_kernel(tmp_path, kernel):
    """The first NUMA node's memory is the RMA."""
    with Scenario(tmp_path, kernel, cpu_model="POWER8", nodes=(512 * MIB, 1536 * MIB)) as scenario:
        scenario.hello()
        files = scenario.run(f"ls {FADUMP}").split()
    assert "registered" in files
    assert "bootargs_append" not in files


def test_arguments_for_the_capture_kernel_are_on_its_command_line_with_hash_too(started):
    with started("fadump=on crashkernel=512M", "--memory", "2G", "--cpu-model", "POWER8") as machine:
        output(machine, f"echo nr_cpus=1 >{FADUMP}/bootargs_append")
        assert output(machine, f"cat {FADUMP}/bootargs_append") == "nr_cpus=1"
        assert "nr_cpus" not in output(machine, "cat /proc/cmdline")
        machine.at_prompt(CRASH)
        assert output(machine, "cat /proc/cmdline").endswith(" nr_cpus=1")
        assert output(machine, "nproc") == "1"
