"""How long a whole cycle takes on the embedded machine, and how much memory of our own.

``fadump run`` in a process of its own, from its start to its end, with its dump on tmpfs; the baseline is writing as
many bytes as the dump has in the file system, in one piece. Memory is the most RssAnon seen: the machine's own memory
and its dump are files.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.plan import TOTAL_BYTES
from benchmarks.report import MIB, RUNS, median, parser, peak_anonymous, show, timed

_TMPFS = Path("/dev/shm")  # noqa: S108 - the directory in it is new
_STEP_BYTES = 256 * MIB
"""What memory comes in."""
_CHUNK = bytes(range(256)) * 4096


def main() -> None:
    options = parser(__doc__.partition("\n")[0]).parse_args()
    cases = {
        "8 GiB, 4 CPUs, --verify": ["--memory", "8G", "--cpus", "4", "--verify"],
        "64 TiB in 1000 ranges": scattered(1000),
        "64 TiB in 1000 ranges, --verify": [*scattered(1000), "--verify"],
    }
    show("cycle", [row(name, arguments, RUNS) for name, arguments in cases.items()], as_json=options.json)


def row(name: str, arguments: list[str], runs: int) -> dict[str, object]:
    """The line for one machine."""
    peaks: list[int] = []
    with tempfile.TemporaryDirectory(dir=_TMPFS) as directory:
        out = Path(directory) / "run"

        def run() -> float:
            shutil.rmtree(out, ignore_errors=True)
            start = time.perf_counter()
            peaks.append(peak_anonymous(["run", "--out", str(out), *arguments]))
            return time.perf_counter() - start

        cycle_s = median(run, runs)
        written_bytes = (out / "vmcore").stat().st_blocks * 512
        write_s = median(lambda: timed(lambda: _write(Path(directory) / "copy", written_bytes)), runs)
    return {
        "machine": name,
        "cycle s": cycle_s,
        "RssAnon MiB": max(peaks) // MIB,
        "dump MiB": written_bytes / MIB,
        "write s": write_s,
        "cycle/write": cycle_s / write_s,
    }


def scattered(count: int) -> list[str]:
    """Options for memory up to 64 TiB in ``count`` ranges, with holes between them, as a server with many DIMMs has."""
    step = TOTAL_BYTES // count // _STEP_BYTES * _STEP_BYTES
    size_bytes = step - _STEP_BYTES
    dimms = [f"--dimm={size_bytes}@{number * step:#x}" for number in range(1, count)]
    return ["--memory", str(size_bytes), *dimms, "--cmdline", "crashkernel=16G"]


def _write(path: Path, size_bytes: int) -> None:
    with path.open("wb", buffering=0) as file:
        for at in range(0, size_bytes, len(_CHUNK)):
            os.write(file.fileno(), _CHUNK[: size_bytes - at])


if __name__ == "__main__":
    main()
