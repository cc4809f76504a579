"""What is booted of the kernel that a user gives; zImages and packages are made by binutils, dpkg-deb and hand."""

import gzip
import lzma
import struct
import subprocess

import pytest
import zstandard

from fadump.cli import main
from fadump.errors import SetupError, UsageError
from fadump.kit.kernel_file import take_kernel
from fadump.machine.qemu.process import QemuProcess
from fadump.run.inputs import check_kernel
from fadump.run.qemu_files import kernel_to_run
from tests.kit.conftest import make_deb

TARGET = "powerpc64le-linux-gnu-"
WITH_FADUMP = b"CONFIG_FA_DUMP=y\nCONFIG_VIRTIO_BLK=m\nCONFIG_EXT4_FS=m\n"
VERSION = "9.9.1-powerpc64le"
MODULES = f"usr/lib/modules/{VERSION}/kernel"


def make_elf(directory, name, sections=None):
    """An ELF file for ppc64le; with more sections, if they are given."""
    content = directory / f"{name}.content"
    content.write_text(f"the content of {name}")
    path = directory / name
    subprocess.run([f"{TARGET}ld", "-r", "-b", "binary", "-o", path, content], check=True)
    for section, data in (sections or {}).items():
        (directory / "section").write_bytes(data)
        added = f"--add-section={section}={directory / 'section'}"
        subprocess.run([f"{TARGET}objcopy", added, path], check=True)
    return path


def make_module(directory, name, depends=""):
    return make_elf(directory, f"{name}.ko", {".modinfo": f"name={name}\0depends={depends}\0".encode()}).read_bytes()


def make_rpm(directory, files):
    """An RPM by its format: lead, an empty signature, an empty header, and a cpio archive packed by gzip."""
    root = directory / "rpm"
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    listed = "\n".join(f"./{name}" for name in files).encode()
    archive = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], input=listed, cwd=root, capture_output=True, check=True
    ).stdout
    lead = struct.pack(">IBBHH66sHH16x", 0xEDABEEDB, 3, 0, 0, 1, b"linux", 1, 5)
    empty = struct.pack(">4s4xIIIIII", b"\x8e\xad\xe8\x01", 1, 16, 62, 7, 0, 16) + bytes(16)
    path = directory / "linux.rpm"
    path.write_bytes(lead + empty + empty + gzip.compress(archive))
    return path


@pytest.fixture
def vmlinux(tmp_path):
    return make_elf(tmp_path, "vmlinux")


def zimage(directory, packed):
    return make_elf(directory, "zImage", {".kernel:vmlinux.strip": packed})


def package_files(vmlinux, config=WITH_FADUMP):
    return {f"boot/vmlinux-{VERSION}": vmlinux.read_bytes(), f"boot/config-{VERSION}": config}


def test_a_vmlinux_is_booted_as_it_is(vmlinux, cache):
    assert take_kernel(vmlinux).bootable == vmlinux
    assert not (cache / "given").exists()


@pytest.mark.parametrize(
    "pack", [gzip.compress, lzma.compress, zstandard.compress, bytes], ids=["gzip", "xz", "zstd", "not packed"]
)
def test_the_kernel_in_a_zimage_is_taken_out_once(tmp_path, vmlinux, pack):
    path = zimage(tmp_path, pack(vmlinux.read_bytes()))
    check_kernel(path)
    taken = kernel_to_run(path)
    assert taken.bootable.read_bytes() == vmlinux.read_bytes()
    inode = taken.bootable.stat().st_ino
    assert kernel_to_run(path) == taken
    assert taken.bootable.stat().st_ino == inode


@pytest.mark.parametrize(
    ("packed", "what"),
    [
        (gzip.compress(b"\x7fELF" + bytes(9000), mtime=0)[:-9], "can't be unpacked: it is cut short"),
        (zstandard.compress(b"\x7fELF" + bytes(9000))[:-9], "can't be unpacked: it is cut short"),
        (b"\x1f\x8b" + bytes(100), "can't be unpacked: "),
        (gzip.compress(b"# fadump\n", mtime=0), "is no ELF file"),
    ],
)
def test_a_zimage_whose_kernel_is_none_is_refused_and_not_kept(tmp_path, packed, what, cache):
    path = zimage(tmp_path, packed)
    with pytest.raises(UsageError) as raised:
        kernel_to_run(path)
    assert str(raised.value).startswith(f"the kernel in --kernel {path} {what}")
    assert list((cache / "given").iterdir()) == []


