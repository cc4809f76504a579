"""Saving in the capture boot: fadump save against makedumpfile, and the memory that fadump capture takes.

One system with some hundred MiB in use by the kernel is crashed, and no service saves the dump. At the prompt of its
capture boot both tools save it alternately, at level 31 with the same codec, as their defaults are, each until its file
is on the disk. Then fadump capture saves it, with nothing in the page cache to begin with, and is watched: its
anonymous memory, the page cache that it is charged with, and what the system has left.
"""

import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.guest_shell import STAYS_SECONDS, GuestShell, guest_shell
from benchmarks.report import MIB, parser, show
from fadump.errors import MachineError
from fadump.systems.vm import VmOptions

_CMDLINE = (
    "console=hvc0 root=/dev/vda2 ro crashkernel=512M fadump=on "
    "systemd.mask=kdump-tools.service systemd.mask=fadump-capture.service"
)
KERNEL_MIB = 128
"""As much is in use by the kernel, beside what a Debian takes."""
_FILL = (
    "import fcntl,os,resource,signal,sys;"
    "resource.setrlimit(resource.RLIMIT_NOFILE,(4096,4096));"
    "data=open(sys.argv[2],'rb').read();"
    "ends=[os.pipe()[1] for _ in range(int(sys.argv[1]))];"
    "[fcntl.fcntl(end,1031,1<<20) for end in ends];"
    "[os.write(end,data[n%15<<20:][:1<<20]) for n,end in enumerate(ends)];"
    "open('/run/filled','w');signal.pause()"
)
"""Has pipes of 1 MiB each hold a kernel's code: such pages are the kernel's, of which no level leaves any out."""
_FLAGS = {"zlib": "-c", "zstd": "-z"}
"""makedumpfile's."""
TOOK = re.compile(r"^took (\S+) (\S+) (\S+)$")
_SIZE = re.compile(r"^size (\d+)$")
_MOST = re.compile(r"^most (\d+) (\d+) (\d+)$")
_FILE = "/var/crash/benchmark-dump"
_WATCHED = (
    "echo 3 >/proc/sys/vm/drop_caches; systemd-run -q --unit=watched -E OPENBLAS_NUM_THREADS=1 fadump capture; "
    "p=$(systemctl show -P MainPID watched); g=/sys/fs/cgroup/system.slice/watched.service; anon=0 file=0; "
    "left=99999999; "
    "while [ -d /proc/$p ]; do "
    "while read -r k v _; do [ $k = RssAnon: ] && ((v>anon)) && anon=$v; done </proc/$p/status; "
    "while read -r k v; do [ $k = file ] && ((v>file)) && file=$v; done <$g/memory.stat; "
    "while read -r k v _; do [ $k = MemAvailable: ] && ((v<left)) && left=$v; done </proc/meminfo; "
    "sleep 0.2; done 2>/dev/null; echo most $anon $file $left"
)


@dataclass(frozen=True, slots=True)
class Took:
    """A save: seconds by the clock and of processors, and how large the file is."""

    wall: float
    cpu: float
    size_bytes: int


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("disk", type=Path, help="an image with makedumpfile and fadump")
    arguments.add_argument("kernel", type=Path, help="the kernel to start on it")
    arguments.add_argument("--runs", type=int, default=3, help="saves by each (default: %(default)s)")
    arguments.add_argument("--memory", type=int, default=4, metavar="GIB", help="the guest's (default: %(default)s)")
    arguments.add_argument("--mib", type=int, default=KERNEL_MIB, help="in use by its kernel (default: %(default)s)")
    arguments.add_argument("--console", type=Path, metavar="FILE", help="keep the console in this file")
    options = arguments.parse_args()
    saves, memory = measure(options.disk, options.kernel, options.memory, options.runs, options.mib, options.console)
    show("saving in the capture boot", saves, as_json=options.json)
    show("memory of fadump capture", memory, as_json=options.json)


def measure(
    disk: Path, kernel: Path, memory_gib: int, runs: int, kernel_mib: int = KERNEL_MIB, log: Path | None = None
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """A row for each tool and codec, and what fadump capture takes of memory."""
    vm = VmOptions(
        kernel=kernel,
        cmdline=_CMDLINE,
        disks=(disk,),
        snapshot=True,
        memory_bytes=memory_gib << 30,
        user_network=True,
    )
    with guest_shell(vm, log) as shell:
        shell.run(f'(python3 -c "{_FILL}" {kernel_mib} /boot/vmlinux-* &)')
        shell.run("until [ -e /run/filled ]; do sleep 1; done; sync")
        shell.crash()
        shell.wait_for_prompt(STAYS_SECONDS)
        return list(_saves(shell, runs)), [_memory(shell)]


def _saves(shell: GuestShell, runs: int) -> Iterator[dict[str, object]]:
    theirs = "\n".join(shell.run("makedumpfile -v"))
    for codec, flag in _FLAGS.items():
        commands = {"fadump save": f"fadump save /proc/vmcore {_FILE} --level 31 --compress {codec} -q"}
        if codec == "zlib" or re.search(rf"^{codec}\s+enabled", theirs, re.MULTILINE):
            commands["makedumpfile"] = f"makedumpfile {flag} -d 31 --message-level 0 /proc/vmcore {_FILE}"
        took: dict[str, list[Took]] = {tool: [] for tool in commands}
        for _run in range(runs):
            for tool, command in commands.items():
                took[tool].append(_save(shell, command))
        for tool, saves in took.items():
            yield {
                "tool": tool,
                "codec": codec,
                "wall s": statistics.median(save.wall for save in saves),
                "CPU s": statistics.median(save.cpu for save in saves),
                "dump MiB": statistics.median(save.size_bytes for save in saves) / MIB,
            }


def _save(shell: GuestShell, command: str) -> Took:
    """Save once.

    :raises MachineError: it fails.
    """
    timed = f"TIMEFORMAT='took %R %U %S'; time {{ {command} && sync {_FILE}; }}; stat -c 'size %s' {_FILE}"
    lines = shell.run(f"rm -f {_FILE}*; sync; {timed}")
    wall, user, system = map(float, numbers(TOOK, lines))
    (size,) = map(int, numbers(_SIZE, lines))
    return Took(wall, user + system, size)


def _memory(shell: GuestShell) -> dict[str, object]:
    anonymous, cache, left = (int(kib) * 1024 / MIB for kib in numbers(_MOST, shell.run(_WATCHED)))
    return {
        "RssAnon MiB": anonymous,
        "page cache MiB": cache / 1024,  # which memory.stat has in bytes
        "available MiB, least": left,
        "is registered": shell.run("cat /sys/kernel/fadump/registered")[-1],
    }


def numbers(pattern: re.Pattern[str], lines: list[str]) -> tuple[str, ...]:
    """What a pattern has found in the first line that it matches.

    :raises MachineError: there is none.
    """
    found = next(filter(None, map(pattern.search, lines)), None)
    if found is None:
        raise MachineError(f"no {pattern.pattern}: {lines}")
    return found.groups()


if __name__ == "__main__":
    main()
