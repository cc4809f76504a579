"""A kernel configured as distributions configure theirs, in a package as theirs: locked down, with signed drivers."""

from pathlib import Path

import pytest

from fadump.abi.platform import Platform
from fadump.kit.debian import ARCHITECTURE
from fadump.kit.kernel import build_kernel
from fadump.kit.kernel_config import read_fragment
from tests.kit.conftest import make_deb
from tests.real_linux.fadump_command import fadump_run

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The kernel with its modules, as a distribution ships it."""
    kernel = build_kernel(
        options={**read_fragment(HERE / "small.config"), **read_fragment(HERE / "distribution.config")}
    )
    files = {f"boot/vmlinux-{kernel.release}": kernel.bootable, f"boot/config-{kernel.release}": kernel.config}
    files |= {path.relative_to(kernel.modules): path for path in kernel.modules.rglob("*.ko")}
    contents = {str(path): source.read_bytes() for path, source in files.items()}
    directory = tmp_path_factory.mktemp("package")
    return make_deb(directory, "linux-image", "6.12", ARCHITECTURE, contents, options=["-Znone"])


@pytest.mark.parametrize("platform", Platform)
def test_its_dump_is_right(tmp_path, package, platform):
    words = "panic=0 lockdown=confidentiality"
    options = ("--platform", platform, "--cmdline", words, "--verify")
    done = fadump_run(tmp_path / "out", "--kernel", str(package), *options)
    assert done.status == 0, f"{done.stderr}\nfiles are in {done.out}"
    assert (done.json["result"], done.json["kernel_release"][-13:]) == ("saved", "-distribution")
    assert done.json["verified"]["bytes_different"] == 0
    assert done.json["verified"]["registers_different"] == []
    console = done.file("console.log")
    assert console.count("Kernel is locked down from command line") == 2
    assert "insmod" not in console  # each driver has been let in, by its signature
