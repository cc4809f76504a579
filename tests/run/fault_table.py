"""What Linux does about each fault, one row each. Tests run the rows on the model, many of them on real Linux too.

The truth is the source of Linux 6.12, which each row names; docs/faults.md prints the rows.
"""

from dataclasses import dataclass
from enum import StrEnum

from fadump.abi.platform import Platform
from fadump.firmware.contract import CallName

RTAS, OPAL, FADUMP = "rtas-fadump.c", "opal-fadump.c", "fadump.c"


class End(StrEnum):
    """How a run ends."""

    SAVED = "saved"
    DIFFERENT = "saved, but not all as it was"
    NOT_IN_PRODUCTION = "saved, then not registered again"
    NO_DUMP = "no dump"
    PANIC = "the capture kernel dies"
    DEAD_AT_RELEASE = "saved, then the kernel dies"
    NEVER_STRUCK = "saved, and it never struck"


@dataclass(frozen=True, slots=True)
class Row:
    """A fault, how the run ends, what the kernel says on its console, and the function of Linux that decides.

    ``options`` are what the fault needs to be seen.
    """

    platform: Platform
    name: str
    end: End
    said: str
    source: str
    options: tuple[str, ...] = ()


def _pseries(name, end, said, source, *options):
    return Row(Platform.PSERIES, name, end, said, source, options)


def _powernv(name, end, said, source, *options):
    return Row(Platform.POWERNV, name, end, said, source, options)


_PROCESS, _NOTES, _CONFIG = (
    f"{RTAS} rtas_fadump_process",
    f"{RTAS} rtas_fadump_build_cpu_notes",
    f"{RTAS} rtas_fadump_get_config",
)
_HEADER = f"{FADUMP} is_fadump_header_compatible"
_OS_TERM = "rtas.c rtas_os_term"
_OPAL_NOTES, _OPAL_SCAN = f"{OPAL} opal_fadump_build_cpu_notes", f"{OPAL} opal_fadump_dt_scan"
_OPAL_VALID = f"{OPAL} is_opal_fadump_cpu_data_valid"
_OPAL_CORE_CONFIG, _OPAL_CORE_CLEANUP = "opal-core.c opalcore_config_init", "opal-core.c opalcore_cleanup"
_TRIGGER = f"{OPAL} opal_fadump_trigger"
_NOT_ALL = "opal fadump: Not all memory regions were saved!!!"
_TWO_RANGES = ("--memory", "24G", "--cmdline", "crashkernel=5G")
"""A range has less than 4 GiB, and boot memory 5 GiB."""
_ERRORS = ("invalid-type", "invalid-source", "length-exceeds", "invalid-destination", "destination-too-small")
_NOT_VALID = "rtas fadump: Dump taken by platform is not valid"
_INCOMPLETE = "rtas fadump: Dump taken by platform is incomplete"
_ACCESS = "BUG: Unable to handle kernel data access on read at 0xc"
_UNREADABLE = "rtas fadump: Unable to read CPU state data"
_ONLY_CRASHING = "opal fadump: WARNING: appending only crashing CPU's register data"

