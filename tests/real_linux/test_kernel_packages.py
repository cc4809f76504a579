"""What is taken out of a kernel package of Debian's, against dpkg-deb and depmod. Debian's kernels have no FADump."""

import re
import subprocess
from pathlib import Path

import pytest

from fadump.cli import main
from fadump.kit.debian import ARCHITECTURE, fetch, package_names
from fadump.kit.kernel_file import take_kernel

SUITE = "bookworm"
WANTED = ("virtio_pci", "virtio_blk", "virtio_console", "ext4")


@pytest.fixture(scope="module")
def package():
    """The newest kernel of Debian 12, as it is."""
    names = package_names("linux-image-6.1", SUITE, ARCHITECTURE)
    numbers = {int(match[1]): match[0] for name in names if (match := re.fullmatch(r".*-(\d+)-powerpc64le", name))}
    return fetch(numbers[max(numbers)], suites=[SUITE]).path


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


def name(path):
    return Path(path).stem.replace("-", "_")
