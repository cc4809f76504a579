"""OPAL's core as Linux writes it, of a small OPAL: a few instructions, the list of their symbols, a stack."""

import struct

from tests.vmcore.core_builder import Load, build_core, note, prstatus

BASE, ENTRY = 0x3000_0000, 0x3000_0010
SIGUSR1, SIGTERM = 10, 15
LINUX = 0xC000_0000_0123_4560
"""An address of Linux's."""
STDU, NOP, BLR = 0xF821_FF81, 0x6000_0000, 0x4E80_0020  # stdu r1,-128(r1)

ENTERED, POLL, ABORT, TERMINATE, RETURNS = 0x1000, 0x1100, 0x1200, 0x1300, 0x1400
"""Where its functions are: an entry in assembler, three that call each other, and the end of their code."""
SYMBOLS = f"""{0:016x} T __head
{ENTERED:016x} T opal_entry
{POLL:016x} t .opal_poll_events
{ABORT:016x} T .assert_fail
{TERMINATE:016x} T .p9_sbe_terminate
{RETURNS:016x} R version
{0x3000:016x} D opal_poll_events
"""
STACK = 0x8000
FRAMES = [STACK, STACK + 0x100, STACK + 0x200]
CHAIN = ((FRAMES[0], FRAMES[1]), (FRAMES[1], FRAMES[2]), (FRAMES[2], LINUX - BASE))
"""What the back chain of each leads to."""
CALLED_BY = {FRAMES[1]: POLL + 0x20, FRAMES[2]: ENTERED + 0x40}
"""The return address in a frame: that of the function that it belongs to."""


def auxv():
    return note("CORE", 6, struct.pack(">QQQ", 9, ENTRY, 0), "big")


def thread(pir, signal=0, **registers):
    return prstatus({"nip": BASE + pir} | registers, pid=100 + pir, signal=signal, byte_order="big")


def opal_memory(frames=CHAIN, returns_to=CALLED_BY, symbols=SYMBOLS):
    """Its memory; ``frames`` are frames and what their back chain leads to, from OPAL's base on."""
    memory = bytearray(0x9000)
    for function, words in ((POLL, [NOP, STDU]), (ABORT, [STDU]), (TERMINATE, [NOP, NOP, STDU]), (ENTERED, [STDU])):
        struct.pack_into(f">{len(words)}I", memory, function, *words)
    memory[0x2000 : 0x2000 + len(symbols)] = symbols.encode()
    for frame, caller in frames:
        struct.pack_into(">Q", memory, frame, BASE + caller)
    for frame, address in returns_to.items():
        struct.pack_into(">Q", memory, frame + 0x10, BASE + address)
    return bytes(memory)


def opal_core(*threads, memory=None):
    """Its core. With no ``threads``, one that stands where an abort ends, at a function's first instruction."""
    threads = threads or (aborted(4),)
    return build_core([Load(0, memory or opal_memory(), virtual=BASE)], [b"".join(threads) + auxv()], byte_order="big")


def aborted(pir, **registers):
    """A CPU in p9_sbe_terminate(), called by assert_fail(), that by opal_poll_events(), all in opal_entry()."""
    return thread(
        pir, SIGTERM, **{"nip": BASE + TERMINATE, "gpr1": BASE + FRAMES[0], "link": BASE + ABORT + 0x30} | registers
    )
