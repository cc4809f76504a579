"""The crash: the kernel saves what only it knows, and reports the crash to the firmware.

Step "crash" of docs/architecture.md. Linux arch/powerpc/kernel/fadump.c, crash_fadump(); panic() in kernel/panic.c with
powerpc's notifiers (arch/powerpc/kernel/setup-common.c); system_reset_exception() in arch/powerpc/kernel/traps.c. In
Linux the first crashing CPU counts; here only one CPU crashes.

None of these functions returns if the firmware takes a dump, as the machine is reset. If it doesn't, the kernel reboots
after its panic timeout.
"""

import struct
from dataclasses import replace

from fadump.abi.platform import Platform
from fadump.kernel.calls import Steps
from fadump.kernel.crash_info import read_header
from fadump.kernel.image.vmcoreinfo import encode_note, encode_text
from fadump.kernel.ops import FadumpOps
from fadump.kernel.release import cleanup
from fadump.kernel.state import VMCOREINFO_NOTE, FadumpState
from fadump.kernel.vmcore import Registers

_SYSTEM_RESET = 0x100
_PANIC_TIMEOUT_SECONDS = 5


def save_vmcoreinfo(state: FadumpState, *, crashed: bool) -> None:
    """crash_save_vmcoreinfo(): write the note, with the time of the crash if ``crashed``."""
    facts = dict(state.facts)
    if crashed:
        facts["CRASHTIME"] = str(state.epoch_seconds + state.log.uptime_ns // 1_000_000_000)
    text = encode_text(facts)
    state.memory.write(VMCOREINFO_NOTE, encode_note(text))


def _will_dump(state: FadumpState) -> bool:
    """should_fadump_crash()."""
    return state.registered and bool(state.header_address)


def panic(state: FadumpState, ops: FadumpOps, cpu: int, registers: Registers, reason: str) -> Steps[None]:
    """panic(): the notifiers, then the reboot of the panic timeout."""
    state.log.pr_emerg(f"Kernel panic - not syncing: {reason}")
    if state.traits.dumps_log_first and _will_dump(state):
        state.dumped_log = state.log.dump()
    yield from crash_fadump(state, ops, cpu, registers, reason)
    if state.platform is Platform.PSERIES:  # pseries_panic(), whether or not there was a registration
        yield from ops.trigger(cpu, reason)
    state.log.pr_emerg(f"Rebooting in {_PANIC_TIMEOUT_SECONDS} seconds..")
    state.log.delay(_PANIC_TIMEOUT_SECONDS * 1000)
    yield from cleanup(state, ops)


def system_reset(state: FadumpState, ops: FadumpOps, cpu: int, registers: Registers) -> Steps[None]:
    """A system reset interrupt, which requests a dump."""
    at_interrupt = {**registers, "trap": _SYSTEM_RESET}
    yield from crash_fadump(state, ops, cpu, at_interrupt, "System Reset")
    state.log.pr_emerg("Oops: System Reset, sig: 6 [#1]")
    yield from panic(state, ops, cpu, at_interrupt, "Unrecoverable System Reset")


def crash_fadump(state: FadumpState, ops: FadumpOps, cpu: int, registers: Registers, reason: str) -> Steps[None]:
    """Save the crashing CPU's registers and the mask of online CPUs, and trigger the dump."""
    if not _will_dump(state):
        return
    save_vmcoreinfo(state, crashed=True)
    state.memory.write(state.crashing_cpu_address, struct.pack("<I", cpu))
    # With OPAL it is the platform's number of the CPU, see opal_fadump_trigger(); with RTAS both are the same.
    header = replace(read_header(state), crashing_cpu=state.cpu_names[cpu], registers=registers, cpu_mask=state.online)
    state.memory.write(state.header_address, header.encode())
    yield from ops.trigger(cpu, reason)
