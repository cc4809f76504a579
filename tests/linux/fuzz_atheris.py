"""A fuzz target for atheris: kernels' dumps with changes in the structures that are read.

It takes libFuzzer's options; its inputs are lists of changes, see :func:`tests.linux.fuzz.patched`:

    python -m tests.linux.fuzz_atheris -max_total_time=3600 [CORPUS_DIRECTORY]
"""

import random
import sys

import atheris

with atheris.instrument_imports(include=["fadump.linux"]):
    from tests.linux.fuzz import exercise, kernels, patched

CORES = [kernel.core() for kernel in kernels()]
PLACED = [[*kernel.placed, range(0x2000)] for kernel in kernels()]


def mutate(data: bytes, most_bytes: int, seed: int) -> bytes:
    """Change the changes, or add one in a structure: elsewhere there is nothing that anyone reads."""
    chance = random.Random(seed)  # noqa: S311 - a fuzzer's dice
    if data and chance.random() < 0.5:
        return bytes(atheris.Mutate(data, most_bytes))
    kernel = data[0] % len(CORES) if data else chance.randrange(len(CORES))
    structure = chance.choice(PLACED[kernel])
    file_offset = len(CORES[kernel]) - len(kernels()[kernel].memory)
    where = chance.choice(structure) + (file_offset if structure is not PLACED[kernel][-1] else 0)
    length = chance.choice([1, 2, 4, 8])
    value = chance.choice([0, 1, (1 << 8 * length) - 1, 1 << 8 * length - 1, chance.getrandbits(8 * length)])
    change = where.to_bytes(3, "little") + bytes([length]) + value.to_bytes(length, chance.choice(["little", "big"]))
    return ((data or bytes([kernel])) + change)[:most_bytes]


def run(data: bytes) -> None:
    """The first byte says which kernel."""
    if data:
        exercise(patched(CORES[data[0] % len(CORES)], data[1:]))


if __name__ == "__main__":
    atheris.Setup(sys.argv, run, custom_mutator=mutate)
    atheris.Fuzz()
