"""What is said of the services that save dumps: who would, who is in whose way, what came last."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fadump.service.doctor.files import SystemFiles
from fadump.service.doctor.findings import Check, Finding, Severity
from fadump.service.doctor.machine import REGISTERED, Machine
from fadump.service.doctor.savers import Saver, Service, uses_kdump_tools

_RULES = "50-kdump-tools.rules"
_RULE_DIRECTORIES = ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")
_OWN_RULES = f"/etc/udev/rules.d/{_RULES}"
_OUT_OF_OUR_WAY = {
    Service.KDUMP_UTILS: "systemctl mask kdump.service && dracut --force",
    Service.SUSE: "systemctl mask kdump.service && dracut --force",
}
"""They save in the initrd, which has to be made anew without them."""
_WHOLE = re.compile(r"vmcore(\.flat|\.[0-9]+)?|dump\.[0-9]+(\.\w+)?")
_NOT_WHOLE = re.compile(r"vmcore[-.]incomplete|dump-incomplete(\.\w+)?")


@dataclass(frozen=True, slots=True)
class LastDump:
    """The newest dump in a directory: its file, when it was written, and if that has the name of a whole one."""

    file: str
    time: float
    is_whole: bool


def service_findings(machine: Machine, savers: Sequence[Saver]) -> Iterator[Finding]:
    """Who would save a dump, and whether that is one service only."""
    saving = [saver for saver in savers if saver.saves]
    kept_away = _kept_away(saving) if machine.enabled else []
    for saver in savers:
        if saver in kept_away:
            yield Finding(
                Check.SERVICE, Severity.NOTE,
                f"{saver.name} has no part in a dump of the firmware's: {saving[0].name} comes first, and as long as "
                f"that hasn't saved it, the firmware keeps it and {saver.name} isn't started",
            )  # fmt: skip
        elif saver.saves:
            after = "and reboots once more after that" if saver.reboots else "and the boot goes on"
            yield Finding(Check.SERVICE, Severity.GOOD, f"{saver.name} saves a dump to {saver.place}, {after}")
        else:
            severity = Severity.NOTE if saving else Severity.CRITICAL
            yield Finding(Check.SERVICE, severity, f"{saver.name} saves nothing: {saver.obstacle}", saver.mend)
    if not savers:
        yield Finding(
            Check.SERVICE, Severity.CRITICAL, "no service is installed that would save a dump",
            "install fadump and systemctl enable fadump-capture.service, or install the distribution's kdump",
        )  # fmt: skip
    if machine.enabled:
        yield from _in_each_other_s_way([saver for saver in saving if saver not in kept_away])


def _kept_away(saving: Sequence[Saver]) -> list[Saver]:
    """Those who would save a dump, and aren't started where the first one hasn't."""
    is_alone = bool(saving) and saving[0].goes_alone
    return [saver for saver in saving[1:] if is_alone and saver.service is not Service.OURS]


def _in_each_other_s_way(saving: Sequence[Saver]) -> Iterator[Finding]:
    if len(saving) < 2:
        return
    first, second = saving[:2]
    if second.service is Service.OURS:
        yield Finding(
            Check.SERVICE, Severity.WARNING,
            f"{first.name} looks for a dump before {second.name} does, which then finds none",
            _OUT_OF_OUR_WAY.get(first.service, f"systemctl mask {first.unit}"),
        )  # fmt: skip
    else:
        yield Finding(
            Check.SERVICE, Severity.NOTE,
            f"{second.name} comes after {first.name}: if that can't save a dump, {second.name} saves it and reboots, "
            f"whatever {first.config} says",
            f"systemctl disable {second.unit}",
        )  # fmt: skip


def hotplug_findings(machine: Machine, files: SystemFiles) -> Iterator[Finding]:
    """Whether a registration holds when memory or a CPU comes or goes, and who takes it away for a moment."""
    if not machine.enabled:
        return
    if machine.hotplug_ready:
        yield Finding(Check.HOTPLUG, Severity.GOOD, "a registration holds when memory or CPUs come or go")
    reregisters = _reregisters(files)
    if not reregisters and not machine.hotplug_ready:
        yield Finding(
            Check.HOTPLUG, Severity.WARNING,
            "this kernel has no hotplug_ready: after memory has come, it is not in a dump until the kernel has "
            "registered anew, and nothing here makes it do so",
            f"echo 1 >{REGISTERED}",
        )  # fmt: skip
    elif reregisters and machine.hotplug_ready:
        yield Finding(
            Check.HOTPLUG, Severity.WARNING,
            f"kdump-tools' udev rules ({reregisters}) take the registration away and bring it back whenever memory or "
            "a CPU comes or goes, at each boot once for each CPU, whether kdump-tools is enabled or not: a crash in "
            "that moment, about half a second each time, has no dump; this kernel doesn't need that (hotplug_ready is "
            "1)",
            f"ln -s /dev/null {_OWN_RULES} && udevadm control --reload",
        )  # fmt: skip
    elif reregisters:
        yield Finding(
            Check.HOTPLUG, Severity.NOTE,
            f"kdump-tools' udev rules ({reregisters}) register anew whenever memory or a CPU comes or goes, which this "
            "kernel needs; a crash in that moment, about half a second each time, has no dump",
        )  # fmt: skip


def _reregisters(files: SystemFiles) -> str | None:
    """The file of udev's rules by which kdump-tools registers anew; None if they leave a registration alone."""
    if uses_kdump_tools(files) is None:
        return None
    for directory in _RULE_DIRECTORIES:
        name = f"{directory}/{_RULES}"
        if not files.is_named(name):
            continue
        if files.is_masking(name):
            return None
        rules = [line for line in (files.text(name) or "").splitlines() if not line.startswith("#")]
        return name if any("kdump-config" in rule for rule in rules) else None
    return None


def last_dump(files: SystemFiles, directory: str) -> LastDump | None:
    """The newest dump below a directory, as the services lay them: a directory for each."""
    found = []
    for name in files.names(directory):
        for file in files.names(f"{directory}/{name}"):
            if _WHOLE.fullmatch(file) or _NOT_WHOLE.fullmatch(file):
                place = f"{directory}/{name}/{file}"
                when = files.written(place)
                if when is not None:
                    found.append(LastDump(place, when, _WHOLE.fullmatch(file) is not None))
    return max(found, key=lambda dump: dump.time, default=None)


def last_dump_findings(files: SystemFiles, saver: Saver) -> Iterator[Finding]:
    """When the last dump was saved, and whether it is whole by its name."""
    directories = [place.directory for place in saver.places if place.directory is not None]
    dumps = [dump for dump in (last_dump(files, directory) for directory in directories) if dump is not None]
    dump = max(dumps, key=lambda dump: dump.time, default=None)
    if dump is None:
        return
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(dump.time))
    if dump.is_whole:
        yield Finding(
            Check.LAST_DUMP, Severity.NOTE, f"the last dump, {dump.file}, is of {when} and has the name of a whole one",
            f"fadump check {dump.file}",
        )  # fmt: skip
    else:
        yield Finding(
            Check.LAST_DUMP, Severity.WARNING, f"the last dump, {dump.file}, is of {when} and was not saved to its end",
            f"fadump check {dump.file}",
        )  # fmt: skip
