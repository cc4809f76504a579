"""How every benchmark measures and prints: medians, one small table, or one JSON object."""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30
RUNS = 5
_POLL_SECONDS = 0.001


def parser(description: str) -> argparse.ArgumentParser:
    """Arguments that all benchmarks share."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--json", action="store_true", help="print one JSON object")
    return arguments


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes by the wall clock."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median(measure: Callable[[], float], runs: int) -> float:
    """The median of ``runs`` measurements, each of which sets up what it needs."""
    return statistics.median(measure() for _run in range(runs))


def peak_anonymous(command: list[str]) -> int:
    """The most anonymous memory that a command of fadump was seen with, in bytes.

    :raises CalledProcessError: it fails.
    """
    return peak_anonymous_of([sys.executable, "-m", "fadump", *command])


def peak_anonymous_of(arguments: list[str]) -> int:
    """The same of any program. Linux keeps no record of it.

    :raises CalledProcessError: it fails.
    """
    peak = 0
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            peak = max(peak, int(fields.get("RssAnon", "0 kB").split()[0]) << 10)
            time.sleep(_POLL_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return peak


def show(benchmark: str, rows: Sequence[Mapping[str, object]], *, as_json: bool) -> None:
    """Print ``rows``, which have the same keys, with the load that the host had at the end."""
    load = round(os.getloadavg()[0], 2)
    if as_json:
        print(json.dumps({"benchmark": benchmark, "rows": rows, "load": load}, indent=1))
        return
    table = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    print(f"host load in the last minute: {load}")


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
