"""From a crash to production: kdump, Debian's kdump-tools on FADump, and fadump-capture, in one image with one kernel.

Each system is booted, armed by what is typed at its root prompt, and crashed by sysrq; of the two services the other
one is masked, as docs/living-with-kdump.md has it. Points are when the console or the firmware shows them, in seconds
after the crash: the capture kernel's first line, the service's line that the dump is saved, the release, and the login
prompt that stays. Memory is what the kernel says of itself: before the crash, in the capture boot, and in production
again. The image stays as it is. What a save takes in the capture boot is measured by :mod:`benchmarks.capture_boot`.
"""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import capture_boot
from benchmarks.guest_shell import STAYS_SECONDS, GuestShell, guest_shell
from benchmarks.report import MIB, parser, show
from fadump.errors import MachineError
from fadump.observer import Seen
from fadump.systems.vm import VmOptions

_CMDLINE = "console=hvc0 root=/dev/vda2 ro crashkernel=512M"
_CAPTURE_KERNEL = re.compile(r"\] Linux version ")
_SAVED = re.compile(r"saved vmcore in|fadump\[\d+\]: Saving to .*: done")
_MEMORY = re.compile(r"Memory: (\d+)K/\d+K available")
_TOTAL = re.compile(r"MemTotal: +(\d+) kB")
_OURS_MASKED = "systemctl mask --now fadump-capture"
_THEIRS_MASKED = "systemctl mask kdump-tools"
_KDUMP_IS_LOADED = "until grep -q 1 /sys/kernel/kexec_crash_loaded; do sleep 1; done"


@dataclass(frozen=True, slots=True)
class Way:
    """A way to a dump: the kernel's command line, and what is typed before the crash."""

    name: str
    cmdline: str
    typed: str


WAYS = (
    Way("kdump", _CMDLINE, f"{_OURS_MASKED}; {_KDUMP_IS_LOADED}; sync"),
    Way("kdump-tools on FADump", f"{_CMDLINE} fadump=on", f"{_OURS_MASKED}; sync"),
    Way("fadump-capture", f"{_CMDLINE} fadump=on", f"{_THEIRS_MASKED}; sync"),
)


@dataclass(frozen=True, slots=True)
class Crashed:
    """One crash: seconds after it, None for what was not seen; memory in MiB."""

    capture_kernel: float | None
    saved: float | None
    released: float | None
    login: float
    mib_before: int
    mib_capturing: int | None
    mib_after: int


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("disk", type=Path, help="an image with kdump-tools and fadump-capture")
    arguments.add_argument("kernel", type=Path, help="the kernel to start on it")
    arguments.add_argument("--runs", type=int, default=3, help="crashes of each (default: %(default)s)")
    arguments.add_argument("--memory", type=int, default=4, metavar="GIB", help="the guest's (default: %(default)s)")
    arguments.add_argument("--consoles", type=Path, metavar="DIR", help="keep each console in this directory")
    options = arguments.parse_args()
    runs: dict[str, list[Crashed]] = {way.name: [] for way in WAYS}
    for run in range(1, options.runs + 1):
        for number, way in enumerate(WAYS, start=1):
            log = None if options.consoles is None else options.consoles / f"way-{number}-run-{run}.log"
            runs[way.name].append(crash(way, options.disk, options.kernel, options.memory, log))
    logins = [statistics.median(crashed.login for crashed in runs[way.name]) for way in WAYS]
    show("production", [row(way.name, runs[way.name], logins) for way in WAYS], as_json=options.json)
    saves, memory = capture_boot.measure(options.disk, options.kernel, options.memory, options.runs)
    show("saving in the capture boot", saves, as_json=options.json)
    show("memory of fadump capture", memory, as_json=options.json)


def row(name: str, runs: Sequence[Crashed], logins: Sequence[float]) -> dict[str, object]:
    """A way's row: its medians, against the median times to a login of all ways."""
    login = statistics.median(crashed.login for crashed in runs)
    kdump, kdump_tools, _ours = logins
    return {
        "way": name,
        "capture kernel s": _median([crashed.capture_kernel for crashed in runs]),
        "saved s": _median([crashed.saved for crashed in runs]),
        "released s": _median([crashed.released for crashed in runs]),
        "login s": login,
        "of kdump": login / kdump,
        "of kdump-tools": login / kdump_tools,
        "MiB before": _median([crashed.mib_before for crashed in runs]),
        "MiB capturing": _median([crashed.mib_capturing for crashed in runs]),
        "MiB after": _median([crashed.mib_after for crashed in runs]),
    }


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def crash(way: Way, disk: Path, kernel: Path, memory_gib: int, log: Path | None = None) -> Crashed:
    """Boot the system, arm it, crash it, and wait until it is in production again."""
    vm = VmOptions(
        kernel=kernel,
        cmdline=way.cmdline,
        disks=(disk,),
        snapshot=True,
        memory_bytes=memory_gib << 30,
        user_network=True,
    )
    with guest_shell(vm, log) as shell:
        shell.run(way.typed)
        before = _total_mib(shell)
        at = shell.crash()
        login = shell.wait_for_prompt(STAYS_SECONDS) - at
        return Crashed(
            capture_kernel=shell.lines.first(_CAPTURE_KERNEL, at),
            saved=shell.lines.first(_SAVED, at),
            released=shell.first_seen(Seen.INVALIDATED, at),
            login=login,
            mib_before=before,
            mib_capturing=_capture_mib(shell, at),
            mib_after=_total_mib(shell),
        )


def _capture_mib(shell: GuestShell, at: float) -> int | None:
    """What the capture kernel had: of the first one's, as a crash has no other."""
    found = (_MEMORY.search(line) for _when, line in shell.lines.since(at))
    return next((int(match[1]) * 1024 // MIB for match in found if match), None)


def _total_mib(shell: GuestShell) -> int:
    """What the running kernel has.

    :raises MachineError: it doesn't say.
    """
    found = _TOTAL.search("\n".join(shell.run("grep MemTotal /proc/meminfo")))
    if found is None:
        raise MachineError("/proc/meminfo has no MemTotal")
    return int(found[1]) * 1024 // MIB


if __name__ == "__main__":
    main()
