"""Runs parts of the model kernel without a machine: memory, a device tree, and answers to its calls."""

import os
from contextlib import contextmanager

from fadump.abi.platform import Platform
from fadump.firmware.powernv import PowernvFirmware
from fadump.firmware.pseries import PseriesFirmware
from fadump.machine.embedded.config import EmbeddedConfig
from fadump.machine.embedded.trees import build_tree
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range

GIB = 1 << 30


@contextmanager
def guest_memory(*pieces):
    fds = []
    try:
        segments = []
        for piece in pieces:
            fds.append(os.memfd_create("ram"))
            os.ftruncate(fds[-1], piece.size_bytes)
            segments.append(Segment(piece, fds[-1], 0))
        with GuestMemory(segments) as memory:
            yield memory
    finally:
        for fd in fds:
            os.close(fd)


def described_tree(platform=Platform.PSERIES, cmdline="fadump=on", **others):
    """What the embedded machine hands over on its first boot."""
    tree = build_tree(EmbeddedConfig(cmdline, platform, (Range(0, 4 * GIB),), **others))
    firmware = PseriesFirmware() if platform is Platform.PSERIES else PowernvFirmware()
    firmware.describe(tree)
    return tree


def run(steps, memory, status=0):
    """Run to the end; each call gets ``status``. Returns the calls and what it came to."""
    calls = []
    try:
        call = next(steps)
        while True:
            calls.append(call)
            if call.answer_address:
                memory.write(call.answer_address, status.to_bytes(4, "big", signed=True))
            call = steps.send(status)
    except StopIteration as end:
        return calls, end.value
