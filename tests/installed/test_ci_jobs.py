"""The jobs of docs/ci.md, as they are written there, in a fresh Debian whose root is nobody on this host."""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml
from junitparser import JUnitXml

from fadump.kit.kernel import build_kernel
from tests.installed.conftest import ROOT
from tests.installed.rootless import FIRST_ID, RootlessContainer
from tests.installed.suite_root import SuiteRoot
from tests.real_linux.more_kernels.repaired import unpack_source

DOCUMENT = (ROOT / "docs/ci.md").read_text()
GITHUB, GITLAB = (
    yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
)
BLOCKS = [text.splitlines() for text in re.findall(r"^```sh\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)]
(CONTAINER,) = [lines for lines in BLOCKS if lines[0].startswith("apt-get")]
(BUILT,) = [line for lines in BLOCKS for line in lines if "--kernel vmlinux" in line]
FADUMP = "file:///fadump"


def steps(job):
    return [step["run"] for step in job["steps"] if "run" in step]


@pytest.fixture(scope="module")
def container():
    """With the project's source in /fadump, as if it came from git."""
    directory = Path(tempfile.mkdtemp(prefix="fadump-ci-", dir="/var/tmp"))
    directory.chmod(0o711)
    system = SuiteRoot.make("bookworm", directory / "root")
    for name in ("src", "pyproject.toml", "README.md", "LICENSE"):
        system.put(ROOT / name, "/fadump")
    system.put(ROOT / "tools/hatch_build.py", "/fadump/tools")
    (system.path / "linux").mkdir()
    yield RootlessContainer.make(system)
    shutil.rmtree(directory)


def put(container, source, name):
    """Copy a file or a tree to a name in /linux, where its root can read it."""
    target = container.path / "linux" / name
    subprocess.run(["cp", "-r", "--reflink=auto", source, target], check=True)
    subprocess.run(["chown", "-R", f"{FIRST_ID}:{FIRST_ID}", target], check=True)


def saved(container, done):
    """What a job has left: it is good, and whole."""
    assert done.returncode == 0, done.stdout + done.stderr
    there = container.path / "linux"
    (suite,) = JUnitXml.fromfile(there / "fadump.xml")
    cases = {case.name: case.is_passed for case in suite}
    assert {"registered", "production", "verified: memory", "verified: registers"} <= {*cases}
    assert all(cases.values())
    index = json.loads((there / "fadump-artifacts/index.json").read_text())
    assert index["object"]["result"] == "saved" and index["object"]["machine"] == "qemu"
    assert not list((there / "fadump-artifacts").glob("vmcore*"))
    return index


def test_the_jobs_are_the_same_everywhere():
    (github,) = GITHUB["jobs"].values()
    gitlab = GITLAB["fadump"]
    assert [steps(github), gitlab["script"]] == [CONTAINER, CONTAINER]
    assert github["container"] == gitlab["image"] == "debian:bookworm"
    assert github["env"].keys() == gitlab["variables"].keys() == {"FADUMP"}
    assert CONTAINER[-1].replace("--source .", "--kernel vmlinux") == BUILT


def test_the_host_gives_the_container_no_rights(container):
    done = container.run("id -u; cat /proc/self/uid_map; mount -t tmpfs none /mnt; echo >/etc/x", "/")
    assert done.stdout.split() == ["0", "0", str(FIRST_ID), "65536"], done.stderr
    assert (container.path / "etc/x").stat().st_uid == FIRST_ID


def test_a_kernel_that_is_built_already_has_its_result_in_minutes(container):
    put(container, build_kernel().bootable, "vmlinux")
    done = container.run("\n".join([*CONTAINER[:-1], BUILT]), "/linux", FADUMP=FADUMP)
    assert saved(container, done)["exit_code"] == 0


def test_a_tree_is_built_and_its_dump_is_proven(container, tmp_path):
    shutil.rmtree(container.path / "linux")
    put(container, unpack_source(tmp_path), "")
    done = container.run("\n".join(CONTAINER), "/linux", FADUMP=FADUMP)
    assert saved(container, done)["object"]["kernel_release"].endswith("-fadump")
