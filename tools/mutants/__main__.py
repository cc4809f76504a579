"""Change a sample of lines in src/fadump, one at a time, and see whether a test notices. ``make mutants`` runs this."""

import argparse
import concurrent.futures
import hashlib
import os
import queue
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from mutants import operators
from mutants.covering import Covering
from mutants.operators import Mutant
from mutants.record import recorded
from mutants.trial import PACKAGE, Tree, Verdict

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).parent / "equivalent.toml"
_LEAST_KILLED = 0.95
_PROGRESS_EVERY = 25


def main() -> int:
    """Sample, judge, report; 1 if less than 95 % of the mutants that change something are killed."""
    options = _parser().parse_args()
    cache = recorded(ROOT, options.cache, options.jobs)
    covering = Covering(cache / "record", cache / "tree" / PACKAGE)
    covered, uncovered = _all_mutants(cache / "tree" / PACKAGE, options.only, covering)
    sample = sorted(covered, key=lambda mutant: _chance(options.seed, mutant))[: options.sample]
    verdicts: Counter[Verdict] = Counter()
    for done, (mutant, verdict) in enumerate(_verdicts(sample, covering, cache / "tree", options.jobs), 1):
        verdicts[verdict] += 1
        if verdict is not Verdict.KILLED or options.verbose:
            print(f"[{done}/{len(sample)}] {verdict.value:10} {mutant}", flush=True)
        if done % _PROGRESS_EVERY == 0 and not options.verbose:
            print(f"[{done}/{len(sample)}] {', '.join(_counted(verdicts))}", flush=True)
    _report(verdicts, covered, uncovered)
    changed = verdicts[Verdict.KILLED] + verdicts[Verdict.SURVIVED]
    return 0 if verdicts[Verdict.KILLED] >= _LEAST_KILLED * changed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, metavar="NUMBER", help="which sample (default: 1)")
    parser.add_argument("--sample", type=int, default=200, metavar="NUMBER", help="how many mutants (default: 200)")
    parser.add_argument("--only", default="", metavar="PATH", help="only modules below this path in src/fadump")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="NUMBER", help="how many at a time")
    parser.add_argument("-v", "--verbose", action="store_true", help="list the killed ones too")
    parser.add_argument(
        "--cache", type=Path, metavar="DIRECTORY", help="where the recorded run of the tests is kept",
        default=Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "fadump-mutants"),
    )  # fmt: skip
    return parser


def _all_mutants(package: Path, only: str, covering: Covering) -> tuple[list[Mutant], list[Mutant]]:
    """The mutants that tests without real Linux execute, and the others."""
    covered: list[Mutant] = []
    uncovered: list[Mutant] = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if name.startswith(only):
            for mutant in operators.mutants(name, path.read_bytes()):
                (covered if covering.covers(mutant) else uncovered).append(mutant)
    return covered, uncovered


def _chance(seed: int, mutant: Mutant) -> bytes:
    """What orders mutants by chance, each by itself: a change of the source leaves most of a sample as it is."""
    return hashlib.sha256("\0".join([str(seed), *mutant.key]).encode()).digest()


def _verdicts(sample: list[Mutant], covering: Covering, tree: Path, jobs: int) -> Iterator[tuple[Mutant, Verdict]]:
    equivalent = {(entry["path"], entry["before"], entry["after"]) for entry in _equivalent()}
    with ExitStack() as stack:
        trees = [stack.enter_context(Tree.copy_of(tree)) for _ in range(jobs)]
        for mutant in sample[:1]:
            trees[0].check(covering.tests(mutant))
        copies: queue.SimpleQueue[Tree] = queue.SimpleQueue()
        for copy in trees:
            copies.put(copy)
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(jobs))
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)  # an interruption doesn't wait for all of them

        def judge(mutant: Mutant) -> tuple[Mutant, Verdict]:
            if mutant.key in equivalent:
                return mutant, Verdict.EQUIVALENT
            copy = copies.get()
            try:
                return mutant, copy.judge(mutant, covering.tests(mutant))
            finally:
                copies.put(copy)

        for done in concurrent.futures.as_completed([pool.submit(judge, mutant) for mutant in sample]):
            yield done.result()


def _counted(verdicts: Counter[Verdict]) -> Iterator[str]:
    return (f"{verdicts[verdict]} {verdict.value}" for verdict in Verdict)


def _equivalent() -> list[dict[str, str]]:
    entries: list[dict[str, str]] = tomllib.loads(EQUIVALENT.read_text())["equivalent"]
    return entries


def _report(verdicts: Counter[Verdict], covered: list[Mutant], uncovered: list[Mutant]) -> None:
    changed = verdicts[Verdict.KILLED] + verdicts[Verdict.SURVIVED]
    print(
        f"{verdicts[Verdict.KILLED]} of {changed} killed ({verdicts[Verdict.KILLED] / max(changed, 1):.1%}), "
        f"{verdicts[Verdict.EQUIVALENT]} more change nothing; {len(covered)} mutants to sample from"
    )
    print(f"not covered without real Linux: {len(uncovered)} mutants, none of them sampled")
    for part, number in Counter(mutant.path for mutant in uncovered).most_common(20):
        print(f"  {number:5} {part}")


if __name__ == "__main__":
    sys.exit(main())
