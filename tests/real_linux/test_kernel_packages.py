"""What is taken out of a kernel package, against dpkg-deb, depmod and Linux. Debian's kernels have no FADump."""

import subprocess
from pathlib import Path

import pytest

from fadump.cli import main
from fadump.kit import kernel_file
from fadump.kit.debian import ARCHITECTURE
from fadump.kit.initramfs import build_initramfs
from fadump.kit.kernel_file import take_kernel
from tests.kit.conftest import make_deb
from tests.real_linux.debian_kernel import fetch_debian_kernel
from tests.real_linux.guest import Guest

WANTED = ("virtio_pci", "virtio_blk", "virtio_console", "ext4")


@pytest.fixture(scope="module")
def package():
    return fetch_debian_kernel()


@pytest.fixture(scope="module")
def files(package, tmp_path_factory):
    """Its files, its control files among them."""
    directory = tmp_path_factory.mktemp("package")
    subprocess.run(["dpkg-deb", "--raw-extract", package, directory], check=True)
    return directory


def test_debians_own_kernel_is_refused_with_the_reason(package, tmp_path, capsys):
    assert main(["run", "--machine", "qemu", "--kernel", str(package), "--out", str(tmp_path / "out")]) == 125
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"fadump: the kernel in --kernel {package} has no FADump, its configuration says CONFIG_FA_")


def test_the_kernel_and_its_modules_are_those_that_depmod_names(files, tmp_path, monkeypatch):
    monkeypatch.setenv("FADUMP_CACHE", str(tmp_path / "cache"))
    (config,) = files.glob("boot/config-*")
    config.write_text(config.read_text().replace("# CONFIG_FA_DUMP is not set", "CONFIG_FA_DUMP=y"))
    repacked = tmp_path / "linux-image.deb"
    subprocess.run(["dpkg-deb", "-Znone", "--build", files, repacked], check=True, capture_output=True)
    taken = take_kernel(repacked)
    (vmlinux,) = files.glob("boot/vmlinux-*")
    assert taken.bootable.read_bytes() == vmlinux.read_bytes()

    (version,) = (path.name for path in (files / "lib/modules").iterdir())
    subprocess.run(["/sbin/depmod", "-b", files, version], check=True)
    table = (files / "lib/modules" / version / "modules.dep").read_text().splitlines()
    depends = {name(path): [*map(name, rest.split())] for path, _colon, rest in (line.partition(":") for line in table)}
    order = [module.stem.partition("-")[2] for module in taken.modules]
    assert {*order} == {*WANTED}.union(*(depends[module] for module in WANTED))
    assert all(order.index(needed) < order.index(module) for module in order for needed in depends[module])


def test_linux_loads_the_modules_of_a_package_in_their_order(kernel, tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_file, "MODULES", ("nfsv4", "overlay"))
    files = {f"boot/vmlinux-{kernel.release}": kernel.bootable, f"boot/config-{kernel.release}": kernel.config}
    files |= {path.relative_to(kernel.modules): path for path in kernel.modules.rglob("*.ko")}
    contents = {str(path): source.read_bytes() for path, source in files.items()}
    package = make_deb(tmp_path, "linux-image", "6.12", ARCHITECTURE, contents)
    monkeypatch.setenv("FADUMP_CACHE", str(tmp_path / "cache"))
    taken = take_kernel(package)
    monkeypatch.undo()
    with Guest(tmp_path, str(taken.bootable), str(build_initramfs(modules=taken.modules))) as guest:
        assert guest.line().startswith(f"hello protocol=1 mode=first release={kernel.release} ")
        _status, loaded = guest.run("cut -d' ' -f1 /proc/modules")
        assert "insmod" not in guest.log()
    order = [module.stem.partition("-")[2] for module in taken.modules]
    assert loaded.decode().split() == order[::-1]
    assert {"sunrpc", "nfs", "nfsv4", "overlay"} <= {*order}


def name(path):
    return Path(path).stem.replace("-", "_")