CALLS = [
    _pseries("register=busy*3", End.SAVED, "rtas fadump: Registration is successful!", f"{RTAS} rtas_fadump_call"),
    _pseries("register=delay-1ms*3", End.SAVED, "rtas fadump: Registration is successful!", f"{RTAS} rtas_fadump_call"),
    _pseries(
        "register=delay-100s",
        End.NO_DUMP,
        "Timed out waiting for firmware to complete fadump register",
        f"{RTAS} rtas_fadump_call",
    ),
    _pseries(
        "register=success", End.NO_DUMP, "rtas fadump: Registration is successful!", f"{RTAS} rtas_fadump_register"
    ),
    _pseries(
        "register=hardware-error",
        End.NO_DUMP,
        "rtas fadump: Failed to register. Hardware Error(-1).",
        f"{RTAS} rtas_fadump_register",
    ),
    _pseries(
        "register=parameter-error",
        End.NO_DUMP,
        "rtas fadump: Failed to register. Parameter Error(-3).",
        f"{RTAS} rtas_fadump_register",
    ),
    _pseries(
        "register=already-registered", End.NO_DUMP, "rtas fadump: Already registered!", f"{RTAS} rtas_fadump_register"
    ),
    _pseries(
        "register=dump-active",
        End.NO_DUMP,
        "rtas fadump: Failed to register. Unknown Error(-10).",
        f"{RTAS} rtas_fadump_register",
    ),
    _pseries(
        "register=hardware-error*1",
        End.SAVED,
        "rtas fadump: Failed to register. Hardware Error(-1).",
        f"{FADUMP} registered_store",
    ),
    _pseries(
        "register=served*1,hardware-error",
        End.NOT_IN_PRODUCTION,
        "rtas fadump: Failed to register. Hardware Error(-1).",
        f"{RTAS} rtas_fadump_register",
    ),
    _pseries("invalidate=busy*2", End.SAVED, "", f"{RTAS} rtas_fadump_call"),
    _pseries(
        "invalidate=hardware-error",
        End.NOT_IN_PRODUCTION,
        "rtas fadump: Failed to invalidate - unexpected error (-1).",
        f"{RTAS} rtas_fadump_invalidate",
    ),
    _pseries(
        "invalidate=parameter-error",
        End.NOT_IN_PRODUCTION,
        "rtas fadump: Failed to invalidate - unexpected error (-3).",
        f"{RTAS} rtas_fadump_invalidate",
    ),
    _pseries(
        "invalidate=delay-100s",
        End.NOT_IN_PRODUCTION,
        "Timed out waiting for firmware to complete fadump invalidate",
        f"{RTAS} rtas_fadump_call",
    ),
    _pseries(
        "invalidate=success",
        End.NOT_IN_PRODUCTION,
        "rtas fadump: Failed to register. Unknown Error(-10).",
        f"{RTAS} rtas_fadump_register",
    ),
    _pseries("terminate=busy*2,9900*2", End.SAVED, "", _OS_TERM),
    _pseries("terminate=hardware-error", End.NO_DUMP, "rtas: ibm,os-term call failed -1", _OS_TERM),
    _pseries("terminate=success", End.NO_DUMP, "Rebooting in 5 seconds", _OS_TERM),
    _powernv("register=hardware", End.NO_DUMP, "opal fadump: Support not available.", f"{OPAL} opal_fadump_register"),
    _powernv(
        "register=parameter",
        End.NO_DUMP,
        "opal fadump: Failed to register. Parameter Error(-1).",
        f"{OPAL} opal_fadump_register",
    ),
    _powernv(
        "register=resource",
        End.NO_DUMP,
        "opal fadump: 1 regions could not be registered for MPIPL as MAX limit is reached!",
        f"{OPAL} opal_fadump_register",
    ),
    *[
        _powernv(
            f"register={word}",
            End.NO_DUMP,
            f"opal fadump: Failed to register. Unknown Error({status}).",
            f"{OPAL} opal_fadump_register",
        )
        for word, status in (
            ("busy", -2),
            ("partial", -3),
            ("no-mem", -9),
            ("internal-error", -11),
            ("busy-event", -12),
        )
    ],
    _powernv("register=served*1,resource*1", End.DIFFERENT, _NOT_ALL, f"{OPAL} opal_fadump_get_config", *_TWO_RANGES),
    _powernv(
        "register=served*1,busy*1",
        End.SAVED,
        "opal fadump: Failed to register. Unknown Error(-2).",
        f"{OPAL} opal_fadump_register",
        *_TWO_RANGES,
    ),
    _powernv(
        "register=busy*1",
        End.SAVED,
        "opal fadump: Failed to register. Unknown Error(-2).",
        f"{FADUMP} registered_store",
    ),
    _powernv(
        "set-kernel-tag=parameter",
        End.NO_DUMP,
        "opal fadump: Failed to set kernel metadata tag!",
        f"{OPAL} opal_fadump_setup_metadata",
    ),
    _powernv(
        "set-boot-mem-tag=parameter",
        End.NO_DUMP,
        "opal fadump: Failed to set boot memory tag!",
        f"{OPAL} opal_fadump_setup_metadata",
    ),
    _powernv("query-kernel-tag=parameter", End.NO_DUMP, "opal fadump: Failed to get Kernel metadata (-1)", _OPAL_SCAN),
    _powernv("query-kernel-tag=busy*1", End.NO_DUMP, "opal fadump: Failed to get Kernel metadata (-2)", _OPAL_SCAN),
    _powernv("query-cpu-tag=parameter", End.DIFFERENT, _ONLY_CRASHING, _OPAL_SCAN),
    _powernv("query-opal-tag=parameter", End.SAVED, "opal core: Failed to get OPAL metadata (-1)", _OPAL_CORE_CONFIG),
    _powernv(
        "set-kernel-tag=served*1,parameter*2",
        End.SAVED,
        "opal fadump: Could not reset (18446744073709551615) kernel metadata tag!",
        f"{OPAL} opal_fadump_cleanup",
    ),
    _powernv("query-boot-mem-tag=parameter", End.NEVER_STRUCK, "", "only CONFIG_PRESERVE_FA_DUMP's kernels ask"),
    _powernv(
        "invalidate=parameter",
        End.NOT_IN_PRODUCTION,
        "opal fadump: Failed to invalidate - unexpected Error(-1).",
        f"{OPAL} opal_fadump_invalidate",
    ),
    _powernv(
        "invalidate=busy",
        End.NOT_IN_PRODUCTION,
        "opal fadump: Failed to invalidate - unexpected Error(-2).",
        f"{OPAL} opal_fadump_invalidate",
    ),
    _powernv("terminate=unsupported", End.NO_DUMP, "opal fadump: Reboot type 3 not supported.", _TRIGGER),
    _powernv("terminate=hardware", End.NO_DUMP, "opal fadump: No backend support for MPIPL!", _TRIGGER),
    _powernv("terminate=busy", End.NO_DUMP, "Rebooting in 5 seconds", _TRIGGER),
]

