"""Where each register of LoPAR's register save area comes from in QEMU, or why it doesn't.

Step "preserve" of docs/architecture.md; docs/firmware.md prints this table. Read from QEMU 7.2, target/ppc/gdbstub.c,
monitor.c and cpu_init.c. The stub has FPRs as f0 to f31, which are the high halves of VSR0 to VSR31, whose low halves
are vs0h to vs31h; VRs are vr0 to vr31 of 16 bytes, which are VSR32 to VSR63 too.
"""

from dataclasses import dataclass

from fadump.abi.pseries.register_names import CHECKPOINTS, REGISTERS


@dataclass(frozen=True, slots=True)
class Stub:
    """The gdb stub's register of this name, of any CPU; ``shift`` bits up in it, 64 bits at most."""

    name: str
    shift: int = 0


@dataclass(frozen=True, slots=True)
class Special:
    """A special purpose register: the stub's of this name, or what the monitor prints for it.

    QEMU 7.2's stub has them for its first CPU only; the monitor takes any CPU's from where the stub does.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What the monitor's ``info registers`` shows under this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Printed:
    """What the monitor prints for expressions of 32 bits, the highest first; the stub's value would be outdated."""

    names: tuple[str, ...]
    bits: int = 32


@dataclass(frozen=True, slots=True)
class Missing:
    """It can't be read, and is not in the area."""

    reason: str


Source = Stub | Special | Shown | Printed | Missing

_NO_SUCH = Missing("QEMU has no such register")
_COMPUTED = Missing("QEMU computes it when the guest reads it, and shows only a 0 from outside")
_NEVER = Missing("QEMU lets every transaction fail at once, so there is no checkpoint, and LoPAR leaves it out")
_OLD = Missing("a register of POWER7, replaced by DAWR0 and DAWRX0")

_GIVEN: dict[str, Source] = {
    "NIA": Stub("pc"),
    **{name: Stub(name.lower()) for name in ("CR", "CTR", "FPSCR", "LR", "MSR", "VRSAVE", "VSCR", "XER")},
    **{f"GPR{number:02}": Stub(f"r{number}") for number in range(32)},
    **{f"FPR{number:02}": Stub(f"f{number}") for number in range(32)},
    **{f"VR{number:02}_HI": Stub(f"vr{number}", 64) for number in range(32)},
    **{f"VR{number:02}_LO": Stub(f"vr{number}") for number in range(32)},
    **{f"VSR{number:02}_HI": Stub(f"f{number}") for number in range(32)},
    **{f"VSR{number:02}_LO": Stub(f"vs{number}h") for number in range(32)},
    **{f"VSR{number + 32}_HI": Stub(f"vr{number}", 64) for number in range(32)},
    **{f"VSR{number + 32}_LO": Stub(f"vr{number}") for number in range(32)},
    # The monitor is asked for its dump of registers once anyway; the stub's CFAR is outdated.
    **{name: Shown(name) for name in ("CFAR", "DAR", "DSISR", "PVR", "SRR0", "SRR1")},
    **{f"SPRG{number}": Shown(f"SPRG{number}") for number in range(4)},
    "TB": Printed(("tbu", "tbl")),
    "DEC": Printed(("decr",), 64),
    "CTRL": Special("spr_ctrl"),
    "DSCR": Special("spr_dscr"),
    "TID": Special("tidr"),
    **dict.fromkeys(("PURR", "SPURR", "VTB", "DPDES"), _COMPUTED),
    **dict.fromkeys(("TSR", "WORC", "LMRR", "LMSER"), _NO_SUCH),
    **dict.fromkeys(("DABR", "DABRX"), _OLD),
}

SOURCES: dict[str, Source] = {
    **{name: _GIVEN.get(name, Special(name.lower())) for name in REGISTERS},
    **dict.fromkeys(CHECKPOINTS, _NEVER),
}
"""By PAPR's names, in PAPR's order. That QEMU has a :class:`Special` is for its target description to say."""
