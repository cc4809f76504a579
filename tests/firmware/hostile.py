"""What a hostile guest can pass: numbers at every edge, half-valid structures, and memory that notices being touched."""

import struct

from hypothesis import strategies as st

from fadump.abi.pseries.dump_structure import HEADER_BYTES, SECTION_BYTES
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range
from tests.firmware.guest import BOOT_MEMORY, CPU_STATE_BYTES, DIMM, RMA, STRUCTURE, UPPER, WORK_BUFFER

_EDGES = (0, BOOT_MEMORY.end, RMA.end, UPPER.end, DIMM.start, DIMM.end, 1 << 31, 1 << 32, 1 << 63, 1 << 64)
_STEPS = (-0x1_0000, -440, -200, -40, -1, 0, 1, 40, 0x1_0000)
_LENGTHS = (0, 1, 0x27, 0x28, 80, 120, 200, 440, 480, CPU_STATE_BYTES, 0x1000, 0x10_0000, 0x40_0000)


def _unsigned(bits: int):
    top = (1 << bits) - 1
    edges = sorted({edge + step & top for edge in _EDGES for step in _STEPS} | set(_LENGTHS))
    inside = st.builds(lambda page, offset: page * 0x1000 + offset, st.integers(0, 0xD00), st.sampled_from((0, 1, 0xFFF)))
    return st.one_of(st.sampled_from(edges), inside, st.integers(0, top))


u16, u32, u64 = _unsigned(16), _unsigned(32), _unsigned(64)
lengths = st.sampled_from(_LENGTHS) | u64
types = st.sampled_from((1, 2, 0x11, 0x11, 0x12, 0x100, 0x101)) | u16
flags = st.sampled_from((1, 1, 1, 0)) | u32


@st.composite
def sections(draw) -> bytes:
    type_, source, destination = draw(types), draw(u64), draw(u64)
    size_bytes = draw(lengths)
    if type_ in (1, 2) and draw(st.booleans()):
        source, size_bytes = 0, CPU_STATE_BYTES if type_ == 1 else 0
    if draw(st.integers(0, 5)) == 0:
        destination = source
    return struct.pack(">IHHQQQQ", draw(flags), type_, draw(u16), source, size_bytes, draw(u64), destination)


@st.composite
def structures(draw) -> bytes:
    """Bytes that are a dump memory structure, mostly; or nearly; or not at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=480))
    body = draw(st.lists(sections(), min_size=1, max_size=10))
    header = [1, len(body), 0, HEADER_BYTES, 0, 0, 0, 0, draw(u32)]
    if draw(st.integers(0, 3)) == 0:
        which = draw(st.integers(0, 7))
        header[which] = draw((u32, u16, u16, u32, u32, u64, u64, u32)[which])
    return struct.pack(">IHHIIQQII", *header) + b"".join(body)


@st.composite
def registrations(draw) -> tuple[int, int, bytes]:
    """Address, length and content of a work buffer."""
    data = draw(st.just(STRUCTURE.encode()) | structures())
    address = draw(st.sampled_from((WORK_BUFFER, WORK_BUFFER, WORK_BUFFER, 0, RMA.end - len(data))) | u32)
    length = draw(st.sampled_from((len(data), len(data), len(data), HEADER_BYTES + SECTION_BYTES)) | u32)
    return address, length, data


arguments = st.lists(st.sampled_from((1, 2, 3)) | u32, max_size=5).map(tuple)
results = st.sampled_from((1, 1, 1, 0, 2)) | st.integers(0, 0xFFFF_FFFF)


class WatchedMemory(GuestMemory):
    """Guest memory that writes down what is done to it."""

    def __init__(self, segments):
        super().__init__(segments)
        self.forget()

    def forget(self):
        self.reads: list[Range] = []
        self.writes: list[Range] = []

    def read(self, address, length):
        self.reads.append(Range.sized(address, length))
        return super().read(address, length)

    def write(self, address, data):
        self.writes.append(Range.sized(address, len(data)))
        super().write(address, data)

    def copy(self, source, destination):
        self.writes.append(Range.sized(destination, source.size_bytes))
        return super().copy(source, destination)

    def discard(self, unwanted):
        self.writes.append(unwanted)
        super().discard(unwanted)

    def view(self, wanted):
        self.writes.append(wanted)
        return super().view(wanted)
