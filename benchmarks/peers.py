"""Saving a dump beside makedumpfile: the same pages in the same file, one tool after the other.

makedumpfile is Debian's newest for this host (:mod:`benchmarks.makedumpfile`). Built for it, it reads no dump of
ppc64, so the dump is of a kernel whose pages are known one by one and that either tool can read
(:mod:`benchmarks.twin`); that both leave out the same pages is checked in every run. What is saved goes
to memory, so that no disk counts. CPU seconds are a process's own, from its start to its end.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.makedumpfile import Makedumpfile, find_makedumpfile
from benchmarks.report import GIB, MIB, RUNS, parser, peak_anonymous, show
from benchmarks.truth import fill_elf, write_elf
from benchmarks.twin import EM_X86_64, make_twin, set_machine
from fadump.abi.elf import EM_PPC64
from fadump.capture.packers import Compression

LEVELS = (0, 1, 31)
THREADS = (1, 2)
_FIELDS = ("cpu", "wall", "size_bytes")
_PAGES = re.compile(r"^ *[A-Z][\w -]*: 0x[0-9a-f]{16}$", re.MULTILINE)
"""The lines of either tool's report that count pages."""


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds that a save took, how large its file is, and what the tool says it left out."""

    wall: float
    cpu: float
    size_bytes: int
    report: str


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("--gib", type=int, default=4, help="the crashed machine's memory")
    arguments.add_argument("--runs", type=int, default=RUNS)
    arguments.add_argument("--codec", type=Compression, choices=list(Compression), action="append")
    arguments.add_argument("--level", type=int, choices=LEVELS, action="append")
    arguments.add_argument("--contents", type=Path, help="a file whose pages memory is filled with")
    arguments.add_argument("--directory", type=Path, help="where the source is, for as long as this runs")
    arguments.add_argument("--out", type=Path, default=Path("/dev/shm"), help="where dumps are saved (default: memory)")  # noqa: S108 - new files only
    options = arguments.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=options.directory) as directory,
        tempfile.TemporaryDirectory(dir=options.out) as out,
    ):
        _measure(options, Path(directory) / "vmcore", Path(out))


def _measure(options: argparse.Namespace, source: Path, out: Path) -> None:
    peer = find_makedumpfile()
    truth = make_twin(options.gib * GIB)
    write_elf(truth, source)
    fill_elf(truth, source, options.contents and options.contents.read_bytes())
    sides = _Sides(peer, source, out)
    codecs = options.codec or list(Compression)
    cases = [(level, codec) for level in options.level or LEVELS for codec in codecs]
    rows = [row for case in cases for row in sides.rows(*case, options.runs)]
    show(peer.name, rows, as_json=options.json)
    set_machine(source, EM_PPC64)
    memory: list[dict[str, object]] = [
        {"level": level, "codec": codec.value, "RssAnon MiB": sides.anonymous_bytes(level, codec) // MIB}
        for level, codec in cases
    ]
    show("memory", memory, as_json=options.json)


@dataclass(frozen=True, slots=True)
class _Sides:
    """Either tool, saving one source."""

    peer: Makedumpfile
    source: Path
    out: Path

    def rows(self, level: int, codec: Compression, runs: int) -> list[dict[str, object]]:
        """A row for each number of our threads."""
        theirs: list[Took] = []
        ours: dict[int, list[Took]] = {threads: [] for threads in THREADS}
        for _run in range(runs):
            if codec in self.peer.codecs:
                theirs.append(self._save(EM_X86_64, self.peer.save(self.source, self._saved, level, codec)))
            for threads in THREADS:
                ours[threads].append(
                    self._save(EM_PPC64, [sys.executable, "-m", "fadump", *self._ours(level, codec, threads)])
                )
            reports = {took.report for took in (*theirs, *ours[1], *ours[2])}
            if len(reports) != 1 or not all(reports):
                raise SystemExit(f"the two don't leave out the same pages: {reports}")
        return [_row(level, codec, threads, ours[threads], theirs) for threads in THREADS]

    def anonymous_bytes(self, level: int, codec: Compression) -> int:
        """The most RssAnon of a save with two threads."""
        peak_bytes = peak_anonymous(self._ours(level, codec, 2))
        self._clear()
        return peak_bytes

    def _clear(self) -> None:
        for path in self.out.iterdir():
            path.unlink()

    @property
    def _saved(self) -> Path:
        return self.out / "saved"

    def _ours(self, level: int, codec: Compression, threads: int) -> list[str]:
        options = {"--level": level, "--compress": codec, "--threads": threads}
        words = [str(word) for option in options.items() for word in option]
        return ["save", str(self.source), str(self._saved), *words, "-q"]

    def _save(self, machine: int, command: Sequence[str]) -> Took:
        set_machine(self.source, machine)
        started = time.perf_counter()
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=_environment())
            _pid, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            report = "\n".join(_PAGES.findall(said.read()))
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        size_bytes = self._saved.stat().st_size
        self._clear()
        return Took(wall, used.ru_utime + used.ru_stime, size_bytes, report)


def _environment() -> dict[str, str]:
    """With compiled modules, as wherever fadump is installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _row(level: int, codec: Compression, threads: int, ours: list[Took], theirs: list[Took]) -> dict[str, object]:
    cpu, wall, size = (_medians(ours, field) for field in _FIELDS)
    row: dict[str, object] = {"level": level, "codec": codec.value, "threads": threads}
    row |= {"CPU s": cpu, "wall s": wall, "MiB": round(size / MIB)}
    if not theirs:
        return row | dict.fromkeys(("its CPU s", "its wall s", "its MiB", "CPU ratio", "wall ratio"), "-")
    their_cpu, their_wall, their_size = (_medians(theirs, field) for field in _FIELDS)
    row |= {"its CPU s": their_cpu, "its wall s": their_wall, "its MiB": round(their_size / MIB)}
    pairs = zip(ours, theirs, strict=True)
    return row | {
        "CPU ratio": cpu / their_cpu,
        "wall ratio": statistics.median(mine.wall / other.wall for mine, other in pairs),
    }


def _medians(saves: list[Took], field: str) -> float:
    return statistics.median(getattr(took, field) for took in saves)


if __name__ == "__main__":
    main()
