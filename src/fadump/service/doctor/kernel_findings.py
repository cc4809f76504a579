"""What is said of firmware and kernel: is there FADump, was it asked for, is it registered, what of a panic."""

from collections.abc import Iterator

from fadump.kernel.plan.cmdline import parse_crashkernel
from fadump.kernel.traits import size_text
from fadump.service.doctor.boot_loader import ask_for_fadump
from fadump.service.doctor.files import SystemFiles
from fadump.service.doctor.findings import Check, Finding, Severity
from fadump.service.doctor.machine import FADUMP, REGISTERED, VMCORE, Firmware, Machine
from fadump.service.doctor.need import recommended_words

_VMCORE_OPTION = "CONFIG_PROC_VMCORE"
_NEEDED_OPTIONS = {
    "CONFIG_FA_DUMP": "it has no FADump",
    "CONFIG_CRASH_DUMP": "it can't boot as a capture kernel",
    _VMCORE_OPTION: "it can't offer a dump as /proc/vmcore",
}
_WAYS_TO_FADUMP = {
    Firmware.POWERVM: "ask for newer firmware of the managed system; until then use kdump",
    Firmware.KVM: "start the guest with QEMU 10.2 or later, as machine type pseries; until then use kdump",
    Firmware.OTHER_GUEST: "start the guest with QEMU 10.2 or later, as machine type pseries; until then use kdump",
    Firmware.OPAL: "update the machine's firmware to one whose OPAL offers MPIPL; until then use kdump",
}
_WAYS_TO_CRASH = {
    Firmware.POWERVM: "on the HMC: chsysstate -r lpar -m SYSTEM -n PARTITION -o dumprestart",
    Firmware.KVM: "on the host: virsh inject-nmi GUEST",
    Firmware.OTHER_GUEST: "on the host: virsh inject-nmi GUEST",
    Firmware.OPAL: "from elsewhere: ipmitool -H BMC chassis power diag",
}
"""What crashes a system from outside, by a system reset interrupt."""
_PANIC_SECONDS = 10
_SYSRQ_ALL, _SYSRQ_DUMP = 1, 8


def firmware_findings(machine: Machine) -> Iterator[Finding]:
    """Whether the firmware offers FADump."""
    whose = f"{machine.firmware}{f', {machine.model}' if machine.model else ''}"
    if machine.offers_fadump:
        yield Finding(Check.FIRMWARE, Severity.GOOD, f"the firmware offers FADump: this is {whose}")
    else:
        yield Finding(
            Check.FIRMWARE,
            Severity.CRITICAL,
            f"the firmware offers no FADump: this is {whose}",
            _WAYS_TO_FADUMP[machine.firmware],
        )


def kernel_findings(machine: Machine, files: SystemFiles) -> Iterator[Finding]:
    """What the kernel was built with, and what its command line says."""
    yield from _option_findings(machine)
    if machine.offers_fadump:
        yield from _command_line_findings(machine, files)


def _option_findings(machine: Machine) -> Iterator[Finding]:
    name = f"Linux {machine.release}" if machine.release else "the kernel"
    if machine.config is None:
        if machine.offers_fadump and machine.enabled is None:
            yield Finding(
                Check.KERNEL, Severity.CRITICAL, f"{name} has no {FADUMP}: it was built without CONFIG_FA_DUMP",
                "install a kernel with CONFIG_FA_DUMP=y",
            )  # fmt: skip
        return
    if not machine.enabled and "CONFIG_FA_DUMP" not in machine.config and "CONFIG_PRESERVE_FA_DUMP" in machine.config:
        yield Finding(
            Check.KERNEL, Severity.CRITICAL,
            f"{name} was built with CONFIG_PRESERVE_FA_DUMP only, as petitboot's is: it leaves a dump alone for the "
            "kernel that it starts, and has no FADump itself",
            "boot a kernel with CONFIG_FA_DUMP=y",
        )  # fmt: skip
        return
    wanted = [_VMCORE_OPTION] if machine.enabled else list(_NEEDED_OPTIONS)  # one that has FADump was built with it
    lacking = [option for option in wanted if option not in machine.config]
    for option in lacking:
        yield Finding(
            Check.KERNEL, Severity.CRITICAL, f"{name} was built without {option}: {_NEEDED_OPTIONS[option]}",
            f"install a kernel with {option}=y",
        )  # fmt: skip
    if not lacking:
        yield Finding(Check.KERNEL, Severity.GOOD, f"{name} was built with FADump")


