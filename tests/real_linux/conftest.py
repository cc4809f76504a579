"""Real kernels in QEMU. Tests share boots: one whole cycle serves all that look at its files."""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fadump.abi.platform import Platform
from fadump.kit.kernel import find_kernel
from tests.real_linux import mini_system
from tests.real_linux.fadump_command import Done, fadump_run
from tests.real_linux.foreign import ForeignProgram
from tests.real_linux.page_sets import BUSY_CPUS, WORKLOAD, crash_under_load
from tests.real_linux.state_truth import EVERY_STATE, module_files

ROOT = Path(__file__).parents[2]
BUILD_SECONDS = 3600
REHEARSAL_SECONDS = 1800
SUITES = ["forky", "sid"]
"""Whose makedumpfile and crash know the kernels that are crashed here."""


def pytest_collection_modifyitems(items):
    for item in items:
        if "/tests/real_linux/" in item.path.as_posix():
            item.add_marker(pytest.mark.linux)


@pytest.fixture(scope="session")
def kernel():
    """The default kernel; `make test` has built it."""
    kernel = find_kernel()
    assert kernel is not None, "no default kernel in the cache: run fadump kernel build"
    return kernel


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Does a piece of work in a directory once in a whole run, whichever of xdist's processes needs it first; returns
    the text that it returned. The others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def done(name, work):
        with (shared / f"{name}.json").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            if not text:
                text = json.dumps(work(tmp_path_factory.mktemp(name)))
                file.write(text)
        return json.loads(text)

    return done


@pytest.fixture(scope="session")
def cycle(once, kernel):
    """One whole cycle with the defaults, on pseries."""
    return Done.of_text(once("cycle", lambda out: good_run(out).as_text()))


@pytest.fixture(scope="session")
def powernv_cycle(once, kernel):
    """One whole cycle on powernv, proven; the second CPU crashes."""
    options = ("--platform", "powernv", "--crash-cpu", "1", "--verify")
    return Done.of_text(once("powernv", lambda out: good_run(out, *options).as_text()))


@pytest.fixture(scope="session")
def busy_crash(once, kernel):
    """The dump of a machine whose memory is used in every way, with modules and tasks in every state.

    Its CPUs are busy, but for an offline one.
    """
    script = WORKLOAD + EVERY_STATE + BUSY_CPUS
    modules = module_files(kernel).values()

    def crash(directory):
        return str(crash_under_load(directory, kernel, script, crash_cpu=2, cpus=4, modules=modules))

    return Path(once("busy", crash))


@pytest.fixture(scope="session", params=list(Platform))
def any_cycle(request):
    """A whole cycle, on each platform."""
    return request.getfixturevalue({Platform.PSERIES: "cycle", Platform.POWERNV: "powernv_cycle"}[request.param])


@pytest.fixture(scope="session")
def makedumpfile(tmp_path_factory):
    return ForeignProgram("makedumpfile", tmp_path_factory.mktemp("makedumpfile"), SUITES)


@pytest.fixture(scope="session")
def crash(tmp_path_factory):
    return ForeignProgram("crash", tmp_path_factory.mktemp("crash"), SUITES)


@pytest.fixture(scope="session")
def kexec(tmp_path_factory):
    return ForeignProgram("kexec", tmp_path_factory.mktemp("kexec"), SUITES, package="kexec-tools")


@pytest.fixture(scope="session")
def debian(kernel):
    """A whole Debian with that kernel, as the object of fadump image build; `make test` has built it."""
    command = [sys.executable, "-m", "fadump", "image", "build", "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


@pytest.fixture(scope="session")
def packaged_debian(kernel):
    """The same with our Debian package in it, of these sources, and OpenSSH's client."""
    options = {"stdout": subprocess.PIPE, "text": True, "cwd": ROOT, "timeout": BUILD_SECONDS}
    package = subprocess.run(["make", "--silent", "deb"], check=True, **options).stdout.splitlines()[-1]
    command = [sys.executable, "-m", "fadump", "image", "build", "--add", "openssh-client"]
    return json.loads(subprocess.run([*command, "--add", package, "--json"], check=True, **options).stdout)


@pytest.fixture
def debian_saves(tmp_path, debian):
    """Rehearses that Debian with these options, and sees to it that its dump is saved as it was.

    In the options {kernel} is the image's.
    """

    def rehearsed(*options):
        command = [sys.executable, "-m", "fadump", "rehearse", "--json", "--verify", "--out", tmp_path / "out"]
        command += ["--disk", debian["path"], *(word.format(kernel=debian["kernel"]) for word in options)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=REHEARSAL_SECONDS, check=False)
        result = json.loads(done.stdout)
        assert (done.returncode, result["result"]) == (0, "saved"), done.stderr
        assert result["verified"]["bytes_different"] == 0 and not result["verified"]["registers_different"]
        assert result["verified"]["bytes_compared"] > 50 << 20
        assert (result["service"], result["resets"]) == ("rebooted", 2)  # as kdump-tools does
        return result

    return rehearsed


@pytest.fixture
def rehearse(tmp_path, kernel):
    """Rehearses the system of mini_system.py, and sees to it that its image stays as it was.

    With a ``grub`` of boot_disk.py that starts it; else it is given its kernel.
    """

    def run(*options, grub=None, **system):
        if grub is None:
            image = mini_system.build(tmp_path, **system)
            machine = ["--kernel", kernel.bootable, "--cmdline", mini_system.CMDLINE]
        else:
            image = mini_system.build_with_loader(tmp_path, grub, kernel, **system)
            machine = []
        before = hashlib.sha256(image.read_bytes()).digest()
        command = [sys.executable, "-m", "fadump", "rehearse", "--json", "--out", tmp_path / "out"]
        machine += ["--disk", image, "--memory", "1G"]
        done = subprocess.run(
            [*command, *machine, *options], capture_output=True, text=True, timeout=REHEARSAL_SECONDS, check=False
        )
        assert hashlib.sha256(image.read_bytes()).digest() == before, "the user's disk has been written to"
        return done.returncode, json.loads(done.stdout), done.stderr

    return run


def good_run(out, *options):
    done = fadump_run(out, *options)
    assert done.status == 0, f"{done.stderr}\nfiles are in {done.out}"
    return done
