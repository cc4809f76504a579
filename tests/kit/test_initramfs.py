"""The initramfs as an archive; that Linux boots from it, tests/real_linux/test_guest_channel.py proves."""

import gzip
import io
import re
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from fadump.errors import SetupError
from fadump.kit import initramfs
from fadump.kit.initramfs import build_initramfs
from fadump.kit.newc import NewcWriter
from tests.kit.conftest import into_cache, make_deb, out_of_cache

INIT = Path(str(resources.files("fadump.kit") / "data" / "init"))


@pytest.fixture(autouse=True)
def busybox(cache, tmp_path):
    """A busybox-static in the cache, so that none is fetched."""
    into_cache(cache, make_deb(tmp_path, "busybox-static", "1.37-1", "ppc64el", {"usr/bin/busybox": b"ELF"}))


@pytest.fixture
def other(tmp_path):
    """Another initramfs, of an odd length when it is compressed."""
    stream = io.BytesIO()
    writer = NewcWriter(stream)
    writer.add_file("other", b"theirs")
    writer.close()
    path = tmp_path / "initrd.img"
    path.write_bytes(stream.getvalue())
    return path


def unpacked(archive, directory):
    directory.mkdir(exist_ok=True)
    command = ["cpio", "-i", "--quiet", "--no-absolute-filenames", "[!d]*"]  # without dev, which only root can make
    subprocess.run(command, input=archive, cwd=directory, check=True)
    return {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}


def test_it_holds_init_and_busybox_to_be_run(tmp_path):
    files = unpacked(gzip.decompress(build_initramfs().read_bytes()), tmp_path / "files")
    assert sorted(files) == ["fadump/busybox", "fadump/init", "fadump/kexec"]
    assert files["fadump/init"].read_bytes() == INIT.read_bytes()
    assert files["fadump/busybox"].read_bytes() == b"ELF"
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o755}
    assert f"/{sorted(files)[1]}" == initramfs.INIT_PATH


def test_it_holds_the_modules_that_are_to_be_loaded_under_their_names(tmp_path):
    modules = [tmp_path / name for name in ("00-virtio.ko", "01-virtio_blk.ko")]
    for module in modules:
        module.write_text(module.name)
    files = unpacked(gzip.decompress(build_initramfs(modules=modules).read_bytes()), tmp_path / "files")
    found = {name: path.read_text() for name, path in files.items() if "modules" in name}
    assert found == {f"fadump/modules/{module.name}": module.name for module in modules}
    assert build_initramfs() != build_initramfs(modules=modules) != build_initramfs(modules=modules[:1])


def test_it_has_a_console_for_kernels_that_bring_none(tmp_path):
    archive = gzip.decompress(build_initramfs().read_bytes())
    listed = subprocess.run(["cpio", "-itv", "--quiet"], input=archive, capture_output=True, check=True).stdout
    assert re.search(rb"^crw-------.* 5, +1 .* dev/console$", listed, re.MULTILINE)


def test_it_is_made_once_and_again_for_another_busybox(cache, tmp_path):
    first = build_initramfs()
    made = first.stat().st_mtime_ns
    assert (build_initramfs(), first.stat().st_mtime_ns) == (first, made)
    out_of_cache(cache, "busybox-static")
    into_cache(cache, make_deb(tmp_path, "busybox-static", "1.38-1", "ppc64el", {"usr/bin/busybox": b"NEW"}))
    assert build_initramfs() != first


def test_the_same_inputs_give_the_same_bytes():
    first = build_initramfs()
    content = first.read_bytes()
    first.unlink()
    assert build_initramfs().read_bytes() == content


@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_another_initramfs_stands_before_ours_and_ours_is_aligned(other, length):
    theirs = other.read_bytes() + bytes(length)
    other.write_bytes(theirs)
    both = build_initramfs(other).read_bytes()
    assert both.startswith(theirs)
    ours = both[len(theirs) :].lstrip(b"\0")
    assert (len(both) - len(ours)) % 4 == 0
    assert len(both) - len(theirs) - len(ours) >= 4
    assert ours == build_initramfs().read_bytes()


def test_another_initramfs_that_changes_is_not_mixed_up(other):
    first = build_initramfs(other)
    other.write_bytes(gzip.compress(other.read_bytes()))
    assert build_initramfs(other) != first


def test_another_initramfs_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SetupError, match="missing can't be read for an initramfs: No such file"):
        build_initramfs(tmp_path / "missing")


def test_a_package_without_busybox_is_told(cache, tmp_path):
    out_of_cache(cache, "busybox-static")
    into_cache(cache, make_deb(tmp_path, "busybox-static", "1.38-1", "ppc64el", {}))
    with pytest.raises(SetupError, match="has no busybox at usr/bin/busybox or bin/busybox"):
        build_initramfs()
    assert not list((cache / "initramfs").glob("*"))


def test_init_is_a_shell_script():
    subprocess.run(["sh", "-n", INIT], check=True)


def test_init_answers_every_request_that_the_protocol_has():
    protocol = (Path(__file__).parents[2] / "docs" / "guest-channel.md").read_text()
    headings = re.findall(r"^### (.*)$", protocol, re.MULTILINE)
    described = {part.split()[0] for heading in headings for part in heading.split(", ")}
    handled = re.findall(r"^ +([a-z_ |]+)\) do_", INIT.read_text(), re.MULTILINE)
    assert described == {word for line in handled for word in line.split(" | ")}
