"""How large the pseries firmware's sections may be. Python alone is enough here, as ``fadump plan`` takes it."""

from collections.abc import Iterator

from fadump.abi.pseries.hash_table import GROUP_BYTES, usual_bytes

_MIB = 1 << 20
_MOST_CPU_STATE = 64 * _MIB
_MOST_HPTE = 1024 * _MIB


def section_refusals(hpte_bytes: int | None, cpu_state_bytes: int | None, memory_end: int) -> Iterator[str]:
    """Sizes of sections that no firmware of a guest can offer whose memory ends there; None: as the machine needs."""
    most = min(usual_bytes(memory_end), _MOST_HPTE)
    if hpte_bytes is not None and (hpte_bytes % GROUP_BYTES or hpte_bytes > most):
        why = ": no guest with this memory has a larger table" if hpte_bytes > most else ""
        yield (
            f"--hpte-size must be whole groups of entries, a multiple of {GROUP_BYTES} bytes up to {most // 1024}K, "
            f"{hpte_bytes:#x} is not{why}"
        )
    if cpu_state_bytes is not None and not 0 < cpu_state_bytes <= _MOST_CPU_STATE:
        yield f"--cpu-state-size must be from 1 byte to {_MOST_CPU_STATE // _MIB} MiB, {cpu_state_bytes:#x} is not"
