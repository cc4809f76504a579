"""How soon a kernel's types are there: from opening a file of its BTF to the members of a large structure.

The peer is pahole, a program in C, which prints the same structure of the same BTF. Both have to find its size and as
many members. A larger table is made of the same types again and again.
"""

import os
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.report import RUNS, parser, show
from fadump.abi.linux.btf import BTF_HEADER
from fadump.linux.types.btf import Btf
from fadump.linux.vmlinux.elf import open_elf

LARGE_BYTES = 5_000_000
_STRUCTURE = "task_struct"
_SIZE = re.compile(r"/\* size: (\d+), cachelines: \d+, members: (\d+)")


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("vmlinux", type=Path, help="a kernel's, little-endian and with BTF")
    arguments.add_argument("--runs", type=int, default=RUNS)
    options = arguments.parse_args()
    data = section_of(options.vmlinux)
    with tempfile.TemporaryDirectory() as directory:
        rows = [btf_row(table, Path(directory), options.runs) for table in (data, enlarged(data, LARGE_BYTES))]
    show("BTF", rows, as_json=options.json)


def section_of(vmlinux: Path) -> bytes:
    """The BTF of a vmlinux.

    :raises ValueError: it has none.
    """
    with open_elf(vmlinux) as elf:
        data = elf.named(".BTF")
    if data is None:
        raise ValueError(f"{vmlinux} has no BTF")
    return data


def enlarged(data: bytes, least_bytes: int) -> bytes:
    """Little-endian BTF with its types as often as it takes to be so large; copies refer to the first ones."""
    header = BTF_HEADER.decode(data[: BTF_HEADER.size_bytes])
    types_at, strings_at = header.hdr_len + header.type_off, header.hdr_len + header.str_off
    types = data[types_at : types_at + header.type_len]
    strings = data[strings_at : strings_at + header.str_len]
    copies = max(1, -(-(least_bytes - len(strings) - header.hdr_len) // len(types)))
    length = copies * len(types)
    larger = header._replace(type_off=0, type_len=length, str_off=length)
    return BTF_HEADER.encode(larger).ljust(header.hdr_len, b"\0") + copies * types + strings


def btf_row(data: bytes, directory: Path, runs: int) -> dict[str, object]:
    """Processor seconds of both, each from opening the file; of pahole, all of its process.

    :raises ValueError: the two differ.
    """
    path = directory / "btf"
    path.write_bytes(data)
    ours, theirs = zip(*((_ours(path), _paholes(path)) for _run in range(runs)), strict=True)
    path.unlink()
    if len({found for _seconds, found in (*ours, *theirs)}) != 1:
        raise ValueError(f"pahole sees another {_STRUCTURE}: {ours[0][1]}, {theirs[0][1]}")
    our_seconds, their_seconds = (statistics.median(seconds for seconds, _found in side) for side in (ours, theirs))
    return {
        "BTF MB": len(data) / 1e6,
        "types": Btf(data).end - 1,
        "CPU s": our_seconds,
        "pahole CPU s": their_seconds,
        "ratio": our_seconds / their_seconds,
    }


def _ours(path: Path) -> tuple[float, tuple[int, int]]:
    started = time.process_time()
    types = Btf(path.read_bytes())
    found = types.resolve(types.find(_STRUCTURE) or 0)
    members = types.members(found.ref)
    return time.process_time() - started, (found.size_bytes, len(members))


def _paholes(path: Path) -> tuple[float, tuple[int, int]]:
    process = subprocess.Popen(["pahole", "-F", "btf", "-C", _STRUCTURE, str(path)], stdout=subprocess.PIPE, text=True)
    with process:
        text = process.stdout.read() if process.stdout is not None else ""
        _pid, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    found = _SIZE.findall(text)
    if process.returncode or not found:
        raise ValueError(f"pahole shows no {_STRUCTURE}")
    size_bytes, members = map(int, found[-1])
    return used.ru_utime + used.ru_stime, (size_bytes, members)


if __name__ == "__main__":
    main()
