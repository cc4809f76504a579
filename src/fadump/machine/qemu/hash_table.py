"""A guest's hash page table, which lies in QEMU's own memory: a few instructions in the guest copy it to guest memory.

Step "preserve" of docs/architecture.md. Specification: LoPAR, "Hypervisor Call Functions", H_READ, which shows a
partition its own table; here it returns four entries at a time. One CPU runs the loop, in 64-bit, big-endian real mode
with interrupts off. So it may run only when all memory that matters has been copied: the devices run as well.
"""

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fadump.errors import MachineError
from fadump.machine.qemu.board import Board
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.cpus import shown_registers
from fadump.machine.qemu.debugger import Debugger
from fadump.machine.qemu.gdb import Breakpoints
from fadump.machine.qemu.host_table import read_host_table, table_sizes
from fadump.machine.qemu.keep import KeptMemory
from fadump.machine.qemu.link import QemuLink
from fadump.machine.qemu.phases import Calling, Halted, Phase, Running
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range

_RunTo = Callable[[int], Awaitable[None]]
_STRIDE_BYTES = 64
"""What a call returns: four entries of two doublewords."""

_H_READ = 0xC
_H_READ_4 = 1 << 37
_H_PARAMETER = -4
_QEMUS_DIRTY = 0x40
"""A software bit of the first doubleword, which QEMU itself uses (HPTE64_V_HPTE_DIRTY in hw/ppc/spapr.c); no guest can
set it (h_enter())."""
_MSR_SF_ME = 1 << 63 | 1 << 12
_PTEX, _TO, _END, _MASK, _FLAGS = range(14, 19)
"""Registers that a call leaves alone."""
_SECONDS = 120.0
_MOST_LOOKS = 1000
_PAGE_BYTES = 0x1000
_KERNEL_PAGE = 0x1_0000


@dataclass(frozen=True, slots=True)
class _CopyLoop:
    """Machine code for any address; it ends at ``end_offset``."""

    code: bytes
    end_offset: int


def _copy_loop() -> _CopyLoop:
    """Copy the table from entry r14 on to the memory from r15 to r16, without the bits in r17.

    At the end r3 is the last status, and r15 behind what was copied.
    """
    words = [
        0x3860_0000 | _H_READ,  # li r3
        _move(4, _FLAGS),
        _move(5, _PTEX),
        0x4400_0022,  # sc 1
        0x2C23_0000,  # cmpdi r3, 0
        0,  # bne to the end
    ]
    for entry in range(4):
        words += [
            _and_complement(4 + 2 * entry, _MASK),
            _store(4 + 2 * entry, 16 * entry),
            _store(5 + 2 * entry, 16 * entry + 8),
        ]
    words += [_add(_PTEX, 4), _add(_TO, _STRIDE_BYTES), 0x7C20_0040 | _TO << 16 | _END << 11]  # cmpld
    words.append(0x4180_0000 | -4 * len(words) & 0xFFFC)  # blt to the start
    words[5] = 0x4082_0000 | 4 * (len(words) - 5)
    words.append(0x6000_0000)  # nop, the end
    return _CopyLoop(struct.pack(f">{len(words)}I", *words), 4 * (len(words) - 1))


class GuestHashTable:
    """The table of one machine's guest."""

    def __init__(
        self,
        config: QemuConfig,
        board: Board,
        memory: GuestMemory,
        link: QemuLink,
        stop: Callable[[], Awaitable[object]],
    ) -> None:
        """``stop`` waits for the guest's next stop."""
        self._sizes = table_sizes(sum(config.nodes), max(piece.end for piece in config.memory))
        self._board = board
        self._memory = memory
        self._link = link
        self._stop = stop
        self.copy_seconds = 0.0
        """How long the last copy took."""

    async def keep(
        self,
        kept: KeptMemory,
        places: Sequence[Range],
        phase: Phase,
        breakpoints: Breakpoints,
        debugger: Debugger,
    ) -> None:
        """Write the guest's table to each of these places, or as much as there is room for, and keep that.

        Behind its end are zeros. A CPU runs for it, and so does every device. The guest stands in ``phase``;
        ``breakpoints`` and ``debugger`` are the machine's.

        :raises MachineError: it can't be read.
        """
        for to in places:
            started = time.monotonic()
            thread, rtas_page = await _idle_cpu(self._link, phase)

            async def run_to(address: int, thread: str = thread) -> None:
                await breakpoints.move(address)
                debugger.run_alone(thread)
                await self._stop()

            copied_to = to.start
            if to.size_bytes >= _STRIDE_BYTES and await self._is_there(thread):
                copied_to = await _copy(self._link, thread, _code_page(rtas_page, to), to, run_to)
            self._memory.write(copied_to, bytes(to.end - copied_to))
            kept.keep_instead(to)
            self.copy_seconds = time.monotonic() - started

    async def look(self) -> bytes | None:
        """The table in QEMU's own memory, while the guest stands still; None: it has none.

        :raises MachineError: it can't be found, or QEMU is somebody else's.
        """
        (thread, *_others) = await self._link.gdb.threads()
        return read_host_table(self._link.pid, self._sizes) if await self._is_there(thread) else None

    async def _is_there(self, thread: str) -> bool:
        return self._board.has_hash_table(await shown_registers(self._link, thread))


