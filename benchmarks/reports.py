"""``fadump report`` and ``fadump show`` of a kernel with many tasks.

Its tasks and types are those of :mod:`benchmarks.tasks`, and what is read of them is looked at before anything is
measured. Nobody else reads tasks by BTF alone: the baseline is drgn, which only opens the same file.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import fadump
from benchmarks.report import GIB, MIB, RUNS, parser, peak_anonymous_of, show
from benchmarks.tasks import make_tasked_truth
from benchmarks.truth import Truth, write_elf, write_kdump

TASKS = 2_000
KINDS = ("elf", "zlib")
_DISTINCT_PAGES = 1 << 15
_OPENED_BY_DRGN = "import drgn, sys; drgn.Program().set_core_dump(sys.argv[1])"


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("--gib", type=int, default=8, help="the crashed machine's memory")
    arguments.add_argument("--tasks", type=int, default=TASKS)
    arguments.add_argument("--runs", type=int, default=RUNS)
    arguments.add_argument("--directory", type=Path, help="where the dumps are written, for as long as this runs")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        _measure(options, Path(directory))


def _measure(options: argparse.Namespace, directory: Path) -> None:
    truth = make_tasked_truth(options.gib * GIB, options.tasks)
    rows = [row for kind in KINDS for row in report_rows(truth, directory, kind, options.tasks, options.runs)]
    show("report", rows, as_json=options.json)


def report_rows(truth: Truth, directory: Path, kind: str, tasks: int, runs: int) -> list[dict[str, object]]:
    """Each command in a process of its own, in turn: medians of their seconds, and the most RssAnon seen.

    :raises ValueError: tasks or types are not read as they were made.
    """
    path = directory / f"tasks.{kind}"
    if kind == "elf":
        write_elf(truth, path)
    else:
        write_kdump(truth, path, kind, distinct_pages=min(_DISTINCT_PAGES, truth.pages // 16))
    with fadump.open(path) as system:
        if len(system.tasks) != tasks or system.types.find("structure_1000") is None:
            raise ValueError("tasks or types that are not the kernel's")
    page = directory / "report.html"
    ours = [sys.executable, "-m", "fadump"]
    commands = {
        "report": [*ours, "report", str(path)],
        "report, page": [*ours, "report", str(path), "--out", str(page)],
        "show": [*ours, "show", str(path)],
    }
    if kind == "elf":  # libkdumpfile refuses ppc64 with 4K pages
        commands["drgn opens it"] = [sys.executable, "-c", _OPENED_BY_DRGN, str(path)]
    rounds = [[_run(command) for command in commands.values()] for _run_number in range(runs)]
    rows = []
    for name, runs_of_it in zip(commands, zip(*rounds, strict=True), strict=True):
        cpu_seconds, seconds, peaks = zip(*runs_of_it, strict=True)
        row: dict[str, object] = {"command": name, "dump": kind, "GiB": truth.size_bytes / GIB, "tasks": tasks}
        row |= {"CPU s": statistics.median(cpu_seconds), "wall s": statistics.median(seconds)}
        rows.append(row | {"RssAnon MiB": max(peaks) // MIB})
    page.unlink()
    path.unlink()
    return rows


def _run(command: list[str]) -> tuple[float, float, int]:
    start, cpu_before = time.perf_counter(), _children_cpu_seconds()
    peak = peak_anonymous_of(command)
    return _children_cpu_seconds() - cpu_before, time.perf_counter() - start, peak


def _children_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