def _command_line_findings(machine: Machine, files: SystemFiles) -> Iterator[Finding]:
    command_line, plan = machine.command_line, machine.plan
    wanted = ask_for_fadump(files, recommended_words(machine))
    if not command_line.fadump:
        words = [word for word in plan.cmdline.split() if word.startswith("fadump=")]
        said = f" ({words[-1]} is)" if words else ""
        yield Finding(
            Check.COMMAND_LINE, Severity.CRITICAL, f"fadump=on is not on the kernel's command line{said}",
            wanted,
        )  # fmt: skip
        return
    if plan.refusal is not None and not machine.enabled:
        said = f"; the kernel said: {machine.complaint}" if machine.complaint else ""
        yield Finding(
            Check.COMMAND_LINE,
            Severity.CRITICAL,
            f"the command line asks for FADump and doesn't get it: {plan.refusal.sentence}{said}",
            wanted,
        )
        return
    crashkernel = parse_crashkernel(plan.cmdline, plan.system.memory.ram_bytes, plan.kernel)
    if plan.crashkernel_problem is not None:
        yield Finding(
            Check.COMMAND_LINE, Severity.WARNING,
            f"{plan.crashkernel_problem}, so its size is not what counts; {size_text(_boot_memory(machine))} were "
            "taken",
            wanted,
        )  # fmt: skip
    elif crashkernel.problem is None and command_line.fadump_reserve_mem:
        yield Finding(
            Check.COMMAND_LINE, Severity.NOTE, "fadump_reserve_mem= does nothing beside crashkernel=, which counts"
        )
    for warning in plan.warnings:
        yield Finding(Check.COMMAND_LINE, Severity.WARNING, warning, "fadump plan --memory-map /proc/device-tree")
    if not command_line.nocma and plan.reservation is not None and plan.reservation.cma is not None:
        yield Finding(
            Check.COMMAND_LINE, Severity.NOTE,
            "the reserved memory is lent to processes until a crash, and their pages in it are not in a dump; with "
            "fadump=nocma they are, and the memory is kept back",
        )  # fmt: skip
    words = [word for word in plan.cmdline.split() if word in ("xmon", "xmon=on", "xmon=early", "xmon=rw", "xmon=ro")]
    if words:
        yield Finding(
            Check.COMMAND_LINE, Severity.WARNING,
            f"{words[-1]} is on the command line: at a crash the kernel waits in its debugger for somebody, and no "
            "dump is taken until then", "take it off the command line, then reboot",
        )  # fmt: skip


def _boot_memory(machine: Machine) -> int:
    reservation = machine.plan.reservation
    return machine.reserved_bytes or 0 if reservation is None else reservation.boot_memory.size_bytes


def registration_findings(machine: Machine) -> Iterator[Finding]:
    """How far the kernel has come with the firmware in this boot."""
    said = f": {machine.complaint}" if machine.complaint else ""
    if machine.has_dump:
        yield Finding(
            Check.REGISTRATION, Severity.CRITICAL,
            f"a dump of an earlier crash is in {VMCORE} and waits to be saved; the firmware takes no other until then",
            "fadump capture",
        )  # fmt: skip
    elif machine.is_asked_for and machine.enabled is False and machine.plan.refusal is None:
        yield Finding(
            Check.REGISTRATION, Severity.CRITICAL, f"the kernel has been asked for FADump and has not enabled it{said}",
            "dmesg | grep fadump",
        )  # fmt: skip
    elif machine.enabled and not machine.registered:
        yield Finding(
            Check.REGISTRATION, Severity.CRITICAL, f"the kernel is not registered with the firmware{said}",
            f"echo 1 >{REGISTERED}",
        )  # fmt: skip
    elif machine.enabled:
        yield Finding(Check.REGISTRATION, Severity.GOOD, "the kernel is registered with the firmware")


def panic_findings(machine: Machine, files: SystemFiles) -> Iterator[Finding]:
    """What comes of a panic that the firmware doesn't take, and what isn't a panic at all."""
    seconds = files.number("/proc/sys/kernel/panic")
    if seconds == 0:
        yield Finding(
            Check.PANIC, Severity.WARNING,
            "kernel.panic is 0: a panic that the firmware doesn't take, as one of the capture kernel, hangs for ever",
            _sysctl(f"kernel.panic={_PANIC_SECONDS}"),
        )  # fmt: skip
    elif seconds is not None:
        yield Finding(Check.PANIC, Severity.GOOD, f"kernel.panic is {seconds}: a system that panics doesn't hang")
    if files.number("/proc/sys/kernel/panic_on_oops") == 0:
        yield Finding(
            Check.PANIC, Severity.NOTE,
            "kernel.panic_on_oops is 0: an oops ends a process, and there is no dump of it",
            _sysctl("kernel.panic_on_oops=1"),
        )  # fmt: skip

    sysrq = files.number("/proc/sys/kernel/sysrq")
    if sysrq is not None and sysrq != _SYSRQ_ALL and not sysrq & _SYSRQ_DUMP:
        yield Finding(
            Check.PANIC, Severity.NOTE,
            f"kernel.sysrq is {sysrq}: no key on the console crashes this system when it hangs; an interrupt does",
            _WAYS_TO_CRASH[machine.firmware],
        )  # fmt: skip


def _sysctl(setting: str) -> str:
    return f"echo '{setting}' >>/etc/sysctl.d/90-fadump.conf && sysctl -p /etc/sysctl.d/90-fadump.conf"