def _code_page(rtas_page: int, to: Range) -> int:
    """A page for code, in RAM that nobody needs any more, and not where a guest wants the table to go.

    :raises MachineError: the table covers all such pages.
    """
    for page in (rtas_page, _KERNEL_PAGE):
        if not Range.sized(page, _PAGE_BYTES).overlaps(to):
            return page
    raise MachineError(f"the hash page table can't be read: at {to} it leaves no room for the code that does it")


async def _idle_cpu(link: QemuLink, phase: Phase) -> tuple[str, int]:
    """A CPU that has nothing to do any more, and a page of RTAS, which nobody will need again.

    :raises MachineError: no kernel has been stopped.
    """
    match phase:
        case Calling(thread=thread, running=Running(page=page)):
            pass
        case Halted(page=page) if page is not None:
            (thread, *_others) = await link.gdb.threads()
            await _wake(link, thread)
        case _:
            raise MachineError(f"the guest is {phase.WORDS}, and has no hash page table to be saved")
    return thread, page.address // _PAGE_BYTES * _PAGE_BYTES


async def _wake(link: QemuLink, thread: str) -> None:
    """Have a CPU that may idle, and so execute nothing, leave that state by a system reset interrupt.

    QEMU interrupts its CPUs one after another, at some time after it has answered.
    """
    (before,) = await link.registers.read(thread, "pc")
    await link.execute("inject-nmi")
    for _attempt in range(_MOST_LOOKS):
        if (await link.registers.read(thread, "pc"))[0] != before:
            return


async def _copy(link: QemuLink, thread: str, address: int, to: Range, run_to: _RunTo) -> int:
    """Have a CPU that stands still copy the table's beginning to guest memory; returns the end of what is written.

    ``address`` is for the code, in RAM that nobody needs any more; ``run_to`` lets this CPU alone run to an address.

    :raises MachineError: the table can't be read.
    """
    loop = _copy_loop()
    await link.registers.write(thread, "msr", _MSR_SF_ME)
    await link.gdb.select(thread)
    await link.gdb.write_code(address, loop.code)
    end = to.start + to.size_bytes // _STRIDE_BYTES * _STRIDE_BYTES
    registers = {_PTEX: 0, _TO: to.start, _END: end, _MASK: _QEMUS_DIRTY, _FLAGS: _H_READ_4}
    for number, value in registers.items():
        await link.registers.write(thread, f"r{number}", value)
    await link.registers.write(thread, "pc", address)
    try:
        async with asyncio.timeout(_SECONDS):
            await run_to(address + loop.end_offset)
    except TimeoutError:
        raise MachineError(f"the hash page table can't be read: H_READ takes more than {_SECONDS:g} seconds") from None
    pc, status, copied_to = await link.registers.read(thread, "pc", "r3", f"r{_TO}")
    status -= status >> 63 << 64
    if pc != address + loop.end_offset or status not in (0, _H_PARAMETER) or not to.start <= copied_to <= end:
        raise MachineError(f"the hash page table can't be read: H_READ has ended at {pc:#x} with status {status}")
    return copied_to


def _move(to: int, source: int) -> int:
    return 0x7C00_0378 | source << 21 | to << 16 | source << 11


def _and_complement(register: int, mask: int) -> int:
    return 0x7C00_0078 | register << 21 | register << 16 | mask << 11


def _store(register: int, offset: int) -> int:
    return 0xF800_0000 | register << 21 | _TO << 16 | offset


def _add(register: int, value: int) -> int:
    return 0x3800_0000 | register << 21 | register << 16 | value
