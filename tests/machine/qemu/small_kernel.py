"""A kernel of a few instructions, which calls firmware for ever, and a machine that runs it."""

import io
import os
import subprocess
from contextlib import contextmanager

from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.machine import QemuMachine
from fadump.memory.devicetree import DeviceTree, Node, encode_cells

LOADED = 0x40_0000
TREE, RTAS, ARGUMENTS = LOADED + 0x1000, LOADED + 0x2000, LOADED + 0x3000
CALL, BRANCH, RETURNED = LOADED + 0x30, LOADED + 0x44, LOADED + 0x48
"""Its instructions where a call begins, where it is made, and where it returns to."""
PAGE = RTAS + 0x20
"""Where the machine puts its entry page."""
TOKEN = 0x2E00
MEMORY_BYTES = 256 << 20
HOLD = 0x101_0000
"""The kernel doesn't come back from Open Firmware as long as this word is not 0."""
LINUX_BEGINS = """
    tdi     0, 0, 0x48          # for a CPU of the other byte order: b .+8
    b       begin
    .long   0xa600607d, 0x01006b69
    .org    0x30
begin:
"""
"""As Linux does, in its own byte order."""
KERNEL = f"""
    cmpldi  5, 0
    beq     handed_over
    lis     4, {HOLD >> 16}
hold:
    lwz     5, 0(4)
    cmpwi   5, 0
    bne     hold
    li      5, 0                # from Open Firmware: come back as prom_init does
    lis     3, {TREE >> 16}
    ori     3, 3, {TREE & 0xFFFF}
    b       entry
handed_over:
    li      30, 0
    li      31, 0
call:
    lis     3, {ARGUMENTS >> 16}
    ori     3, 3, {ARGUMENTS & 0xFFFF}
    lis     12, page@h
    ori     12, 12, page@l
    mtctr   12
    bctrl
    addi    31, 31, 1           # how many calls have returned
    b       call
    .org    {TREE - LOADED}
    .incbin "tree"
    .org    {RTAS - LOADED}
    addi    30, 30, 1           # how many calls the machine's own RTAS has had
    blr
    .set    page, {PAGE}
    .org    {ARGUMENTS - LOADED}
    .long   {TOKEN}, 0, 1, 0
"""


def tree():
    rtas = {
        "linux,rtas-base": encode_cells(RTAS),
        "linux,rtas-entry": encode_cells(RTAS),
        "rtas-size": encode_cells(0x20),
        "ibm,os-term": encode_cells(TOKEN - 1),  # the firmware's own token is the next one
    }
    cpu = Node("PowerPC,POWER9@0", {"device_type": b"cpu\0", "ibm,ppc-interrupt-server#s": encode_cells(0)})
    memory = Node("memory@0", {"device_type": b"memory\0", "reg": encode_cells(0, 0, 0, MEMORY_BYTES)})
    cells = {"#address-cells": encode_cells(2), "#size-cells": encode_cells(2)}
    blob = DeviceTree(Node("", cells, [memory, Node("rtas", rtas), Node("cpus", {}, [cpu])]), [], 0).encode()
    return blob[:4] + (RTAS - TREE).to_bytes(4, "big") + blob[8:].ljust(RTAS - TREE - 8, b"\0")


def build_kernel(directory, begins=""):
    """The kernel as QEMU takes it, with these instructions before its own."""
    (directory / "tree").write_bytes(tree())
    tools = [
        ["as", "-mbig", "-a64", "-mpower9", "-o", "kernel.o", "-"],
        ["ld", "-EB", "-melf64ppc", "-Ttext=0", "-e0", "-o", "kernel", "kernel.o"],
    ]
    for tool, *arguments in tools:
        command = [f"powerpc64le-linux-gnu-{tool}", *arguments]
        subprocess.run(command, input=f"entry:\n{begins}{KERNEL}", text=True, cwd=directory, check=True)
    return directory / "kernel"


@contextmanager
def machine_with(kernel, console_log=None, **options):
    """A machine that runs it, with these options."""
    config = QemuConfig(
        kernel, kernel, "", **{"cpus": 1, "nodes": (MEMORY_BYTES,), "vof": True, "has_guest_channel": False} | options
    )
    disk_fd = os.memfd_create("disk")
    os.ftruncate(disk_fd, 4 << 20)
    try:
        with QemuMachine(config, disk_fd, console_log or io.BytesIO()) as machine:
            yield machine
    finally:
        os.close(disk_fd)
