"""What make dist makes: an sdist, and a wheel made of that, which twine accepts and pip and pipx install."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fadump
from tests.installed.conftest import ROOT

WHEEL = f"fadump-{fadump.__version__}-py3-none-any.whl"
BESIDE = (
    *("man/man1/fadump.1", "man/man1/fadump-kernel-build.1", "man/man1/fadump-qemu-system-ppc64.1"),
    *("bash-completion/completions/fadump", "zsh/site-functions/_fadump", "fish/vendor_completions.d/fadump.fish"),
)


def output_of(*command, **more):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def wheel():
    """The wheel, built anew."""
    assert "PASSED" in output_of("make", "dist", f"VENV={sys.prefix}", cwd=ROOT)
    assert (ROOT / "dist" / f"fadump-{fadump.__version__}.tar.gz").is_file()
    return ROOT / "dist" / WHEEL


@pytest.fixture
def bare(tmp_path):
    """The programs of an environment that has nothing in it."""
    output_of(sys.executable, "-m", "venv", tmp_path / "bare")
    return tmp_path / "bare" / "bin"


def test_it_runs_in_a_bare_environment(bare, wheel, tmp_path):
    output_of(bare / "pip", "install", wheel)
    assert output_of(bare / "fadump", "version") == f"fadump {fadump.__version__}\n"
    run = output_of(bare / "fadump", "run", "--verify", cwd=tmp_path)
    assert f"look at it:  {bare}/fadump show fadump-run/vmcore" in run
    assert "sysrq triggered crash" in output_of(bare / "fadump", "show", "fadump-run/vmcore", cwd=tmp_path)
    assert [name for name in BESIDE if not (bare.parent / "share" / name).is_file()] == []


def test_pipx_installs_it_with_its_man_pages(bare, wheel, tmp_path):
    output_of(bare / "pip", "install", "pipx")
    places = {"PIPX_HOME": "home", "PIPX_BIN_DIR": "bin", "PIPX_MAN_DIR": "man"}
    environment = {**os.environ, **{name: str(tmp_path / place) for name, place in places.items()}}
    output_of(bare / "pipx", "install", wheel, env=environment)
    assert output_of(tmp_path / "bin" / "fadump", "version") == f"fadump {fadump.__version__}\n"
    assert Path(output_of("man", "-M", tmp_path / "man", "-w", "fadump-save").strip()).is_file()
    assert "complete" in output_of(tmp_path / "bin" / "fadump", "completion", "fish")
