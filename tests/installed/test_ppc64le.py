"""What docs/install.md says for ppc64le, on Debian 12: its packages for ppc64el, their programs run by QEMU.

The packages are unpacked only, as configuring them takes an hour of emulation. How the kernel starts such programs is
registered in a user namespace of its own (binfmt_misc, Linux 6.7 and later), so that nothing of it stays.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fadump.kit.debian import fetch, fetch_system, native_architecture
from fadump.kit.package_file import unpack
from fadump.systems.debian_image_unpack import unpack_packages
from tests.installed.conftest import ROOT
from tests.installed.suite_root import archives_of

SUITE = "bookworm"
INSTALL = (ROOT / "docs/install.md").read_text()
LINES = re.search(r"^(sudo apt install .*)\n(python3 -m venv .*)\n(.*pip install \.)$", INSTALL, re.MULTILINE)
PROGRAMS = ("bash", "dash", "coreutils", "libc-bin", "sed", "grep")
"""What every system has."""
LIBRARIES = "usr/lib/powerpc64le-linux-gnu"
ALTERNATIVES = {"libblas.so.3": "blas", "liblapack.so.3": "lapack"}
"""Links that update-alternatives(1) makes when the packages are configured."""
DEVICES = ("null", "zero", "random", "urandom")
ENTER = r"""
set -eu
root=$1 qemu=$2
shift 2
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x15\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\xfc\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\x00'
printf %s ":ppc64le:M::$magic:$mask:$qemu:F" >/proc/sys/fs/binfmt_misc/register
for device in null zero random urandom; do mount --bind "/dev/$device" "$root/dev/$device"; done
mount --rbind /proc "$root/proc"
exec chroot "$root" "$@"
"""


@pytest.fixture(scope="module")
def power(tmp_path_factory):
    """Runs a line of shell on the system, as root there."""
    directory = tmp_path_factory.mktemp("ppc64el")
    qemu, root = directory / "qemu", directory / "root"
    unpack(fetch("qemu-user-static", [native_architecture()], [SUITE]), qemu)
    names = LINES[1].removeprefix("sudo apt install ").split()
    packages = fetch_system([*PROGRAMS, *names], SUITE, archives_of(SUITE, "ppc64el"))
    unpack_packages(packages, root)
    for name, place in ALTERNATIVES.items():
        (root / LIBRARIES / name).symlink_to(f"{place}/{name}")
    for name in ("dev", "proc", "root"):
        (root / name).mkdir(exist_ok=True)
    for device in DEVICES:
        (root / "dev" / device).touch()
    for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
        if Path("/", name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path("/", name), root / name)
    source = root / "root/source"
    for name in ("src", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)

    def run(line):
        apart = [
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            ENTER,
        ]
        apart += ["sh", str(root), str(qemu / "usr/bin/qemu-ppc64le-static")]
        environment = {
            name: value for name, value in os.environ.items() if re.match("(?i)pip_|ssl_cert_|.*_proxy", name)
        }
        environment |= {"PATH": "/usr/sbin:/usr/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [*apart, "bash", "-c", f"cd /root/source && {line}"],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield run
    shutil.rmtree(directory)


def test_pip_takes_the_distributions_packages_and_the_dump_tools_work(power):
    assert power("uname -m") == "ppc64le\n"
    for line in LINES.groups()[1:]:
        power(line)
    version = json.loads(power("~/fadump/bin/fadump version -v --json"))
    assert version["packages"] == {"numpy": "1.24.2", "zstandard": "0.20.0", "rich": "13.3.1"}
    assert version["codecs"] == {"zlib": "zlib", "lzo": "liblzo2.so.2", "snappy": "libsnappy.so.1", "zstd": "zstandard"}
    power("~/fadump/bin/fadump run --verify --memory 1G")
    for compression in ("zlib", "zstd", "lzo", "snappy"):
        power(f"~/fadump/bin/fadump save fadump-run/vmcore {compression} --level 31 --compress {compression}")
        assert json.loads(power(f"~/fadump/bin/fadump check {compression} --json"))["result"] == "whole"
    assert "sysrq triggered crash" in power("~/fadump/bin/fadump show snappy")
