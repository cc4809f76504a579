"""petitboot on real Linux: on powernv skiboot starts a kernel that starts the system's own by kexec.

It has to leave a preserved dump alone for the kernel that it starts: whether that is so, and what becomes of the dump
if it isn't, the comparison of every byte says.
"""

from dataclasses import replace
from functools import partial

import pytest

from fadump.abi.platform import Platform
from fadump.cli import main
from fadump.firmware.contract import Answer, CallName
from fadump.firmware.wrapped import WrappedFirmware
from fadump.kit.command_line import WAIT, petitboot_command_line
from fadump.kit.debian import ARCHITECTURE
from fadump.kit.initramfs import build_initramfs
from fadump.kit.kernel import build_kernel
from fadump.kit.kernel_config import preserve_options
from fadump.kit.kexec_tools import kexec_tools
from fadump.kit.package_file import DebianPackage, unpack
from fadump.kit.petitboot import build_petitboot
from fadump.machine.qemu.config import KernelInFront, QemuConfig
from fadump.machine.qemu.machine import QemuMachine
from fadump.observer import CrashBy
from fadump.run.options import RunOptions, WhichMachine
from fadump.run.parts import kernel_command_line
from tests.real_linux.debian_kernel import SUITE, fetch_debian_kernel
from tests.real_linux.fadump_command import fadump_run
from tests.real_linux.scenario import MEMORY_BYTES, Scenario

OPTIONS = ("--platform", "powernv", "--verify", "--petitboot")
PRESERVING = "fadump: Preserving crash data for processing in next boot."
ACTIVE = "opal fadump: Firmware-assisted dump is active."
PROMPT = b"petitboot: press Enter"
FREE_PRESERVED_MEMORY = "token 0xad (0x3 "
QUERY = "token 0xaf"
KERNEL_TAG, BOOT_MEM_TAG = f"{QUERY} (0x2 ", f"{QUERY} (0x3 "
WRONG_TOP = 2 << 30
LARGEST_TREE_BYTES = 1 << 20


@pytest.fixture(scope="module")
def preserving():
    """The kernel that ``fadump kernel build --preserve`` builds."""
    return build_kernel(options=preserve_options())


@pytest.fixture(scope="module")
def careless(tmp_path_factory):
    """Debian's own kernel, which knows nothing of dumps, and has no kexec_file_load(2)."""
    directory = tmp_path_factory.mktemp("debian")
    unpack(DebianPackage.from_file(fetch_debian_kernel(), SUITE, ARCHITECTURE), directory)
    (vmlinux,) = directory.glob("boot/vmlinux-*")
    return vmlinux


class WrongTop(WrappedFirmware):
    """Tells petitboot that boot memory ends in the middle of the preserved dump."""

    def call(self, call, memory):
        outcome = super().call(call, memory)
        if self.name_of(call) is not CallName.QUERY_BOOT_MEM_TAG or not isinstance(outcome, Answer):
            return outcome
        ((address, _value),) = outcome.writes
        return replace(outcome, writes=((address, WRONG_TOP.to_bytes(8, "big")),))


class Petitboot(Scenario):
    """A guest behind petitboot, which waits for Enter; it is typed while ``goes_on``."""

    def __init__(self, directory, kernel, in_front):
        self.goes_on = True
        self.is_waiting = False
        self._in_front = in_front
        super().__init__(directory, kernel, platform=Platform.POWERNV)

    def _machine_for(self, kernel, cmdline, platform):
        memory_bytes = MEMORY_BYTES[platform]
        options = RunOptions(self.directory, WhichMachine.QEMU, platform, memory_bytes, cmdline=cmdline)
        line = kernel_command_line(options)
        initrd = build_initramfs()
        user_space = build_petitboot(kernel.bootable, initrd, kexec_tools())
        config = QemuConfig(
            kernel=kernel.bootable,
            initrd=initrd,
            cmdline=line,
            in_front=KernelInFront(self._in_front, user_space, f"{petitboot_command_line(line)} {WAIT}"),
            platform=platform,
            nodes=(memory_bytes,),
        )
        return partial(self._watched, config)

    def _watched(self, config, disk_fd, console_log):
        return QemuMachine(config, disk_fd, PromptWatch(console_log, self.prompted))

    def prompted(self):
        """petitboot has asked for Enter."""
        self.is_waiting = not self.goes_on
        if self.goes_on:
            self.machine.type(b"\n")
        else:
            self.machine.call()

    def until_it_waits(self):
        self.goes_on = self.is_waiting = False
        while not self.is_waiting:
            self.session.serve()

    def until_it_asks(self, text):
        """Serve the guest up to a call of the firmware."""
        seen = len(self.calls())
        while not any(text in call for call in self.calls()[seen:]):
            self.session.serve()


class PromptWatch:
    """Looks for the prompt in a console on its way to the log."""

    def __init__(self, log, prompted):
        self._log = log
        self._prompted = prompted
        self._last = b""

    def write(self, data):
        self._last += data
        while PROMPT in self._last:
            self._last = self._last.partition(PROMPT)[2]
            self._prompted()
        self._last = self._last[-len(PROMPT) :]
        return self._log.write(data)

    def flush(self):
        self._log.flush()


def boots_in(console):
    """The console's text from each start of a kernel on; skiboot's before the first is left out."""
    return console.split("Linux version ")[1:]


def of_fadump(console):
    lines = (line.partition("] ")[2].rstrip() for line in console.splitlines())
    return [line for line in lines if "fadump: " in line]


