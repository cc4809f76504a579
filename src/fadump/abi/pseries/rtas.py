"""RTAS calls that FADump needs: names, commands, statuses, the argument block.

Specification: LoPAR, "RTAS Call Definition", "ibm,configure-kernel-dump" and "ibm,os-term". Its caller:
Linux arch/powerpc/kernel/rtas.c (struct rtas_args in asm/rtas-types.h) and
arch/powerpc/platforms/pseries/rtas-fadump.c. All fields are big-endian.

An argument block is a head, the arguments and the words of the answer; the first of these is the status (signed).
ibm,configure-kernel-dump-sizes has an entry for each type of section that the firmware provides.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, NamedTuple

from fadump.abi.layout import Layout, u16, u32, u64
from fadump.errors import FormatError, LimitError

CONFIGURE_KERNEL_DUMP = "ibm,configure-kernel-dump"
CONFIGURE_KERNEL_DUMP_SIZES = "ibm,configure-kernel-dump-sizes"
CONFIGURE_KERNEL_DUMP_VERSION = "ibm,configure-kernel-dump-version"
KERNEL_DUMP = "ibm,kernel-dump"
"""Property that holds the dump memory structure while a dump is active."""
OS_TERM = "ibm,os-term"
EXTENDED_OS_TERM = "ibm,extended-os-term"
"""Empty property: ibm,os-term returns unless a kernel dump is configured. Without it Linux doesn't call ibm,os-term."""

MAX_ARGS = 16
"""Arguments and answer words together."""


class RtasHead(NamedTuple):
    """struct rtas_args up to its arguments."""

    token: Annotated[int, u32(0x00)]
    nargs: Annotated[int, u32(0x04)]
    nret: Annotated[int, u32(0x08)]


class SectionSize(NamedTuple):
    """An entry of ibm,configure-kernel-dump-sizes."""

    type: Annotated[int, u32(0x00)]
    size_bytes: Annotated[int, u64(0x04)]


class DumpVersions(NamedTuple):
    """ibm,configure-kernel-dump-version."""

    minimum: Annotated[int, u16(0x00)]
    maximum: Annotated[int, u16(0x02)]


HEAD = Layout(RtasHead, "RTAS arguments")
SECTION_SIZE = Layout(SectionSize, "section size")
VERSIONS = Layout(DumpVersions, "dump versions")
ARGUMENTS_OFFSET = HEAD.size_bytes
BLOCK_BYTES = ARGUMENTS_OFFSET + 4 * MAX_ARGS


class DumpCommand(IntEnum):
    """First argument of ibm,configure-kernel-dump; the others are the structure's address and length."""

    REGISTER = 1
    UNREGISTER = 2
    INVALIDATE = 3


class RtasStatus(IntEnum):
    """First word of an answer.

    LoPAR gives two meanings of -8, -9 and -10; these are those of its status table, which Linux uses.
    """

    SUCCESS = 0
    HARDWARE_ERROR = -1
    BUSY = -2
    PARAMETER_ERROR = -3
    ALREADY_REGISTERED = -9
    DUMP_ACTIVE = -10
    EXTENDED_DELAY_MIN = 9900
    EXTENDED_DELAY_MAX = 9905


def retry_delay_ms(status: int) -> int:
    """How many milliseconds a caller should wait and then call again; 0 if the call is over.

    990x means 10 to the power of x, as in Linux's rtas_busy_delay_time().
    """
    if RtasStatus.EXTENDED_DELAY_MIN <= status <= RtasStatus.EXTENDED_DELAY_MAX:
        return int(10 ** (status - RtasStatus.EXTENDED_DELAY_MIN))
    return 1 if status == RtasStatus.BUSY else 0


@dataclass(frozen=True, slots=True)
class RtasArguments:
    """One call: the function's token, its arguments, and the number of words for the answer."""

    token: int
    args: tuple[int, ...]
    nret: int

    @property
    def answer_offset(self) -> int:
        """Where the answer is written, in bytes from the start of the argument block."""
        return ARGUMENTS_OFFSET + 4 * len(self.args)

    @classmethod
    def decode(cls, block: bytes | memoryview) -> "RtasArguments":
        """The call in an argument block, which may end after the arguments.

        :raises FormatError: it is cut short, or asks for more than 16 words.
        """
        token, nargs, nret = HEAD.decode(block)
        if nargs + nret > MAX_ARGS:
            at = HEAD.offset("nargs")
            raise LimitError("words in an RTAS call", found=nargs + nret, limit=MAX_ARGS, offset=at)
        end = ARGUMENTS_OFFSET + 4 * nargs
        if len(block) < end:
            raise FormatError("RTAS arguments cut short", offset=ARGUMENTS_OFFSET, expected=end, found=len(block))
        return cls(token, struct.unpack_from(f">{nargs}I", block, ARGUMENTS_OFFSET), nret)

    def encode(self) -> bytes:
        """The argument block as the caller fills it in, with an answer of zeros.

        :raises ValueError: more than 16 words, or one that is not a u32.
        """
        if len(self.args) + self.nret > MAX_ARGS:
            raise ValueError(f"{len(self.args)} arguments and {self.nret} answer words are more than {MAX_ARGS}")
        try:
            words = struct.pack(f">{3 + len(self.args)}I", self.token, len(self.args), self.nret, *self.args)
        except struct.error as error:
            raise ValueError(f"{self} has a word that is not an u32") from error
        return words + bytes(4 * self.nret)


def encode_answer(status: int, outputs: Sequence[int], nret: int) -> bytes:
    """The answer's ``nret`` words: status, outputs, then zeros. Outputs that don't fit are dropped.

    :raises ValueError: the status is not an i32, or an output is not a u32.
    """
    try:
        words = struct.pack(f">i{len(outputs)}I", status, *outputs)
    except struct.error as error:
        raise ValueError(f"RTAS status {status} or outputs {list(outputs)} don't fit into 32 bits") from error
    return words[: 4 * nret].ljust(4 * nret, b"\0")


def decode_answer(words: bytes | memoryview) -> tuple[int, tuple[int, ...]]:
    """Status and outputs of an answer of whole words.

    :raises FormatError: there is no status, or half a word.
    """
    if len(words) < 4 or len(words) % 4:
        raise FormatError("RTAS answer cut short", offset=len(words), expected=4, found=len(words) % 4)
    status, *outputs = struct.unpack(f">i{len(words) // 4 - 1}I", words)
    return status, tuple(outputs)


def encode_sizes(sizes: Mapping[int, int]) -> bytes:
    """ibm,configure-kernel-dump-sizes: bytes needed for each section type that the firmware provides.

    :raises ValueError: a type is not a u32, or a size not a u64.
    """
    return b"".join(SECTION_SIZE.pack(type_, size_bytes) for type_, size_bytes in sizes.items())


def encode_version(minimum: int, maximum: int) -> bytes:
    """ibm,configure-kernel-dump-version: the supported versions of the dump memory structure.

    :raises ValueError: a version is not a u16.
    """
    return VERSIONS.pack(minimum, maximum)
