"""kallsyms as kernels before v6.0 have it: nothing says where it is, and its tables follow each other in memory."""

from itertools import accumulate

from tests.linux.kernel_builder import PAGE_OFFSET

TOKENS = [bytes([number]) if 0x21 <= number < 0x7F else b"" for number in range(256)]
SYMBOLS = {"T_stext": PAGE_OFFSET} | {f"tfunction_{number}": PAGE_OFFSET + 16 * number for number in range(1, 700)}


def add_old_kallsyms(kernel, symbols=SYMBOLS, *, relative=True, word="I", words=0x40):
    """These symbols by rising addresses; ``word`` is what a number and a marker are. Something is before the tables."""

    def pack(fields, *values):
        return kernel.pack(fields, *values).ljust(-(-len(kernel.pack(fields, *values)) // 8) * 8, b"\0")

    addresses, count = [*symbols.values()], len(symbols)
    names = [bytes([len(name)]) + name.encode() for name in symbols]
    starts = [*accumulate(map(len, names), initial=0)]
    ends = [*accumulate(len(token) + 1 for token in TOKENS)]
    base = [pack(f"{count}I", *(address - PAGE_OFFSET for address in addresses)), pack("Q", PAGE_OFFSET)]
    tables = [
        *(base if relative else [pack(f"{count}Q", *addresses)]),
        pack(word, count),
        pack(f"{starts[-1]}s", b"".join(names)),
        pack(f"{-(-count // 256)}{word}", *starts[:-1:256]),
        pack(f"{ends[-1]}s", b"".join(token + b"\0" for token in TOKENS)),
        pack("256H", 0, *ends[:-1]),
    ]
    kernel.symbol("_stext", PAGE_OFFSET)
    kernel.place(bytes(range(1, words + 1)) * 8)
    return kernel.place(b"".join(tables), align=8)
