"""Saving a dump: how near ``fadump save`` comes to its codec alone, what two threads bring, what memory it takes.

The dump is of a kernel whose pages are known one by one (:mod:`benchmarks.truth`), with something in every page. The
baseline, in the same run with as many threads: the codec on the pages that the save packs, out of the mapped file, a
page a call, its results thrown away. Beside it the save's own packer, which takes a batch of pages a call where the
codec's library can. The save reads, sorts pages out by their struct pages, looks for zeros, packs, writes checksummed
pages into a file, makes it durable, and names it.
"""

import argparse
import statistics
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.report import GIB, MIB, RUNS, parser, peak_anonymous, show, timed
from benchmarks.truth import PAGE, Truth, fill_elf, make_truth, write_elf
from fadump.capture.batches import BATCH_BYTES
from fadump.capture.destination import Destination
from fadump.capture.options import SaveOptions
from fadump.capture.packers import Compression, Numbers, PackPage, make_packer, make_page_packer
from fadump.capture.save import save_dump
from fadump.linux.pages.page_class import DumpLevel, left_out
from fadump.linux.system import open_system
from fadump.memory.ranges import Range
from fadump.vmcore.contract import Bytes
from fadump.vmcore.dump import open_dump

LEVELS = (31, 1)
COMPRESSIONS = (Compression.ZLIB, Compression.ZSTD)
THREADS = (1, 2)
LARGE_GIB = 64


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("--gib", type=int, default=8, help="the crashed machine's memory")
    arguments.add_argument("--runs", type=int, default=RUNS)
    arguments.add_argument("--directory", type=Path, help="where the source is, for as long as this runs")
    arguments.add_argument("--out", type=Path, default=Path("/dev/shm"), help="where dumps are saved (default: memory)")  # noqa: S108 - new files only
    options = arguments.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=options.directory) as directory,
        tempfile.TemporaryDirectory(dir=options.out) as out,
    ):
        _measure(options, Path(directory) / "vmcore", Path(out))


def _measure(options: argparse.Namespace, source: Path, out: Path) -> None:
    truth = make_truth(options.gib * GIB)
    write_elf(truth, source)
    fill_elf(truth, source)
    cases = [(level, compression) for level in LEVELS for compression in COMPRESSIONS]
    rows = [row for case in cases for row in save_rows(truth, source, out, *case, options.runs)]
    show("save", rows, as_json=options.json)
    memory = [memory_row(truth, source, out)]
    source.unlink()
    large = make_truth(LARGE_GIB * GIB)
    write_elf(large, source)
    memory.append(memory_row(large, source, out))
    show("memory", memory, as_json=options.json)


def save_rows(
    truth: Truth, source: Path, out: Path, level: int, compression: Compression, runs: int
) -> list[dict[str, object]]:
    """A save and its codec alone, in turn, with each number of threads."""
    pages = packed_pages(truth, source, level)
    rows: list[dict[str, object]] = []
    for threads in THREADS:
        case = _Case(source, pages, level, compression, threads)
        seconds = []
        for _run in range(runs):
            seconds.append(
                (timed(case.codec_alone), timed(case.batches_alone), timed(partial(case.save, out / "saved")))
            )
            size_bytes = sum(path.stat().st_size for path in out.iterdir())
            for path in out.iterdir():
                path.unlink()
        codec_seconds, batch_seconds, save_seconds = (statistics.median(times) for times in zip(*seconds, strict=True))
        rows.append(
            {
                "level": level,
                "codec": compression.value,
                "threads": threads,
                "packed MiB": len(pages) * PAGE // MIB,
                "to %": round(100 * size_bytes / (len(pages) * PAGE)),
                "codec s": codec_seconds,
                "batches s": batch_seconds,
                "save s": save_seconds,
                "codec/save %": round(100 * codec_seconds / save_seconds),
                "batches/save %": round(100 * batch_seconds / save_seconds),
                "1 thread/this": rows[0]["save s"] / save_seconds if rows else 1.0,
            }
        )
    return rows


def packed_pages(truth: Truth, source: Path, level: int) -> Numbers:
    """The numbers of the pages that a level packs: those that it doesn't leave out and that aren't zeros."""
    kept = np.flatnonzero(~np.isin(truth.classes(), list(left_out(DumpLevel(level)))))
    with open_dump(source) as dump:
        words = dump.view_physical(Range(0, truth.size_bytes)).view(np.uint64).reshape(-1, PAGE // 8)
        return np.concatenate([part[words[part].any(axis=1)] for part in np.array_split(kept, len(kept) // 4096 + 1)])


@dataclass(frozen=True)
class _Case:
    """What is measured: a save, and the packing alone of the ``pages`` that it packs."""

    source: Path
    pages: Numbers
    level: int
    compression: Compression
    threads: int

    def codec_alone(self) -> None:
        """The codec, a page a call."""
        self._pack_only(lambda: partial(_pack_each, make_page_packer(self.compression)))

    def batches_alone(self) -> None:
        """The save's packer, a batch a call."""
        self._pack_only(partial(make_packer, self.compression))

    def save(self, destination: Path) -> None:
        options = SaveOptions((DumpLevel(self.level),), self.compression, threads=self.threads, registers=False)
        with open_system(self.source) as system:
            save_dump(system, Destination.take(destination, options), options)

    def _pack_only(self, make: Callable[[], Callable[[Bytes, Numbers, int], object]]) -> None:
        with open_dump(self.source) as dump:
            view = dump.view_physical(Range(0, dump.memory.size_bytes))

            def work(mine: Numbers) -> None:
                pack = make()
                for part in np.array_split(mine, len(mine) * PAGE // BATCH_BYTES + 1):
                    pack(view, part * PAGE, PAGE)

            workers = [threading.Thread(target=work, args=(mine,)) for mine in np.array_split(self.pages, self.threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()


def _pack_each(pack: PackPage, data: Bytes, starts: Numbers, page_bytes: int) -> None:
    view = data.data
    for start in starts.tolist():
        pack(view[start : start + page_bytes])


def memory_row(truth: Truth, source: Path, out: Path) -> dict[str, object]:
    """All of ``fadump save`` in a process of its own: the most RssAnon seen."""
    command = ["save", str(source), str(out / "saved"), "--level", "31", "--compress", "zstd", "--threads", "2"]
    peak_bytes = peak_anonymous(command)
    for path in out.iterdir():
        path.unlink()
    return {"memory GiB": truth.size_bytes / GIB, "level": 31, "RssAnon MiB": peak_bytes // MIB}


if __name__ == "__main__":
    main()
