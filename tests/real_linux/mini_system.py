"""A system of its own on a disk: an ext4 root with busybox and an init that saves dumps as a kdump service does."""

import shutil
import subprocess

from fadump.kit.debian import fetch
from fadump.kit.package_file import unpack

SERVICE = """
if [ -e /proc/vmcore ]; then
    mkdir -p /var/crash/today
    {save}
    sync
    {then}
fi
"""
STARTS = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -o remount,rw /
/bin/busybox --install -s /bin
export PATH=/bin
mount -t sysfs sys /sys
{service}
{extra}
"""
INITTAB = """::sysinit:/etc/starts
hvc0::respawn:/bin/sh -l
"""
PROFILE = "export PATH=/bin PS1='root@mini:~# '\n"
SAVE = "cp /proc/vmcore /var/crash/today/vmcore"
RELEASE = "echo 1 >/sys/kernel/fadump/release_mem; echo 1 >/sys/kernel/fadump/registered"
REBOOT = "reboot -f"
CMDLINE = "console=hvc0 root=/dev/vda fadump=on panic=5"


def build(directory, **service):
    """A disk image with the system, and no boot loader: see :func:`files` for ``service``."""
    image = directory / "mini.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", files(directory, **service), image, "2G"], check=True)
    return image


def build_with_loader(directory, grub, kernel, **service):
    """The same that GRUB starts, from the disk's second partition."""
    cmdline = CMDLINE.replace("/dev/vda", "/dev/vda2")
    root = files(directory, **service)
    return grub.disk(directory / "mini.img", root, cmdline, kernel.bootable, kind="ext4", free_mib=2048)


def files(directory, *, save=SAVE, then=RELEASE, extra="", program=None, boot=None):
    """A directory with the system's files; nothing of it is ours but the init. ``program`` is a ForeignProgram,
    ``boot`` a kernel that it has as /boot/vmlinux."""
    root = directory / "root"
    for name in ("bin", "sbin", "proc", "sys", "dev", "etc", "var/crash", "tmp"):
        (root / name).mkdir(parents=True)
    if program is not None:
        program.install(root)
    if boot is not None:
        (root / "boot").mkdir()
        shutil.copyfile(boot, root / "boot/vmlinux")
    package = directory / "package"
    package.mkdir()
    unpack(fetch("busybox-static"), package)
    (root / "bin/busybox").write_bytes(next(package.rglob("bin/busybox")).read_bytes())
    (root / "sbin/init").symlink_to("/bin/busybox")
    (root / "etc/inittab").write_text(INITTAB)
    (root / "etc/profile").write_text(PROFILE)
    (root / "etc/starts").write_text(STARTS.format(service=SERVICE.format(save=save, then=then), extra=extra))
    for name in ("bin/busybox", "etc/starts"):
        (root / name).chmod(0o755)
    return root