STRUCTURES = [
    _pseries(
        "dump=missing",
        End.NO_DUMP,
        "fadump: Failed to find memory chunk for reservation!",
        f"{RTAS} rtas_fadump_dt_scan",
    ),
    _pseries("dump=error", End.SAVED, "", _PROCESS),
    _pseries("dump=later-version", End.SAVED, "", _PROCESS),
    _pseries("dump=no-sections", End.PANIC, "", f"{FADUMP} fadump_reserve_crash_area"),
    *[
        _pseries(f"{part}={error}", End.NO_DUMP, f"{_NOT_VALID} ({index})", _PROCESS)
        for index, part in enumerate(("cpu-state", "hpte", "boot-memory"))
        for error in _ERRORS
    ],
    *[
        _pseries(
            f"parameters={fault}",
            End.SAVED,
            "rtas fadump: Failed to process additional parameters! Proceeding anyway..",
            _PROCESS,
        )
        for fault in (*_ERRORS, "short")
    ],
    _pseries("cpu-state=short", End.NO_DUMP, f"{_INCOMPLETE} (0)", _PROCESS),
    _pseries("cpu-state=outside", End.PANIC, f"{_ACCESS}000000040010000", _NOTES),
    _pseries("cpu-state=overlapping", End.NO_DUMP, "rtas fadump: Unable to read register save area.", _NOTES),
    _pseries(
        "cpu-state=unknown-type", End.PANIC, "BUG: Kernel NULL pointer dereference on read at 0x00000000", _CONFIG
    ),
    _pseries("hpte=outside", End.SAVED, "", _CONFIG),
    _pseries("hpte=overlapping", End.SAVED, "", _CONFIG),
    _pseries("hpte=unknown-type", End.SAVED, "rtas fadump: Unknown region found: type: 3 src addr: 0x0", _PROCESS),
    _pseries("hpte=short", End.NEVER_STRUCK, "", _PROCESS),
    _pseries("hpte=short", End.NO_DUMP, f"{_INCOMPLETE} (1)", _PROCESS, "--cpu-model", "POWER8"),
    _pseries("hpte=shifted", End.NEVER_STRUCK, "", _CONFIG),
    _pseries("hpte=shifted", End.DIFFERENT, "", _CONFIG, "--cpu-model", "POWER8"),
    _pseries("boot-memory=outside", End.PANIC, f"{_ACCESS}000000054010000", f"{FADUMP} is_fadump_header_compatible"),
    _pseries("boot-memory=overlapping", End.NO_DUMP, "fadump: Fadump header is corrupted.", _HEADER),
    _pseries("boot-memory=unknown-type", End.PANIC, "", f"{FADUMP} fadump_reserve_crash_area"),
    _pseries("parameters=outside", End.SAVED, "", f"{FADUMP} fadump_append_bootargs"),
    _pseries(
        "parameters=overlapping",
        End.NOT_IN_PRODUCTION,
        "rtas fadump: Failed to register. Parameter Error(-3).",
        f"{RTAS} rtas_fadump_init_mem_struct",
    ),
    _pseries("boot-memory=short", End.NO_DUMP, f"{_INCOMPLETE} (2)", _PROCESS),
    _pseries("parameters=unknown-type", End.SAVED, "rtas fadump: Unknown region found: type: 3", _PROCESS),
    _powernv("dump=missing", End.NO_DUMP, "", _OPAL_SCAN),
    _powernv(
        "boot-memory=outside",
        End.DEAD_AT_RELEASE,
        "BUG: Unable to handle kernel data access on write at 0xc0000001300101bc",
        f"{OPAL} opal_fadump_setup_metadata",
    ),
    _powernv(
        "boot-memory=overlapping",
        End.DEAD_AT_RELEASE,
        "BUG: Unable to handle kernel data access on write at 0xc",
        f"{OPAL} opal_fadump_setup_metadata",
    ),
    _powernv("boot-memory=short", End.DIFFERENT, "", "MPIPL has no place to say it"),
    _powernv("metadata=partly", End.NEVER_STRUCK, "", "there are several ranges from 4 GiB of boot memory on"),
    _powernv("metadata=partly", End.SAVED, _NOT_ALL, f"{OPAL} opal_fadump_get_config", *_TWO_RANGES),
    _powernv(
        "opal=later-version", End.SAVED, "opal core: Supported OPAL metadata version: 1, found: 2!", _OPAL_CORE_CONFIG
    ),
    _powernv("opal=foreign-cpu", End.SAVED, "", "opal-core.c opalcore_append_cpu_notes"),
    _powernv("opal=no-regions", End.PANIC, "opal core: OPAL memory regions not found", _OPAL_CORE_CLEANUP),
    _powernv(
        "metadata=later-version", End.SAVED, "opal fadump: Supported kernel metadata version: 1, found: 2!", _OPAL_SCAN
    ),
    _powernv("metadata=no-ranges", End.NO_DUMP, "", _OPAL_SCAN),
    _powernv("metadata=no-header", End.NO_DUMP, "fadump: Fadump header is corrupted.", f"{FADUMP} fadump_process"),
]

