"""The registers of LoPAR's register save area, in the order of its table.

Step "preserve" of docs/architecture.md. Specification: LoPAR, "Firmware Assisted Dump Data Format", table
"Identifiers Supported in Version 0x0 of the Table". A register of more than 8 bytes is two entries, _HI before _LO.
The table has PMC6 as "PIMC6" in one column, and a wrong last letter of MMCRA in hex; the other column's are used here.
"""

_BEFORE_FPRS = ("ACOP", "AMR", "CFAR", "CR", "CTR", "CTRL", "DABR", "DABRX", "DAR", "DEC", "DSCR", "DSISR")
_FROM_LR = (
    "LR", "MMCR0", "MMCR1", "MMCRA", "MSR", "NIA", "PID", "PIR", "PMC1", "PMC2", "PMC3", "PMC4", "PMC5", "PMC6",
    "PURR", "PVR", "SDAR", "SIAR", "SPRG0", "SPRG1", "SPRG2", "SPRG3", "SPURR", "SRR0", "SRR1", "TB", "TSR", "UAMOR",
)  # fmt: skip
_FROM_XER = (
    "XER", "FSCR", "VTB", "IC", "DAWR0", "DAWRX0", "CIABR", "TAR", "BESCR", "EBBHR", "EBBRR", "IAMR", "PSPB", "RPR",
    "MMCR2", "SIER", "DPDES", "TIR", "TID", "SPMC1", "SPMC2", "MMCRS", "WORC", "WORT", "TFHAR", "TFIAR", "TEXASR",
)  # fmt: skip
_LAST = ("LMRR", "LMSER", "PSSCR")

CHECKPOINTS = (
    *("X-CR", "X-VSCR", "X-XER", "X-LR", "X-CTR", "X-FPSCR", "X-AMR", "X-TSR", "X-VRSAVE", "X-DSCR", "X-TAR"),
    *(f"X-GPR{number:02}" for number in range(32)),
    *(f"X-VS{number:02}{half}" for number in range(64) for half in ("HI", "LO")),
)
"""The checkpointed state of a transaction: in the area only if the CPU is in one."""

REGISTERS = (
    *_BEFORE_FPRS,
    *(f"FPR{number:02}" for number in range(32)),
    "FPSCR",
    *(f"GPR{number:02}" for number in range(32)),
    *_FROM_LR,
    *(f"VR{number:02}_{half}" for number in range(32) for half in ("HI", "LO")),
    *("VRSAVE", "VSCR"),
    *(f"VSR{number:02}_{half}" for number in range(64) for half in ("HI", "LO")),
    *_FROM_XER,
    *_LAST,
)
"""Every other register. In LoPAR's table, CHECKPOINTS are between TEXASR and LMRR."""
