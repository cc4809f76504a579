"""What any dump of a kernel may do to whoever reads everything that it says: nothing but a FadumpError."""

import contextlib
import functools

from fadump.errors import FadumpError
from fadump.linux.summary import summarize
from fadump.linux.system import CrashedSystem
from tests.linux.crashed_kernel import crashed_kernel
from tests.linux.kernel_builder import add_vmemmap_list
from tests.linux.test_pages import VMEMMAP_START
from tests.vmcore.dump_helpers import open_bytes


def exercise(core: bytes) -> None:
    """Read all that the dump says."""
    with contextlib.suppress(FadumpError), CrashedSystem(open_bytes(core)) as system:
        summary = summarize(system)
        assert summary.format
        with contextlib.suppress(FadumpError):
            for record in system.log():
                assert record.lines()


@functools.cache
def kernels():
    """Crashed kernels that have everything, in every way that there is to have it."""
    with_list = crashed_kernel(mmu="hash", with_old_log=True)
    struct_pages = with_list.place(bytes(0x10000), align=0x10000)
    add_vmemmap_list(with_list, [(VMEMMAP_START, struct_pages & 0xFFFF_FFFF)])
    return [crashed_kernel(), crashed_kernel("big"), with_list]


def patched(core: bytes, patches: bytes) -> bytes:
    """The core with changes: each is an offset in 3 bytes, a length in 1, and so many bytes."""
    changed = bytearray(core)
    at = 0
    while at + 4 <= len(patches):
        offset, length = int.from_bytes(patches[at : at + 3], "little") % len(core), patches[at + 3] % 17
        data = patches[at + 4 : at + 4 + length][: len(core) - offset]
        changed[offset : offset + len(data)] = data
        at += 4 + length
    return bytes(changed)
