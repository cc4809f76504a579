"""A campaign on a Dask cluster of processes, whose workers are killed, lack something or have another fadump.

`make test-campaign` runs them: a worker takes some seconds to start. Everything listens on loopback only.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

import fadump
from fadump.campaign.cluster import ClusterPool
from fadump.campaign.job import artifact_of
from fadump.campaign.outcome import Outcome
from fadump.errors import SetupError
from tests.campaign.runs import job

FADUMP = [sys.executable, "-m", "fadump"]
TWELVE = '[factors]\ncpus = [1, 2, 3, 4]\nfault = ["", "registers=no-end", "power-cut=6"]\n[always]\nmemory = "1G"\n'
END_SECONDS = 300

pytestmark = pytest.mark.filterwarnings("default")  # Dask's own are no errors of ours


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FADUMP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def local_cluster():
    """Its address, and its workers' processes."""
    command = [sys.executable, Path(__file__).with_name("local_cluster.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        yield json.loads(process.stdout.readline())
        process.stdin.close()


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler of its own; gives its address, its process, and a function that starts a worker in some way."""
    file = tmp_path / "scheduler.json"
    with ExitStack() as ends:

        def started(program, *words, before=(), environment=None):
            command = [*before, sys.executable, "-m", f"distributed.cli.{program}", *words]
            process = subprocess.Popen(
                command, env={**os.environ, **(environment or {})}, cwd=tmp_path, start_new_session=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            ends.callback(end, process)
            return process

        process = started(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)
        )

        def worker(**how):
            return started(
                "dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", "--host",
                "127.0.0.1", "--name", str(time.monotonic_ns()), "--local-directory", str(tmp_path / "dask"), **how,
            )  # fmt: skip

        yield until(lambda: _address(file)), process, worker


def end(process):
    """End a process and what it has started; what it had is lost."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _address(scheduler_file):
    """The scheduler's address; None: the file isn't there, or not all of it."""
    try:
        return json.loads(scheduler_file.read_text())["address"]
    except (FileNotFoundError, ValueError):
        return None


def until(happens):
    """Wait for something that another process does."""
    deadline = time.monotonic() + END_SECONDS
    while not (found := happens()):
        assert time.monotonic() < deadline
        with subprocess.Popen(["true"]):
            pass
    return found


def pool(address, jobs, said=None):
    """A pool, as soon as a worker is there, of whatever kind."""

    def there():
        try:
            return ClusterPool(address, jobs, [].append if said is None else said.append)
        except SetupError as error:
            if "it has none" not in str(error):
                raise
            return None

    return until(there)


def ended(cluster_pool, count):
    found = []
    deadline = time.monotonic() + END_SECONDS
    while len(found) < count:
        assert time.monotonic() < deadline
        found += cluster_pool.wait(1)
    return found


def test_a_worker_that_is_killed_loses_nothing_and_nothing_is_kept_twice(local_cluster, tmp_path):
    (tmp_path / "twelve.toml").write_text(TWELVE)
    command = [*FADUMP, "campaign", "run", "twelve.toml", "--json", "--scheduler", local_cluster["address"]]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as campaign:
        lines = []
        for line in campaign.stderr:
            lines.append(line)
            if " 3 of 12  " in line:
                os.kill(local_cluster["pids"][0], signal.SIGKILL)
        told = json.loads(campaign.stdout.read())
    assert campaign.returncode == 1
    assert any("is lost; it is run again" in line for line in lines), lines
    assert told["outcomes"] == {"saved": 8, "lost": 4}
    with sqlite3.connect(tmp_path / "twelve.results") as database:
        rows = database.execute("SELECT number, outcome, began FROM runs ORDER BY number").fetchall()
    database.close()
    assert [number for number, _outcome, _began in rows] == [*range(1, 13)]
    assert [outcome for _number, outcome, _began in rows] == ["saved", "lost", "saved"] * 4
    assert sum(" of 12  " in line for line in lines) == 12


def test_a_scheduler_without_workers_is_told_with_how_one_is_started(scheduler):
    address, _process, _worker = scheduler
    with pytest.raises(SetupError, match=f"it has none: start one with 'dask worker {address}', and wait"):
        ClusterPool(address, [job()], [].append)


def test_a_scheduler_that_goes_away_is_said_and_what_has_ended_is_kept(scheduler, tmp_path):
    address, process, worker = scheduler
    worker()
    pool(address, [job()]).__exit__(None, None, None)
    (tmp_path / "twelve.toml").write_text(TWELVE)
    command = [*FADUMP, "campaign", "run", "twelve.toml", "--json", "--scheduler", address]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as campaign:
        for line in campaign.stderr:
            if " 1 of 12  " in line:
                end(process)
        told = json.loads(campaign.stdout.read())
    assert campaign.returncode == 1
    assert told["error"].startswith(f"the scheduler at {address} doesn't answer any more")
    with sqlite3.connect(tmp_path / "twelve.results") as database:
        assert 1 <= database.execute("SELECT count(*) FROM runs").fetchone()[0] < 12
    database.close()


def test_a_worker_gets_the_file_that_it_lacks_once(scheduler, tmp_path):
    """Its own view of the file's directory is empty; what it is sent it keeps, by its hash."""
    address, _process, worker = scheduler
    files = tmp_path / "files"
    files.mkdir()
    kernel = files / "kernel"
    kernel.write_bytes(os.urandom(5 << 20))
    artifact = artifact_of(kernel)
    hidden = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
              f'mount -t tmpfs tmpfs "{files}" && exec "$@"', "sh"]  # fmt: skip
    worker(before=hidden)
    wanted = job(words=["run", "--machine=qemu", f"--kernel={kernel}"], artifacts=[artifact])
    with pool(address, [wanted]) as cluster_pool:
        assert cluster_pool.start(wanted)
        (first,) = ended(cluster_pool, 1)
    assert first.run.outcome is Outcome.NOT_TRIED
    assert f"--kernel {artifact.copy} " in first.run.error
    assert artifact.copy.read_bytes() == kernel.read_bytes()
    before = artifact.copy.stat().st_mtime_ns
    with pool(address, [wanted]) as cluster_pool:
        assert cluster_pool.start(wanted)
        ended(cluster_pool, 1)
    assert artifact.copy.stat().st_mtime_ns == before


def test_a_worker_with_another_fadump_is_not_used_and_one_that_comes_later_is(scheduler, tmp_path):
    address, _process, worker = scheduler
    other = tmp_path / "other"
    shutil.copytree(Path(fadump.__file__).parent, other / "fadump", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "fadump" / "cycle.py").open("a") as file:
        file.write("# other\n")
    worker(environment={"PYTHONPATH": str(other)})
    with pytest.raises(SetupError, match="no worker of the scheduler.*it has another version of fadump"):
        pool(address, [job()])
    worker()
    said = []
    found = until(lambda: _pool_or_none(address, said))
    with found:
        assert found.start(job())
        (one,) = ended(found, 1)
    assert one.run.outcome is Outcome.SAVED
    assert "it has another version of fadump" in said[-1]


def _pool_or_none(address, said):
    try:
        return ClusterPool(address, [job()], said.append)
    except SetupError:
        return None


def test_a_worker_without_fadump_or_without_qemu_is_not_used(scheduler, tmp_path):
    address, _process, worker = scheduler
    (tmp_path / "none" / "fadump").mkdir(parents=True)
    (tmp_path / "none" / "fadump" / "__init__.py").touch()
    bare = worker(environment={"PYTHONPATH": str(tmp_path / "none")})
    with pytest.raises(SetupError, match="it has no fadump that knows campaigns"):
        pool(address, [job()])
    end(bare)
    worker()
    with pytest.raises(SetupError, match="it has no qemu-of-nobody"):
        until(lambda: _with_qemu(address))


def _with_qemu(address):
    try:
        return ClusterPool(address, [job(program="qemu-of-nobody")], [].append)
    except SetupError as error:
        if "qemu-of-nobody" in str(error):
            raise
        return None


def test_a_run_that_ends_three_workers_is_given_up(scheduler, tmp_path):
    """Whoever runs it is killed each time; the campaign goes on without it."""
    address, _process, worker = scheduler
    (tmp_path / "one.toml").write_text('[factors]\ncycles = [1000]\n[always]\nmemory = "1G"\n')
    first = worker()
    pool(address, [job()]).__exit__(None, None, None)
    command = [*FADUMP, "campaign", "run", "one.toml", "--json", "--scheduler", address]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as campaign:
        campaign.stderr.readline()
        for _time in range(3):
            until(lambda: list((tmp_path / "cache" / "campaign").glob(".run-*/out")))
            end(first)
            shutil.rmtree(tmp_path / "cache" / "campaign")
            first = worker()
        out, _err = campaign.communicate()
    assert json.loads(out)["outcomes"] == {"broken": 1}
