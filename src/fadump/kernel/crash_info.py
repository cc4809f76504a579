"""The crash-info header: what a first kernel writes when it registers, and whether a capture kernel accepts it.

Steps "register", "crash" and "capture boot" of docs/architecture.md. Linux arch/powerpc/kernel/fadump.c:
init_fadump_header(), is_fadump_header_compatible(). Before Linux kernel commit c6c5b14dac0d (in v6.10) the header
points to an ELF core header right after it, and only its magic is checked: rtas_fadump_process(),
opal_fadump_process().
"""

from fadump.abi.linux import crash_info
from fadump.abi.linux.crash_info import CrashHeader, OldCrashHeader
from fadump.errors import AddressError
from fadump.kernel.calls import no_memory_at
from fadump.kernel.image.vmcoreinfo import note_area_bytes
from fadump.kernel.state import VMCOREINFO_NOTE, FadumpState

Header = CrashHeader | OldCrashHeader

_P = "fadump: "
_OPPOSITE_MAGIC = int.from_bytes(crash_info.MAGIC.to_bytes(8, "big"), "little")


def initial_header(state: FadumpState) -> Header:
    """The header at registration, valid if the platform ends this kernel: no crashing CPU, all possible CPUs."""
    mask_bytes = state.cpu_mask_bytes
    if state.traits.first_kernel_writes_elfcorehdr:
        behind = state.header_address + state.traits.header_bytes
        return OldCrashHeader(elfcorehdr_address=behind, cpu_mask_bytes=mask_bytes, cpu_mask=state.cpu_mask)
    return CrashHeader(
        vmcoreinfo_address=state.relocated(VMCOREINFO_NOTE),
        vmcoreinfo_bytes=note_area_bytes(state.traits.page_bytes),
        cpu_mask_bytes=mask_bytes,
        cpu_mask=state.cpu_mask,
    )


def read_header(state: FadumpState) -> Header:
    """The header in memory, as this kernel reads it.

    :raises KernelPanicError: there is no memory.
    """
    try:
        raw = state.memory.read(state.header_address, state.traits.header_bytes)
    except AddressError as error:
        raise no_memory_at(state.header_address) from error
    kind = OldCrashHeader if state.traits.first_kernel_writes_elfcorehdr else CrashHeader
    return kind.decode(raw, state.cpu_mask_bytes)


def is_compatible(state: FadumpState, header: CrashHeader) -> bool:
    """Whether this kernel can use the header; if not, the log says why."""
    match header.magic:
        case crash_info.MAGIC:
            if (header.pt_regs_bytes, header.cpu_mask_bytes) == (CrashHeader().pt_regs_bytes, state.cpu_mask_bytes):
                return True
            state.log.pr_err(f"{_P}Fadump header size mismatch.")
        case crash_info.OLD_MAGIC:
            state.log.pr_err(f"{_P}Old magic number, can't process the dump.")
        case _ if header.magic == _OPPOSITE_MAGIC:
            state.log.pr_err(f"{_P}Endianness mismatch between the crashed and fadump kernels.")
        case _:
            state.log.pr_err(f"{_P}Fadump header is corrupted.")
    return False


def is_valid(state: FadumpState, header: Header, prefix: str) -> bool:
    """The platform code's check: a header before commit c6c5b14dac0d must have its magic.

    ``prefix`` is that of the platform's messages.
    """
    if isinstance(header, CrashHeader) or header.magic == crash_info.OLD_MAGIC:
        return True
    state.log.pr_err(f"{prefix}Crash info header is not valid.")
    return False
