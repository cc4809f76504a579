"""The package in bookworm, trixie and forky: it installs with their packages only, and the dump tools do their work."""

import json
import re

import pytest

import fadump
from tests.installed.conftest import ROOT

DUMP = "fadump-run/vmcore"
TESTED = ("vmcore", "linux", "capture")
NOT_THERE = (
    *("--ignore=tests/vmcore/test_against_qemu.py", "--ignore=tests/linux/test_source_lines.py"),
    *("-k", "not fuzzer"),
)
"""What takes QEMU, and atheris, which Debian doesn't have."""


def told(root, *words):
    done = root.run("fadump", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def dump(plain):
    assert told(plain, "run", "--verify")["result"] == "saved"


def test_it_runs_with_the_suites_own_packages_and_nothing_else(plain):
    version = told(plain, "version", "-v")
    assert version["version"] == fadump.__version__
    assert version["codecs"]["zlib"] == "zlib" and version["codecs"]["zstd"] == "zstandard"
    assert version["codecs"]["lzo"] is None and version["codecs"]["snappy"] is None


def test_what_belongs_to_it_is_where_the_system_looks(plain):
    for name in (
        *("usr/share/man/man1/fadump.1.gz", "usr/share/man/man1/fadump-save.1.gz"),
        "usr/share/man/man1/fadump-qemu-system-ppc64.1.gz",
        *("usr/share/bash-completion/completions/fadump", "usr/share/fish/vendor_completions.d/fadump.fish"),
        *("usr/share/zsh/vendor-completions/_fadump", "usr/share/doc/fadump/README.md.gz"),
        *("lib/systemd/system/fadump-capture.service", "lib/systemd/system/fadump-capture-network.service"),
        "lib/systemd/system/fadump-capture-guard.service",
        "usr/lib/systemd/system/kdump-tools.service.d/fadump-capture.conf",
    ):
        assert (plain.path / name).is_file(), name
    shipped = ROOT / "src/fadump/service/data/fadump.toml"
    assert (plain.path / "etc/fadump.toml").read_text() == shipped.read_text()
    wanted = plain.path / "etc/systemd/system"
    assert not [link for link in wanted.rglob("*fadump*") if link.is_symlink()]  # the administrator enables them


@pytest.mark.usefixtures("dump")
def test_a_dump_is_saved_checked_and_shown(plain):
    for compression in ("zlib", "zstd", "none"):
        saved = f"saved-{compression}"
        assert told(plain, "save", DUMP, saved, "--level", "31", "--compress", compression)["result"] == "saved"
        assert told(plain, "check", saved)["result"] == "whole"
        assert told(plain, "show", saved)["panic"] == "sysrq triggered crash"
        assert "sysrq: Trigger a crash" in plain.run("fadump", "dmesg", saved).stdout


@pytest.mark.usefixtures("dump")
@pytest.mark.parametrize("compression", ["lzo", "snappy"])
def test_what_a_codec_lacks_can_be_installed_as_it_says(plain, compression):
    root = plain.copy(plain.path.with_name(compression))
    done = root.run("fadump", "save", DUMP, "saved", "--compress", compression)
    assert done.returncode == 125
    root.install(*re.search(r"apt-get install (\S+)$", done.stderr)[1].split())
    assert told(root, "save", DUMP, "saved-with-it", "--compress", compression)["result"] == "saved"
    assert told(root, "check", "saved-with-it")["result"] == "whole"
    assert plain.run("fadump", "check", "/root/nothing").returncode == 125


def test_the_tests_of_the_dump_tools_pass_in_it(complete):
    for part in ("tests", "benchmarks", "docs", "examples", "pyproject.toml", "README.md"):
        complete.put(ROOT / part, "/source")
    command = ["python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-tools", *NOT_THERE]
    done = complete.run("sh", "-c", 'cd /source && exec "$@"', "sh", *command, *(f"tests/{part}" for part in TESTED))
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 1000


def test_it_is_removed_without_a_trace(complete):
    assert complete.run("apt-get", "purge", "-y", "fadump").returncode == 0
    left = complete.run("find", "/usr", "/etc", "/var/lib/dpkg/info", "-name", "*fadump*", "-not", "-path", "/source/*")
    assert left.stdout == ""