REGISTERS = [
    _pseries("registers=no-magic", End.NO_DUMP, "rtas fadump: Unable to read register save area.", _NOTES),
    _pseries("registers=later-version", End.SAVED, "", _NOTES),
    _pseries(
        "registers=no-cpus",
        End.NO_DUMP,
        "fadump: Failed to allocate 0 bytes for CPU notes buffer",
        f"{FADUMP} fadump_setup_cpu_notes_buf",
    ),
    _pseries("registers=fewer-cpus", End.DIFFERENT, "", _NOTES),
    _pseries("registers=more-cpus", End.NO_DUMP, _UNREADABLE, _NOTES),
    _pseries(
        "registers=endless-cpus",
        End.NO_DUMP,
        "fadump: Failed to allocate 2302102470656 bytes for CPU notes buffer",
        f"{FADUMP} fadump_setup_cpu_notes_buf",
    ),
    _pseries("registers=count-outside", End.PANIC, _ACCESS, _NOTES),
    _pseries("registers=no-start", End.NO_DUMP, _UNREADABLE, _NOTES),
    _pseries("registers=no-end", End.NO_DUMP, _UNREADABLE, _NOTES),
    _pseries("registers=no-last-end", End.PANIC, _ACCESS, "rtas-fadump.h RTAS_FADUMP_SKIP_TO_NEXT_CPU"),
    _pseries("registers=unknown-names", End.DIFFERENT, "", f"{RTAS} rtas_fadump_set_regval"),
    _pseries("registers=reversed", End.DIFFERENT, "", _NOTES),
    _pseries("registers=twice", End.DIFFERENT, "", _NOTES),
    _pseries("registers=unknown-cpu", End.DIFFERENT, "", _NOTES),
    _powernv(
        "registers=later-version",
        End.SAVED,
        "opal fadump: WARNING: F/W using newer CPU state data format!!",
        _OPAL_VALID,
    ),
    _powernv("registers=fewer-cpus", End.DIFFERENT, "", _OPAL_NOTES),
    _powernv("registers=outside", End.PANIC, f"{_ACCESS}000000100010008", _OPAL_NOTES),
    _powernv("registers=nowhere", End.PANIC, "opal core: CPU state data not found!", _OPAL_CORE_CLEANUP),
    _powernv("registers=no-size", End.PANIC, "opal core: CPU state data is invalid.", _OPAL_CORE_CLEANUP),
    _powernv("registers=too-large", End.PANIC, "opal core: CPU state data is invalid.", _OPAL_CORE_CLEANUP),
    _powernv("registers=inactive", End.DIFFERENT, "", _OPAL_NOTES),
    _powernv("registers=inactive", End.NO_DUMP, "", _OPAL_NOTES, "--crash-by", "platform"),
    _powernv("registers=reversed", End.DIFFERENT, "", _OPAL_NOTES),
    _powernv("registers=twice", End.DIFFERENT, "", _OPAL_NOTES),
    _powernv("registers=unknown-cpu", End.SAVED, "", _OPAL_NOTES),
    _powernv("registers=unknown-names", End.DIFFERENT, "", "opal-fadump.h opal_fadump_set_regval_regnum"),
]

