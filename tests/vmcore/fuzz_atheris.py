"""A fuzz target for atheris, which covers what the properties in test_hostile_files.py don't think of.

It takes libFuzzer's options; without a corpus it begins with whole dumps of every kind:

    python -m tests.vmcore.fuzz_atheris -max_total_time=3600 [CORPUS_DIRECTORY]
"""

import sys

import atheris

with atheris.instrument_imports(include=["fadump.vmcore"]):
    from tests.vmcore.fuzz import exercise, seeds

SEEDS = seeds()


def mutate(data: bytes, most_bytes: int, seed: int) -> bytes:
    """Change a dump a little; what is not a dump yet is replaced by one."""
    dump = SEEDS[seed % len(SEEDS)] if len(data) < 64 else data
    return bytes(atheris.Mutate(dump, most_bytes))


if __name__ == "__main__":
    atheris.Setup(sys.argv, exercise, custom_mutator=mutate)
    atheris.Fuzz()
