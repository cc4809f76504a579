"""Packages that are unpacked by this machine's dpkg, as any user, with nothing of them run."""

import os
import subprocess
import tarfile

import pytest

from fadump.errors import FormatError
from fadump.kit.package_file import DebianPackage
from fadump.kit.packages import require
from fadump.systems.debian_image_unpack import MODES, SCRIPTS, TOOLS, unpack_packages
from tests.kit.conftest import make_deb

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(autouse=True, scope="module")
def tools():
    require("running the tests", {**TOOLS, "ar": "binutils"})


@pytest.fixture
def unpack(tmp_path):
    """Unpacks packages; what it returns is the root directory."""

    def run(*debs):
        root = tmp_path / "work/root"
        root.parent.mkdir()
        packages = [DebianPackage.from_file(deb, "forky", "ppc64el") for deb in debs]
        unpack_packages(packages, root)
        return root

    return run


def states(root):
    command = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f", "${Package} ${Status}\n"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_dpkg_finds_packages_that_are_unpacked_and_not_configured(unpack, tmp_path):
    thing = make_deb(tmp_path, "thing", "1:1-1", "ppc64el", {"usr/bin/thing": b"ELF"}, depends="missing")
    root = unpack(thing, make_deb(tmp_path, "other", "2", "all", {"bin/other": b"#!/bin/sh\n"}))
    assert states(root) == ["other install ok unpacked", "thing install ok unpacked"]
    assert (root / "usr/bin/thing").read_bytes() == b"ELF"
    assert (root / "bin").readlink().as_posix() == "usr/bin"
    assert (root / "usr/bin/other").is_file()


def test_directories_are_everybodys_to_read_whatever_the_umask(unpack, tmp_path):
    thing = make_deb(tmp_path, "thing", "1-1", "ppc64el", {"usr/bin/thing": b"ELF"})
    before = os.umask(0o077)
    try:
        root = unpack(thing)
    finally:
        os.umask(before)
    for path in (root, root / "usr", root / "usr/bin", root / "etc", root / "var/lib/dpkg"):
        assert path.stat().st_mode & 0o777 == 0o755


def test_no_script_is_run_here_and_the_one_that_is_due_is_kept(unpack, tmp_path):
    ran = tmp_path / "ran"
    script = f"#!/bin/sh\ntouch {ran}\n".encode()
    scripts = {"DEBIAN/preinst": script, "DEBIAN/postinst": script}
    root = unpack(make_deb(tmp_path, "thing", "1-1", "ppc64el", {"usr/bin/thing": b"ELF", **scripts}))
    assert not ran.exists()
    assert (root / SCRIPTS / "thing.preinst").read_bytes() == script
    info = root / "var/lib/dpkg/info"
    assert (info / "thing.postinst").read_bytes() == script
    assert not (info / "thing.preinst").exists()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["root"]


def test_what_is_not_roots_or_runs_as_another_is_kept_for_the_target(unpack, tmp_path):
    subprocess.run(
        ["dpkg-deb", "--control", make_deb(tmp_path, "thing", "1-1", "ppc64el", {}), tmp_path / "control"], check=True
    )
    with tarfile.open(tmp_path / "control.tar", "w") as control:
        control.add(tmp_path / "control/control", "./control")
    with tarfile.open(tmp_path / "data.tar", "w") as data:
        for name, gid, mode in (("plain", 0, 0o755), ("groups", 42, 0o644), ("set-id", 0, 0o4755)):
            member = tarfile.TarInfo(f"./{name}")
            member.gid, member.mode = gid, mode
            data.addfile(member)
    (tmp_path / "debian-binary").write_text("2.0\n")
    subprocess.run(
        ["ar", "rcS", "thing_2_all.deb", "debian-binary", "control.tar", "data.tar"], cwd=tmp_path, check=True
    )
    root = unpack(tmp_path / "thing_2_all.deb")
    assert (root / MODES).read_text().splitlines() == ["0:42 644 /groups", "0:0 4755 /set-id"]
    assert (root / "set-id").is_file()


@pytest.mark.parametrize(
    "content",
    [b"", b"!<arch>\n", b"!<arch>\nshort", b"!<arch>\n" + b"control.tar     ".ljust(48) + b"99999".ljust(10) + b"`\n"],
)
def test_what_is_no_package_is_refused(unpack, tmp_path, content):
    deb = tmp_path / "thing_1_all.deb"
    deb.write_bytes(content)
    with pytest.raises(
        FormatError, match=r"thing_1_all\.deb (is not a Debian package|is a damaged package|has no con)"
    ):
        unpack(deb)
