"""The parameters of FADump on the kernel's command line, parsed as in Linux.

There are two parsers with different rules. Early parameters (``fadump=``, ``fadump_reserve_mem=``, ``mem=``,
``disable_radix``) are words: lib/cmdline.c next_arg(), including quotes, up to ``--``; the last one counts.
``crashkernel=`` is searched as text, also inside other words: kernel/crash_reserve.c parse_crashkernel()
(kernel/crash_core.c in 6.1). On powerpc FADump ignores its offset, and ``,high``, ``,low`` and in
newer kernels ``,cma`` are skipped.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fadump.kernel.printk import Level, Said
from fadump.kernel.traits import MIB, U64, KernelTraits, align_up

COMMAND_LINE_BYTES = 2048
"""COMMAND_LINE_SIZE, including the final zero; the rest is cut off."""
_NAME = "crashkernel="
_SKIPPED_SUFFIXES = (",high", ",low")
_CMA_SUFFIX = ",cma"
_LOGGED, _CONTINUED = "Kernel command line: ", " \\"
_LOGGED_LINE_BYTES = 1021 - len(_LOGGED)
"""CONFIG_CMDLINE_LOG_WRAP_IDEAL_LEN, without what each line begins with."""
_SPACES = " \t\n\v\f\r\xa0"
_SUFFIXES = "KMGTPE"
_RAM_ROUNDING_BYTES = 128 * MIB


@dataclass(frozen=True, slots=True)
class CrashKernel:
    """The value of ``crashkernel=``. ``problem`` says why it is ignored; None if it isn't.

    ``base`` is the offset after ``@``, which kdump uses and FADump doesn't. ``message`` is what Linux prints each time
    it reads the command line.
    """

    size_bytes: int
    base: int
    problem: str | None
    message: Said | None = None


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A kernel's command line with its early parameters, parsed once per boot.

    ``fadump_reserve_mem`` and ``memory_limit``, which is ``mem=``, are bytes, 0 if not given.
    """

    text: str
    fadump: bool = False
    nocma: bool = False
    fadump_reserve_mem: int = 0
    memory_limit: int = 0
    disable_radix: bool = False


class _BadCrashKernelError(Exception):
    """Says what is wrong; ``message`` is Linux's."""

    def __init__(self, sentence: str, message: str) -> None:
        self.message = (Level.WARN, f"crashkernel: {message}")
        super().__init__(sentence)


def memparse(text: str, at: int = 0) -> tuple[int, int]:
    """The size in ``text`` at ``at``, and where it ends; lib/cmdline.c memparse().

    Decimal, octal after 0, hex after 0x, then K, M, G, T, P or E. Without a number it is 0 and ends at ``at``.
    """
    base, digits = 10, "0123456789"
    if text[at : at + 1] == "0":
        base, digits = 8, "01234567"
        if text[at + 1 : at + 2] in ("x", "X") and text[at + 2 : at + 3] in tuple("0123456789abcdefABCDEF"):
            base, digits, at = 16, "0123456789abcdefABCDEF", at + 2
    end = at
    while text[end : end + 1] and text[end] in digits:
        end += 1
    value = _number(text[at:end], base)
    suffix = text[end : end + 1].upper()
    if suffix and suffix in _SUFFIXES:
        value, end = value << 10 * (_SUFFIXES.index(suffix) + 1), end + 1
    return value & U64, end


def parse_crashkernel(cmdline: str, ram_bytes: int, kernel: KernelTraits) -> CrashKernel:
    """``crashkernel=`` on a machine with so much RAM."""
    cmdline = cmdline[: COMMAND_LINE_BYTES - 1]
    suffixes = (*_SKIPPED_SUFFIXES, _CMA_SUFFIX) if kernel.skips_cma_suffix else _SKIPPED_SUFFIXES
    at = _last_crashkernel(cmdline, suffixes)
    if at is None:
        skipped = f"crashkernel= does not count if it ends in {' or '.join(suffixes)}"
        return CrashKernel(0, 0, skipped if _NAME in cmdline else "there is no crashkernel=")
    value = cmdline[at + len(_NAME) :]
    read = _ranges if ":" in value.split(" ", 1)[0] else _simple
    try:
        size_bytes, base = read(value, ram_bytes)
    except _BadCrashKernelError as error:
        return CrashKernel(0, 0, f"crashkernel= is not valid, {error}", error.message)
    if not size_bytes:
        message = (Level.INFO, "crashkernel size resulted in zero bytes") if read is _ranges else None
        return CrashKernel(0, base, "crashkernel= comes to 0 bytes", message)
    if size_bytes >= ram_bytes and kernel.refuses_crashkernel_of_all_ram:
        return CrashKernel(size_bytes, base, "crashkernel= is not smaller than RAM")
    return CrashKernel(size_bytes, base, None)


def crashkernel_cma(cmdline: str) -> tuple[int, Said | None]:
    """The size of the last ``crashkernel=size,cma``, 0 if there is none, and what Linux prints if it isn't valid."""
    cmdline = cmdline[: COMMAND_LINE_BYTES - 1]
    words = [piece.split(" ", 1)[0] for piece in cmdline.split(_NAME)[1:]]
    value = next((word for word in reversed(words) if word.endswith(_CMA_SUFFIX)), None)
    if value is None:
        return 0, None
    size_bytes, end = memparse(value)
    if not end:
        return 0, (Level.WARN, "crashkernel: memory value expected")
    rest = value[end:]
    if rest == _CMA_SUFFIX:
        return size_bytes, None
    return size_bytes, (Level.WARN, f"crashkernel: unrecognized char: {rest.removeprefix(_CMA_SUFFIX)[0]}")


