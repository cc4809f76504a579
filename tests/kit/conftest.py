"""A cache of its own for every test, and Debian packages made on the spot."""

import io
import lzma
import shutil
import subprocess
import tarfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from fadump.progress import Step

WAIT_SECONDS = 60
POLL_SECONDS = 0.02


@pytest.fixture(autouse=True)
def cache(cache):
    """Every test here has one."""
    return cache


@pytest.fixture
def progress(monkeypatch):
    """How much was done at every change of each step, by its label."""
    seen = defaultdict(list)
    update = Step.update

    def note(step, done, **others):
        seen[step.label].append(done)
        update(step, done, **others)

    monkeypatch.setattr(Step, "update", note)
    return seen


def wait_until(condition):
    """Wait for something that another process does; returns what it is."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not so after {WAIT_SECONDS} s"
        time.sleep(POLL_SECONDS)
    return value


def make_deb(
    directory: Path,
    name: str,
    version: str,
    architecture: str,
    files: dict[str, bytes],
    depends: str = "",
    fields: str = "",
    options: Sequence[str] = (),
) -> Path:
    """A .deb with these files; those of DEBIAN are scripts. ``fields`` are more lines for its control file, ``options``
    are dpkg-deb's."""
    root = directory / f"{name}_{version}.root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
        "Maintainer: Nobody <nobody@example.org>\nDescription: a test's package\n"
        + (f"Depends: {depends}\n" if depends else "")
        + fields
    )
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        (root / path).chmod(0o755 if path.startswith("DEBIAN/") else 0o644)
    deb = directory / f"{name}_{version}_{architecture}.deb"
    command = ["dpkg-deb", *options, "--build", "--root-owner-group", root, deb]
    subprocess.run(command, check=True, capture_output=True)
    return deb


def make_source_deb(directory: Path, series: str, makefile: str) -> Path:
    """A linux-source package whose kernel is only a Makefile."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo(f"linux-source-{series}/Makefile")
        entry.size = len(makefile.encode())
        entry.mode = 0o644
        archive.addfile(entry, io.BytesIO(makefile.encode()))
    source = {f"usr/src/linux-source-{series}.tar.xz": lzma.compress(stream.getvalue())}
    return make_deb(directory, f"linux-source-{series}", f"{series}.1-1", "all", source)


def into_cache(cache: Path, deb: Path) -> None:
    """Put a package where the cache would have it after fetching, so that no network is needed."""
    directory = cache / "packages" / "trixie-ppc64el" / deb.name.split("_", maxsplit=1)[0]
    directory.mkdir(parents=True)
    (directory / deb.name).write_bytes(deb.read_bytes())


def out_of_cache(cache: Path, name: str) -> None:
    """Remove a package from the cache."""
    shutil.rmtree(cache / "packages" / "trixie-ppc64el" / name)


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie doesn't)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