def test_a_wrapper_in_a_wrapper_is_refused_and_not_kept(tmp_path, vmlinux, cache):
    path = zimage(tmp_path, zimage(tmp_path, vmlinux.read_bytes()).read_bytes())
    with pytest.raises(UsageError, match="is a wrapper without a packed kernel, or around another wrapper"):
        kernel_to_run(path)
    assert list((cache / "given").iterdir()) == []


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_a_package_has_a_kernel_and_the_modules_that_its_devices_need_in_order(tmp_path, vmlinux, kind):
    modules = {
        f"{MODULES}/a/virtio_blk.ko.xz": lzma.compress(make_module(tmp_path, "virtio_blk", "virtio_ring,virtio")),
        f"{MODULES}/b/virtio-ring.ko.zst": zstandard.compress(make_module(tmp_path, "virtio_ring", "virtio")),
        f"{MODULES}/c/virtio.ko": make_module(tmp_path, "virtio"),
        f"{MODULES}/d/ext4.ko.gz": gzip.compress(make_module(tmp_path, "ext4", "jbd2,built-in")),
        f"{MODULES}/e/jbd2.ko": make_module(tmp_path, "jbd2"),
        f"{MODULES}/f/e1000.ko": make_module(tmp_path, "e1000"),
    }
    files = package_files(vmlinux) | modules
    path = make_rpm(tmp_path, files) if kind == "rpm" else make_deb(tmp_path, "linux-image", "9.9", "ppc64el", files)
    check_kernel(path)
    taken = kernel_to_run(path)
    assert taken.bootable.read_bytes() == vmlinux.read_bytes()
    names = [module.name for module in taken.modules]
    assert names == ["00-virtio.ko", "01-virtio_ring.ko", "02-virtio_blk.ko", "03-jbd2.ko", "04-ext4.ko"]
    for module in taken.modules:
        plain = tmp_path / module.name.partition("-")[2]
        assert module.read_bytes() == plain.read_bytes()
    assert taken.lacking == ()
    assert kernel_to_run(path) == taken


def test_the_cache_may_lie_behind_a_link(tmp_path, vmlinux, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("FADUMP_CACHE", str(tmp_path / "link" / "cache"))
    path = make_deb(tmp_path, "linux-image", "9.9", "ppc64el", package_files(vmlinux))
    assert take_kernel(path).bootable.read_bytes() == vmlinux.read_bytes()


def test_modules_that_need_each_other_have_an_end(tmp_path, vmlinux):
    modules = {
        f"{MODULES}/virtio_blk.ko": make_module(tmp_path, "virtio_blk", "virtio"),
        f"{MODULES}/virtio.ko": make_module(tmp_path, "virtio", "virtio_blk"),
    }
    taken = take_kernel(make_deb(tmp_path, "linux-image", "9.9", "ppc64el", package_files(vmlinux) | modules))
    assert [module.name for module in taken.modules] == ["00-virtio.ko", "01-virtio_blk.ko"]


def test_a_package_whose_kernel_is_a_zimage_has_the_one_in_it(tmp_path, vmlinux):
    wrapped = zimage(tmp_path, gzip.compress(vmlinux.read_bytes()))
    path = make_deb(tmp_path, "linux-image", "9.9", "ppc64el", package_files(wrapped))
    assert kernel_to_run(path).bootable.read_bytes() == vmlinux.read_bytes()


def test_a_kernel_without_fadump_is_refused_before_anything_starts(tmp_path, vmlinux, monkeypatch, capsys, cache):
    monkeypatch.setattr(QemuProcess, "start", lambda *_: pytest.fail("too early"))
    files = package_files(vmlinux, b"CONFIG_PPC64=y\n# CONFIG_FA_DUMP is not set\n")
    path = make_deb(tmp_path, "linux-image", "9.9", "ppc64el", files)
    run = ["run", "--machine", "qemu", "--kernel", str(path), "--out", str(tmp_path / "out")]
    assert main([*run, "--memory", "1G"]) == 125
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"fadump: the kernel in --kernel {path} has no FADump, its configuration says CONFIG_FA_DUMP is not set: give "
        "another one, or build one with 'fadump kernel build'"
    )
    assert not (tmp_path / "out").exists()
    assert list((cache / "given").iterdir()) == []


def test_drivers_that_another_package_has_are_named_unless_there_is_an_initrd(tmp_path, vmlinux, capsys):
    path = make_deb(tmp_path, "linux-image", "9.9", "ppc64el", package_files(vmlinux))
    assert take_kernel(path).lacking == ("virtio_blk",)
    run = ["run", "--machine", "qemu", "--kernel", str(path), "--out", str(tmp_path / "out")]
    assert main([*run, "--memory", "1G"]) == 125
    assert "doesn't have its kernel's modules virtio_blk, another package does: give an" in capsys.readouterr().err


@pytest.mark.parametrize("names", [[], ["boot/vmlinux-1", "boot/vmlinux-2"]], ids=["none", "two"])
def test_a_package_without_one_kernel_is_refused(tmp_path, names):
    path = make_deb(tmp_path, "linux-image", "9.9", "ppc64el", {"etc/x": b"", **dict.fromkeys(names, b"")})
    with pytest.raises(UsageError, match=rf"--kernel {path} has not one kernel .* but {', '.join(names) or 'none'}:"):
        take_kernel(path)


def test_a_package_that_is_damaged_is_one_sentence(tmp_path, vmlinux):
    path = make_deb(tmp_path, "linux-image", "9.9", "ppc64el", package_files(vmlinux))
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(SetupError, match=f"^unpacking --kernel {path} failed with exit status 2: "):
        take_kernel(path)


def test_a_link_out_of_a_package_is_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "boot").mkdir()
    (root / "boot" / "vmlinux-9").symlink_to(outside)
    (root / "DEBIAN/control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: x\n"
    )
    deb = tmp_path / "x.deb"
    subprocess.run(["dpkg-deb", "--build", root, deb], check=True, capture_output=True)
    with pytest.raises(UsageError, match="has not one kernel"):
        take_kernel(deb)
