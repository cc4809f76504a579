"""What images are built from here: an archive, a kernel that is only files, and a script in QEMU's place."""

import multiprocessing
import os
import sys

import pytest

from fadump.cli import main
from fadump.kit.kernel import Kernel
from fadump.kit.packages import require
from fadump.systems import debian_image_packages, image
from tests.systems.image.parts import WHOLE


@pytest.fixture(autouse=True, scope="module")
def tools():
    require("running the tests", {"debugfs": "e2fsprogs"})


@pytest.fixture
def archive(archive, monkeypatch):
    """The archive, of which an image has "thing" and what that depends on."""
    monkeypatch.setattr(debian_image_packages, "WANTED", ("?essential", "thing"))
    return archive


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Puts a script in QEMU's place."""

    def put(script=WHOLE):
        program = tmp_path / "bin" / "qemu-system-ppc64"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >{tmp_path}/arguments\n{script}")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    put()
    return put


@pytest.fixture
def kernel(tmp_path):
    """A kernel that is only files."""
    directory = tmp_path / "kernel"
    directory.mkdir()
    for name in ("vmlinux", "vmlinux.stripped", "config"):
        (directory / name).write_text(f"{name}\n")
    modules = directory / "modules/lib/modules/9.9.1-fadump"
    modules.mkdir(parents=True, mode=0o700)
    (modules / "thing.ko").write_text("module\n")
    (directory / "config").write_text("".join(f"CONFIG_{option}=y\n" for option in image.NEEDED_OPTIONS))
    return Kernel(
        release="9.9.1-fadump",
        series="9.9",
        page_size="64K",
        bootable=directory / "vmlinux.stripped",
        vmlinux=directory / "vmlinux",
        config=directory / "config",
        modules=directory / "modules",
        debian_version="9.9.1-1",
        compiler="gcc",
        fragment_sha256="0",
        build_seconds=1.0,
    )


@pytest.fixture
def command(kernel, monkeypatch):
    """Starts ``fadump image`` in a process that sees what this one does."""
    monkeypatch.setattr("fadump.cli.image.build_kernel", lambda *_: kernel)

    started = []

    def start(*words):
        process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(main(["image", *words])))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()