def cmdline_lines(cmdline: str, kernel: KernelTraits) -> Iterator[str]:
    """What Linux logs of its command line; init/main.c print_kernel_cmdline(), which breaks a long one at spaces."""
    rest = cmdline
    while kernel.wraps_cmdline and len(rest) > _LOGGED_LINE_BYTES:
        end = rest.rfind(" ", 1, _LOGGED_LINE_BYTES - len(_CONTINUED) + 1)
        if end < 0:
            end = rest.find(" ", 1)
        line, after = rest[:end].rstrip(" "), rest[end:].lstrip(" ")
        if end < 0 or not after:
            break
        if line:
            yield f"{_LOGGED}{line}{_CONTINUED}"
        rest = after
    yield f"{_LOGGED}{rest}"


def parse_command_line(text: str, kernel: KernelTraits) -> CommandLine:
    """Parse the early parameters in order: a later one overrides, but nothing revokes ``nocma``."""
    fadump = nocma = disable_radix = False
    reserve_mem = memory_limit = 0
    for name, value in _words(text[: COMMAND_LINE_BYTES - 1]):
        match name.replace("-", "_"), value:
            case "fadump", str(how):
                fadump, nocma = _fadump(how, fadump), nocma or _is_nocma(how)
            case "fadump_reserve_mem", str(size):
                reserve_mem = memparse(size)[0]
            case "mem", str(size):
                memory_limit = align_up(memparse(size)[0], kernel.page_bytes)
            case "disable_radix", flag:
                disable_radix = _flag(flag, disable_radix)
    return CommandLine(text, fadump, nocma, reserve_mem, memory_limit, disable_radix)


def _fadump(value: str, before: bool) -> bool:
    # Only the prefix counts: "only" also enables it; any other word changes nothing.
    if value.startswith("on") or _is_nocma(value):
        return True
    return False if value.startswith("off") else before


def _is_nocma(value: str) -> bool:
    return value.startswith("nocma")


def _flag(value: str | None, before: bool) -> bool:
    """lib/kstrtox.c kstrtobool(); a name alone means yes, an invalid value changes nothing."""
    text = "1" if value is None else value.lower()
    if text.startswith(("y", "t", "1", "on")):
        return True
    return False if text.startswith(("n", "f", "0", "of")) else before


def _words(cmdline: str) -> Iterator[tuple[str, str | None]]:
    rest = cmdline.lstrip(_SPACES)
    while rest:
        word, rest = _first_word(rest)
        quoted = word.startswith('"')
        if quoted:
            word = word[1:].removesuffix('"')
        name, equals, value = word.partition("=")
        if not equals and name == "--":
            return
        if value.startswith('"'):
            value = value[1:].removesuffix('"')
        yield name, value if equals else None


def _first_word(text: str) -> tuple[str, str]:
    in_quotes = False
    for index, character in enumerate(text):
        if character in _SPACES and not in_quotes:
            return text[:index], text[index:].lstrip(_SPACES)
        in_quotes ^= character == '"'
    return text, ""


def _last_crashkernel(cmdline: str, skipped: tuple[str, ...]) -> int | None:
    found = None
    at = cmdline.find(_NAME)
    while at >= 0:
        if not cmdline[at:].split(" ", 1)[0].endswith(skipped):
            found = at
        at = cmdline.find(_NAME, at + 1)
    return found


def _simple(value: str, _ram_bytes: int) -> tuple[int, int]:
    """``size[@offset]``."""
    size_bytes, end = _size(value, 0, "memory value expected")
    if value[end : end + 1] == "@":
        return size_bytes, memparse(value, end + 1)[0]
    if value[end : end + 1] not in ("", " "):
        raise _BadCrashKernelError(f"{value[end]!r} is not expected", f"unrecognized char: {value[end]}")
    return size_bytes, 0


def _ranges(value: str, ram_bytes: int) -> tuple[int, int]:
    """``start-[end]:size[,...][@offset]``; what follows the matching range is ignored."""
    ram_bytes = -(-ram_bytes // _RAM_ROUNDING_BYTES) * _RAM_ROUNDING_BYTES
    at = 0
    while True:
        start, at = _size(value, at)
        at = _expect(value, at, "-")
        end = U64
        if value[at : at + 1] != ":":
            end, at = _size(value, at)
            if end <= start:
                raise _BadCrashKernelError("a range ends before it starts", "end <= start")
        size_bytes, at = _size(value, _expect(value, at, ":"))
        if size_bytes >= ram_bytes:
            raise _BadCrashKernelError("a size is not smaller than RAM", "invalid size")
        if start <= ram_bytes < end:
            return size_bytes, _offset(value, at) if size_bytes else 0
        if value[at : at + 1] != ",":
            return 0, 0
        at += 1


def _offset(value: str, at: int) -> int:
    before, marker, _digits = value[at:].split(" ", 1)[0].partition("@")
    if not marker:
        return 0
    return _size(value, at + len(before) + 1)[0]


def _expect(value: str, at: int, wanted: str) -> int:
    if value[at : at + 1] != wanted:
        raise _BadCrashKernelError(f"{wanted!r} is expected", f"{wanted!r} expected")
    return at + 1


def _size(text: str, at: int, message: str = "Memory value expected") -> tuple[int, int]:
    size_bytes, end = memparse(text, at)
    if end == at:
        raise _BadCrashKernelError("a size is expected", message)
    return size_bytes, end


def _number(digits: str, base: int) -> int:
    value = 0
    for digit in digits:
        value = value * base + int(digit, base) & U64
    return value
