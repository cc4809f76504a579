"""The text that a crashing kernel passes to its firmware, made safe to print.

Step "crash" of docs/architecture.md: LoPAR's ibm,os-term and skiboot's OPAL_CEC_REBOOT2 both take a pointer to one.
"""

from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet

LONGEST_MESSAGE_BYTES = 1024
"""The most that is read."""


def read_message(memory: GuestMemory, address: int) -> str:
    """The text at a guest-physical address, as far as there is memory; what isn't printable ASCII is escaped."""
    readable = memory.ram & RangeSet([Range.sized(address, LONGEST_MESSAGE_BYTES)])
    if address not in readable:
        return ""
    text = memory.read(address, next(iter(readable)).size_bytes).partition(b"\0")[0].rstrip()
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in text)
