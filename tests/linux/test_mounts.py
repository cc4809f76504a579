import pytest

from fadump.linux.state.mounts import Mount
from fadump.linux.system import CrashedSystem
from tests.linux.host_kernel import HostKernel


class MountKernel(HostKernel):
    """/ has /mnt, which is a file system's subdirectory, and on this is another one, read-only."""

    def __init__(self, byte_order="little"):
        super().__init__((), byte_order)
        root, disk = self.dentry("/"), self.dentry("/")
        inside = self.dentry("inside", self.dentry("deep", disk))
        self.top = self.mount("rootfs", "rootfs", root, root)
        self.mnt = self.mount("/dev/sda", "ext4", self.dentry("mnt", self.dentry("a\x1bb", root)), disk, flags=0x40)
        self.inner = self.mount("", "tmpfs", inside, self.dentry("/"), super_flags=1)
        self.have_children(self.top, [self.mnt])
        self.have_children(self.mnt, [self.inner])
        namespace = self.place(self.pack("Q", self.top))
        self.proxy = self.place(self.pack("Q", namespace))
        self.poke(self.names["Dinit_task"] + 0xA0, self.pack("Q", self.proxy))


def mounts_of(kernel):
    return CrashedSystem(kernel.dump()).state.mounts


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_each_mount_has_its_path(byte_order):
    found = mounts_of(MountKernel(byte_order))
    assert found.mounts == (
        Mount("rootfs", "/", "rootfs", is_read_only=False),
        Mount("/dev/sda", "/a\x1bb/mnt", "ext4", is_read_only=True),
        Mount("none", "/a\x1bb/mnt/deep/inside", "tmpfs", is_read_only=True),
    )
    assert found.left_out == ()


def test_a_mount_that_is_on_itself_is_told_once():
    kernel = MountKernel()
    kernel.have_children(kernel.inner, [kernel.top])
    assert len(mounts_of(kernel).mounts) == 3


def test_a_path_that_never_ends_is_cut():
    kernel = MountKernel()
    first = kernel.dentry("x")
    second = kernel.dentry("y", first)
    kernel.poke(first, kernel.pack("Q", second))
    kernel.poke(kernel.inner, kernel.pack("Q", first))
    path = mounts_of(kernel).mounts[2].path
    assert path.startswith("/a\x1bb/mnt/.../") and len(path) < 2000


def test_a_mount_nowhere_is_told_and_the_others_are_there():
    kernel = MountKernel()
    kernel.poke(kernel.inner + 24, kernel.pack("Q", 0xC000_0100_0000_0000))
    found = mounts_of(kernel)
    assert len(found.mounts) == 2 and len(found.left_out) == 1 and f"{kernel.inner:#x}" in found.left_out[0]
