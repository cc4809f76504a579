"""Run a fuzz target for a fixed number of executions, in bounded memory."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_MEMORY = 1 << 30


def fuzz(target: str, runs: int, longest: int, artifacts: Path) -> None:
    """Run the module `target` on `runs` inputs of at most `longest` bytes; it may find nothing.

    The kernel limits the memory that the target can write. libFuzzer's own limit looks at the peak of its resident set,
    which a process takes over from the one that started it: here all the tests before.
    """
    limited = ["prlimit", f"--data={MOST_MEMORY}", sys.executable, "-m", target, "-rss_limit_mb=0", "-timeout=60"]
    options = [f"-runs={runs}", "-seed=1", f"-max_len={longest}", f"-artifact_prefix={artifacts}/"]
    done = subprocess.run([*limited, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"Done {runs} runs" in done.stderr
