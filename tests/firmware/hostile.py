"""What a hostile guest can pass: numbers at every edge, half-valid structures; and memory that notices a touch."""

from hypothesis import strategies as st

from fadump.abi.pseries.dump_structure import HEADER, HEADER_BYTES, SECTION, SECTION_BYTES
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range
from tests.firmware.pseries.guest import BOOT_MEMORY, CPU_STATE_BYTES, DIMM, RMA, STRUCTURE, UPPER, WORK_BUFFER

_EDGES = (0, BOOT_MEMORY.end, RMA.end, UPPER.end, DIMM.start, DIMM.end, 1 << 31, 1 << 32, 1 << 63, 1 << 64)
_STEPS = (-200, -1, 0, 1, 0x1_0000)
_LAST = UPPER.end - 0x4000
_LENGTHS = (0, 1, 0x27, 0x28, 80, 120, 200, 440, 480, CPU_STATE_BYTES, 0x1000, 0x10_0000, 0x40_0000)


def _mostly(usual, rare):
    return st.integers(0, 7).flatmap(lambda number: rare if number == 7 else usual)


def _unsigned(bits: int):
    top = (1 << bits) - 1
    near = (edge + step for edge in _EDGES for step in _STEPS)
    edges = sorted({number & top for number in (*near, *_LENGTHS)})
    return st.sampled_from(edges) | st.integers(0, top)


u16, u32, u64 = _unsigned(16), _unsigned(32), _unsigned(64)
lengths = st.sampled_from(_LENGTHS) | u64
places = st.sampled_from((*range(0, 0x4_0000, 0x4000), *range(UPPER.start, UPPER.start + 0x4_0000, 0x4000), _LAST))
types = st.sampled_from((1, 2, 0x11, 0x11, 0x12, 0x100, 0x101)) | u16
flags = st.sampled_from((1, 1, 1, 0)) | u32


@st.composite
def any_sections(draw) -> bytes:
    return SECTION.pack(draw(flags), draw(types), draw(u16), draw(u64), draw(lengths), draw(u64), draw(u64))


@st.composite
def fair_sections(draw) -> bytes:
    """A section that makes sense on its own, nearly always; others may be in its way."""
    type_ = draw(st.sampled_from((1, 2, 0x11, 0x11, 0x12, 0x100)))
    source, destination = draw(places), draw(places)
    size_bytes = {1: CPU_STATE_BYTES, 2: 0}.get(type_, draw(st.sampled_from((0x4000, 0x4001))))
    if type_ == 1:
        source = 0
    elif draw(st.integers(0, 3)) == 0:
        destination = source
    return SECTION.pack(draw(flags), type_, draw(u16), source, size_bytes, 0, destination)


sections = _mostly(fair_sections(), any_sections())


@st.composite
def structures(draw) -> bytes:
    """Bytes that are a dump memory structure, mostly; or nearly; or not at all."""
    body = draw(st.lists(sections, min_size=1, max_size=draw(st.sampled_from((2, 4, 10)))))
    header = [1, len(body), 0, HEADER_BYTES, 0, 0, 0, 0, draw(u32)]
    if draw(st.integers(0, 7)) == 7:
        which = draw(st.integers(0, 7))
        header[which] = draw((u32, u16, u16, u32, u32, u64, u64, u32)[which])
    return HEADER.pack(*header) + b"".join(body)


@st.composite
def registrations(draw) -> tuple[int, int, bytes]:
    """Address, length and content of a work buffer."""
    data = draw(_mostly(structures(), st.just(STRUCTURE.encode()) | st.binary(max_size=480)))
    address = draw(_mostly(st.just(WORK_BUFFER), st.sampled_from((0, RMA.end - len(data))) | u32))
    length = draw(_mostly(st.just(len(data)), st.just(HEADER_BYTES + SECTION_BYTES) | u32))
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