HEADERS = [
    *[
        Row(platform, f"crash-info={name}", End.NO_DUMP, f"fadump: {said}", _HEADER)
        for platform in Platform
        for name, said in (
            ("corrupt", "Fadump header is corrupted."),
            ("old-magic", "Old magic number, can't process the dump."),
            ("other-endian", "Endianness mismatch between the crashed and fadump kernels."),
            ("regs-size", "Fadump header size mismatch."),
            ("mask-size", "Fadump header size mismatch."),
        )
    ],
    *[Row(platform, "crash-info=later-version", End.SAVED, "", _HEADER) for platform in Platform],
    _pseries("crash-info=no-cpu", End.DIFFERENT, "", _NOTES),
    _pseries("crash-info=foreign-cpu", End.DIFFERENT, "", _NOTES),
    _pseries("crash-info=no-mask", End.DIFFERENT, "Warning: Zero PT_NOTE entries found", _NOTES),
    _powernv("crash-info=no-cpu", End.DIFFERENT, "", _OPAL_NOTES),
    _powernv("crash-info=foreign-cpu", End.DIFFERENT, "", _OPAL_NOTES),
    _powernv("crash-info=no-mask", End.SAVED, "", _OPAL_NOTES),
]

CYCLE_FAULTS = [
    *[Row(platform, "release-twice", End.SAVED, "", f"{FADUMP} release_mem_store") for platform in Platform],
    _pseries("second-crash", End.SAVED, "", f"{FADUMP} should_fadump_crash"),
    _powernv("second-crash", End.NO_DUMP, "", f"{FADUMP} fadump_cleanup"),
    _powernv("second-crash", End.SAVED, "", "no part of Linux's", "--crash-by", "platform"),
]

_OLD = ("--kernel-version", "6.1")
OLDER = [
    _pseries("crash-info=corrupt", End.NO_DUMP, "rtas fadump: Crash info header is not valid.", _PROCESS, *_OLD),
    _pseries("crash-info=other-endian", End.NO_DUMP, "rtas fadump: Crash info header is not valid.", _PROCESS, *_OLD),
    _pseries("crash-info=no-cpu", End.DIFFERENT, "", _NOTES, *_OLD),
    _pseries("cpu-state=invalid-source", End.NO_DUMP, _NOT_VALID, _PROCESS, *_OLD),
    _pseries("cpu-state=unknown-type", End.SAVED, "", _CONFIG, *_OLD),
    _pseries("hpte=invalid-source", End.SAVED, "", _PROCESS, *_OLD),
    _pseries("boot-memory=short", End.NO_DUMP, _INCOMPLETE, _PROCESS, *_OLD),
    _pseries("boot-memory=unknown-type", End.SAVED, "", _CONFIG, *_OLD),
    _pseries("dump=no-sections", End.SAVED, "", _CONFIG, *_OLD),
    _pseries("registers=no-end", End.NO_DUMP, _UNREADABLE, _NOTES, *_OLD),
    _pseries("terminate=hardware-error", End.NO_DUMP, "ibm,os-term call failed -1", _OS_TERM, *_OLD),
]
"""Where 6.1 differs: it takes sections by their places (until 78d5cc15fb7d), and FADMPINF only (until c6c5b14dac0d)."""

OTHERWISE = {
    Platform.PSERIES: {
        CallName.REGISTER: End.NO_DUMP,
        CallName.UNREGISTER: End.NEVER_STRUCK,
        CallName.INVALIDATE: End.NOT_IN_PRODUCTION,
        CallName.TERMINATE: End.NO_DUMP,
    },
    Platform.POWERNV: {
        CallName.REGISTER: End.NO_DUMP,
        CallName.UNREGISTER: End.NEVER_STRUCK,
        CallName.INVALIDATE: End.NOT_IN_PRODUCTION,
        CallName.TERMINATE: End.NO_DUMP,
        CallName.SET_KERNEL_TAG: End.NO_DUMP,
        CallName.SET_BOOT_MEM_TAG: End.NO_DUMP,
        CallName.QUERY_KERNEL_TAG: End.NO_DUMP,
        CallName.QUERY_CPU_TAG: End.SAVED,
        CallName.QUERY_OPAL_TAG: End.SAVED,
        CallName.QUERY_BOOT_MEM_TAG: End.NEVER_STRUCK,
    },
}
"""How a run ends if a call gets a status that is neither success nor a reason to ask again."""

ROWS = [*CALLS, *STRUCTURES, *REGISTERS, *HEADERS, *CYCLE_FAULTS, *OLDER]