@pytest.mark.parametrize("qemu", ["qemu-system-ppc64", "newest"])
def test_a_dump_goes_through_it_unharmed(tmp_path, preserving, qemu):
    done = fadump_run(tmp_path / "out", *OPTIONS, "--qemu", qemu)
    assert done.status == 0, done.stderr
    verified = done.json["verified"]
    assert (verified["bytes_different"], verified["registers_different"]) == (0, [])
    assert verified["bytes_compared"] > 2 << 30 and verified["opalcore"]["bytes_different"] == 0
    kernels = [boot.split(" ", 1)[0] for boot in boots_in(done.file("console.log"))]
    assert kernels == [preserving.release, done.json["kernel_release"]] * 2
    calls = done.file("firmware.log")
    assert calls.count(FREE_PRESERVED_MEMORY) == 1  # Linux's own, when it releases the dump
    assert done.file("console.log").count("petitboot: kexec -l ") == 2
    assert done.json["timeline"][-1]["event"] == "production"


def test_what_it_says_of_the_dump_is_what_the_model_says(tmp_path, kernel, preserving):
    with Petitboot(tmp_path / "linux", kernel, preserving.bootable) as scenario:
        scenario.hello()
        scenario.crash()
    _before, _crash, console = scenario.console().partition("fadump-guest: crash ")
    said = of_fadump(console.partition("petitboot: kexec ")[0])
    assert PRESERVING in said and ACTIVE in said
    model = ["run", "--platform", "powernv", "--petitboot", "--out", str(tmp_path / "model")]
    assert main(model) == 0
    console = (tmp_path / "model" / "console.log").read_text()
    _before, _registered, capture_boot = console.partition("Registration is successful!")
    assert said == of_fadump(capture_boot.partition("Linux version ")[0])


def test_it_can_be_reset_and_crash_with_a_dump_active(tmp_path, kernel, preserving):
    """In its early boot, at its prompt, by the platform and by its own panic: the dump is there on the next boot."""
    with Petitboot(tmp_path, kernel, preserving.bootable) as scenario:
        scenario.hello()
        scenario.session.crash(CrashBy.SYSRQ)
        for asked in (KERNEL_TAG, BOOT_MEM_TAG):
            scenario.until_it_asks(asked)
            scenario.machine.press_reset()
        scenario.until_it_waits()
        scenario.machine.press_reset()
        scenario.until_it_waits()
        scenario.machine.inject_nmi()
        scenario.goes_on = True
        boot = scenario.hello()
        dump = scenario.save()
        scenario.back_to_production()
    assert boot.is_capture and dump.verdict.same and dump.cpu_count == 2
    console = scenario.console()
    assert console.count("Kernel panic - not syncing") == 2  # the crash, and petitboot's
    assert console.count(PRESERVING) >= 3


def test_kexec_file_load_puts_its_device_tree_into_the_dump(tmp_path, preserving):
    """A bug of Linux's: docs/linux-bugs.md."""
    done = fadump_run(tmp_path / "out", *OPTIONS, preserving.bootable, "--kexec", "s")
    assert (done.status, done.json["result"]) == (1, "different"), done.stderr
    assert 0 < done.json["verified"]["bytes_different"] <= LARGEST_TREE_BYTES
    assert done.file("console.log").count("petitboot: kexec -s -l ") == 2


def test_one_that_takes_dumps_itself_invalidates_it_at_its_kexec(tmp_path, kernel):
    done = fadump_run(tmp_path / "out", *OPTIONS, kernel.bootable)
    assert done.status == 1 and "this boot has no /proc/vmcore" in done.stderr
    assert "the firmware's reason: preserved memory has been freed" in done.stderr
    before_kexec = done.file("console.log").rpartition("petitboot: kexec")[0]
    assert before_kexec.count(ACTIVE) == 1
    last_calls = [line for line in done.file("firmware.log").splitlines() if " token " in line]
    assert sum(FREE_PRESERVED_MEMORY in call for call in last_calls) == 1


def test_one_that_knows_nothing_of_dumps_overwrites_it(tmp_path, kernel, careless):
    with Petitboot(tmp_path, kernel, careless) as scenario:
        scenario.hello()
        boot = scenario.crash()
        dump = scenario.save()
    assert boot.is_capture
    assert not dump.verdict.same


def test_one_that_is_told_of_a_later_end_of_boot_memory_overwrites_it(tmp_path, kernel, preserving):
    scenario = Petitboot(tmp_path, kernel, preserving.bootable)
    scenario.firmware = WrongTop(scenario.firmware)
    with scenario:
        scenario.hello()
        boot = scenario.crash()
        dump = scenario.save()
    assert boot.is_capture
    assert not dump.verdict.same


def test_one_that_can_not_load_linux_is_told(tmp_path, careless):
    done = fadump_run(tmp_path / "out", *OPTIONS, careless, "--kexec", "s")
    why = "petitboot: can't load Linux: this kernel has no kexec_file_load(), it needs CONFIG_KEXEC_FILE=y"
    assert done.status == 1 and f'the guest\'s console says "{why}"' in done.json["error"]


def test_one_that_is_told_of_no_end_of_boot_memory_preserves_nothing(tmp_path, preserving):
    done = fadump_run(tmp_path / "out", *OPTIONS, preserving.bootable, "--fault", "query-boot-mem-tag=parameter")
    assert (done.status, done.json["result"]) == (1, "different"), done.stderr
    console = done.file("console.log")
    assert "opal fadump: Failed to get boot memory tag (-1)" in console and PRESERVING not in console
