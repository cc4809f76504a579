"""Packages that are unpacked by this machine's dpkg, as any user, with nothing of them run."""

import gzip
import io
import lzma
import os
import subprocess
import tarfile

import pytest
import zstandard

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


def ar_deb(directory, name, control, data, suffix=""):
    """A .deb by ar(1), of two archives that dpkg-deb(1) would not make."""
    (directory / "debian-binary").write_text("2.0\n")
    members = {f"control.tar{suffix}": control, f"data.tar{suffix}": data}
    for member, content in members.items():
        (directory / member).write_bytes(content)
    subprocess.run(["ar", "rcS", name, "debian-binary", *members], cwd=directory, check=True)
    return directory / name


def archive(*members):
    """A tar archive of members by their names and contents, or with more of their properties."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content, *properties in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for each in properties:
                for key, value in each.items():
                    setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def control(version="1"):
    text = f"Package: thing\nVersion: {version}\nArchitecture: all\nMaintainer: N <n@example.org>\nDescription: test\n"
    return ("./control", text.encode())


@pytest.mark.parametrize("name", ["preinst", "./preinst", ".//preinst", "./postrm", "prerm"])
def test_a_script_is_kept_from_dpkg_however_its_name_is_written(unpack, tmp_path, name):
    """dpkg says so in its log if it tries."""
    script = b"no program"
    first = ar_deb(tmp_path, "thing_1_all.deb", archive(control(), (name, script, {"mode": 0o755})), archive())
    second = ar_deb(tmp_path, "thing_2_all.deb", archive(control("2"), (name, script, {"mode": 0o755})), archive())
    root = unpack(first, second)  # the second takes the first one's place, of which dpkg would tell both
    kind = name.rpartition("/")[2]
    place = root / (SCRIPTS if kind == "preinst" else "var/lib/dpkg/info") / f"thing.{kind}"
    assert (place.read_bytes(), place.stat().st_mode & 0o777) == (script, 0o755)
    assert states(root) == ["thing install ok unpacked"]


@pytest.mark.parametrize(
    "members",
    [
        [("./preinst", b"", {"type": tarfile.SYMTYPE, "linkname": "/bin/true"})],
        [("./here", b"", {"type": tarfile.SYMTYPE, "linkname": "."}), ("./here/preinst", b"")],
        [("./here/preinst", b"")],
    ],
)
def test_a_control_file_that_is_no_plain_file_is_refused(unpack, tmp_path, members):
    deb = ar_deb(tmp_path, "thing_1_all.deb", archive(control(), *members), archive())
    with pytest.raises(FormatError, match=r"thing_1_all\.deb is a damaged package: its control file .* plain file"):
        unpack(deb)


def test_a_package_that_is_packed_by_zstd_is_unpacked(unpack, tmp_path):
    packed = [zstandard.compress(part) for part in (archive(control()), archive(("./usr/thing", b"text")))]
    root = unpack(ar_deb(tmp_path, "thing_1_all.deb", *packed, suffix=".zst"))
    assert (root / "usr/thing").read_bytes() == b"text"


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstandard.compress, bytes])
def test_a_damaged_archive_in_a_package_is_refused_in_one_sentence(unpack, tmp_path, pack):
    data = pack(archive(("./usr/thing", os.urandom(10_000))))
    deb = ar_deb(tmp_path, "thing_1_all.deb", archive(control()), b"junk" + data[4:5000])
    with pytest.raises(FormatError, match=r"thing_1_all\.deb is a damaged package: [^\n]+$"):
        unpack(deb)
    deb = ar_deb(tmp_path / "work", "thing_1_all.deb", archive(control()), data[:5000])
    with pytest.raises(FormatError, match=r"thing_1_all\.deb is a damaged package: [^\n]+$"):
        unpack_packages([DebianPackage.from_file(deb, "forky", "ppc64el")], tmp_path / "other/root")


def test_what_is_not_roots_or_runs_as_another_is_kept_for_the_target(unpack, tmp_path):
    data = archive(
        ("./plain", b"", {"mode": 0o755}), ("./groups", b"", {"gid": 42}), ("./set-id", b"", {"mode": 0o4755})
    )
    root = unpack(ar_deb(tmp_path, "thing_2_all.deb", archive(control("2")), data))
    assert (root / MODES).read_text().splitlines() == ["0:42 644 /groups", "0:0 4755 /set-id"]
    assert (root / "set-id").is_file()


def test_a_name_can_not_pass_for_another_files_mode(unpack, tmp_path):
    data = archive(("./groups\n0:0 4755 /bin/sh", b"", {"gid": 42}))
    with pytest.raises(FormatError, match="has a line's end in its name"):
        unpack(ar_deb(tmp_path, "thing_2_all.deb", archive(control("2")), data))


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
