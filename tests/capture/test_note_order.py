"""Registers in another byte order, compared with notes that were built in it."""

import struct

import pytest

from fadump.capture.note_order import in_order
from fadump.vmcore.notes import iter_notes
from tests.vmcore.core_builder import note, prstatus

ORDERS = {"little": "<", "big": ">"}


def notes_in(order):
    sign = ORDERS[order]
    vector = 0x0011_2233_4455_6677_8899_AABB_CCDD_EEFF
    data = prstatus({"nip": 0x1234, "gpr1": 1 << 63 | 5}, pid=7, signal=11, byte_order=order)
    data += note("CORE", 2, struct.pack(f"{sign}33Q", *range(33)), order)
    data += note("LINUX", 0x102, struct.pack(f"{sign}32Q", *range(32)), order)
    data += note("LINUX", 0x100, vector.to_bytes(16, order) * 34, order)
    data += note("CORE", 2, b"odd", order) + note("VMCOREINFO", 0, b"OSRELEASE=6.12", order)
    return list(iter_notes(data, order))


@pytest.mark.parametrize("now", ORDERS)
@pytest.mark.parametrize("wanted", ORDERS)
def test_registers_are_put_into_the_kernels_byte_order(now, wanted):
    assert list(in_order(notes_in(now), now, wanted)) == notes_in(wanted)
