"""Reading dumps: struct pages classified, pages read in random order, and all of ``fadump show``.

The dumps are of a kernel whose pages are known one by one (:mod:`benchmarks.truth`). The baselines, in the same run:
summing the same struct pages with numpy, as the bytes that they are and as 64-bit words, which is the fastest sum there
is; drgn, which reads kdump files through libkdumpfile, on the same file. Both sides' answers are compared before
anything is measured.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import drgn
import numpy as np

import fadump
from benchmarks.report import GIB, MIB, RUNS, median, parser, peak_anonymous, show, timed
from benchmarks.truth import KERNEL_BYTES, PAGE, STRUCT, Truth, make_truth, write_elf, write_kdump
from fadump.linux.pages.classify import classify_pages
from fadump.memory.ranges import Range
from fadump.vmcore.dump import open_dump

CODECS = ("zlib", "lzo", "zstd", "raw")
READS = 20_000
LARGE_GIB = 64
_DRGNS_MACHINE = "x86_64"
"""libkdumpfile refuses ppc64 with 4K pages; where pages are in the file doesn't depend on the machine."""


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("--gib", type=int, default=8, help="the crashed machine's memory")
    arguments.add_argument("--runs", type=int, default=RUNS)
    arguments.add_argument("--directory", type=Path, help="where the dumps are written, for as long as this runs")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        _measure(options, Path(directory))


def _measure(options: argparse.Namespace, directory: Path) -> None:
    truth = make_truth(options.gib * GIB)
    show("classify", [classify_row(truth, directory, options.runs)], as_json=options.json)
    rows = [reads_row(truth, directory, codec, READS, options.runs) for codec in CODECS]
    show("random reads", rows, as_json=options.json)
    shows = [show_row(truth, directory, kind, options.runs) for kind in ("elf", "zlib", "zstd")]
    large = make_truth(LARGE_GIB * GIB)
    shows += [show_row(large, directory, "elf", options.runs)]
    show("show", shows, as_json=options.json)


def classify_row(truth: Truth, directory: Path, runs: int) -> dict[str, object]:
    """Struct pages a second from an ELF core, its file in the page cache; and numpy's sum of their bytes.

    :raises ValueError: a page is not of the class that it was made with.
    """
    path = directory / "classify.elf"
    write_elf(truth, path)
    with fadump.open(path) as system:
        if not np.array_equal(classify_pages(system.memory).of(Range(0, truth.pages)), truth.classes()):
            raise ValueError("pages in wrong classes")
        raw = system.dump.view_physical(Range.sized(KERNEL_BYTES, truth.pages * STRUCT))
        words = raw.view(np.uint64)
        rounds = [
            (timed(lambda: classify_pages(system.memory)), timed(raw.sum), timed(words.sum)) for _run in range(runs)
        ]
    path.unlink()
    ours, of_bytes, of_words = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    return {
        "memory GiB": truth.size_bytes / GIB,
        "million classified/s": truth.pages / 1e6 / ours,
        "times np.sum of bytes": ours / of_bytes,
        "times np.sum of words": ours / of_words,
    }


def reads_row(truth: Truth, directory: Path, codec: str, reads: int, runs: int) -> dict[str, object]:
    """Pages read by physical address in random order, in turn by us and by drgn, both warm.

    :raises ValueError: drgn reads something else.
    """
    path = directory / f"reads.{codec}"
    stored = write_kdump(truth, path, codec, machine=_DRGNS_MACHINE)
    users = stored[stored >= truth.own_pages]
    addresses = (np.random.default_rng(3).choice(users, reads) * PAGE).tolist()
    program = drgn.Program()
    program.set_core_dump(path)
    with open_dump(path) as dump:
        if any(dump.read_physical(address, PAGE) != program.read(address, PAGE, True) for address in addresses):
            raise ValueError("drgn reads other pages")

        def ours() -> None:
            for address in addresses:
                dump.read_physical(address, PAGE)

        def drgns() -> None:
            for address in addresses:
                program.read(address, PAGE, True)

        seconds = [(timed(ours), timed(drgns)) for _run in range(runs)]
    path.unlink()
    our_rate, drgns_rate = (reads / statistics.median(column) for column in zip(*seconds, strict=True))
    return {
        "codec": codec,
        "ours reads/s": round(our_rate),
        "drgn reads/s": round(drgns_rate),
        "of drgn %": round(100 * our_rate / drgns_rate),
    }


def show_row(truth: Truth, directory: Path, kind: str, runs: int) -> dict[str, object]:
    """All of ``fadump show`` in a process of its own: seconds by the wall clock, and the most RssAnon seen."""
    path = directory / f"show.{kind}"
    if kind == "elf":
        write_elf(truth, path)
    else:
        write_kdump(truth, path, kind)
    peaks: list[int] = []

    def run() -> float:
        start = time.perf_counter()
        peaks.append(peak_anonymous(["show", str(path)]))
        return time.perf_counter() - start

    row: dict[str, object] = {
        "dump": kind,
        "memory GiB": truth.size_bytes / GIB,
        "show s": median(run, runs),
        "RssAnon MiB": max(peaks) // MIB,
    }
    path.unlink()
    return row


if __name__ == "__main__":
    main()
