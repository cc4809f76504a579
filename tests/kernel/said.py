"""What Linux says of FADump while it boots, from a plan and from a console, to be compared."""

import re

from fadump.abi.platform import Platform
from fadump.abi.pseries.dump_structure import SectionType
from fadump.kernel.plan.reserve import Part
from fadump.kernel.traits import MIB

KERNEL_REGION = 0x80
"""What OPAL calls memory that the kernel has registered."""
TYPES = {
    Part.CPU_STATE: SectionType.CPU_STATE,
    Part.HPTE: SectionType.HPTE,
    Part.BOOT_MEMORY: SectionType.REAL_MODE_REGION,
    Part.PARAMETER_AREA: SectionType.PARAMETER_AREA,
}
CAPTURE_STARTS = "Firmware-assisted dump is active."
_FIRST = (
    "Kernel metadata addr",
    "Reserved ",
    "Initialized ",
    "Failed to ",
    "Can't enable",
    "Too many holes",
    "Adjusted boot memory size",
    "WARNING: Could not setup area",
)
_TAIL = " of memory reserved for firmware-assisted dump"
_COPIED = re.compile(r"preserved type (0x\w+): 0x\w+ of (0x\w+) bytes from (0x\w+) to (0x\w+),")


def first_kernel_says(plan):
    """The lines about the reservation, in the order in which they come to the console."""
    ram_mib = plan.system.memory.ram_bytes // MIB
    found = plan.reservation
    said = []
    if plan.system.platform is Platform.POWERNV:
        said.append(f"Kernel metadata addr: {found.first(Part.METADATA).destination:x}")
    said.append(
        f"Reserved {found.area.size_bytes // MIB}MB of memory at {found.area.start:#016x} (System RAM: {ram_mib}MB)"
    )
    if any("additional parameters" in warning for warning in found.warnings):
        said.append("WARNING: Could not setup area to pass additional parameters!")
    if found.cma is not None and plan.kernel.lends_aligned_part:
        lent, copy_mib = found.cma, found.boot_memory.size_bytes // MIB
        said.append(
            f"Initialized [{lent.start:#x}, {lent.size_bytes // MIB}MB] cma area from "
            f"[{found.area.start:#x}, {copy_mib}MB] bytes"
        )
    elif found.cma is not None:
        said.append(
            f"Initialized {found.cma.size_bytes:#x} bytes cma area at {found.cma.start // MIB}MB from "
            f"{found.area.size_bytes:#x} bytes"
        )
    elif any("as CMA needs it" in warning for warning in found.warnings):
        said.append("Failed to init cma area for firmware-assisted dump,-22")
    return said


def capture_kernel_says(plan):
    """The lines about what is kept."""
    return [
        f"Reserving {range_.size_bytes // MIB}MB of memory at {range_.start:#016x} for preserving crash data"
        for range_ in plan.capture.ranges
    ]


def registered(plan):
    """(type, source, bytes, destination) of what is registered."""
    platform = plan.system.platform
    types = TYPES if platform is Platform.PSERIES else {Part.BOOT_MEMORY: KERNEL_REGION}
    sections = plan.reservation.registered(platform)
    return [(types[section.part], section.source or 0, section.size_bytes, section.destination) for section in sections]


def said_by_first_kernel(console):
    """The same lines in a console's text, up to the capture kernel's."""
    first = console.partition(CAPTURE_STARTS)[0]
    lines = re.findall(r"\] (?:opal )?fadump: (.*?)\r?$", first, re.MULTILINE)
    return [line.removesuffix(_TAIL) for line in lines if line.startswith(_FIRST)]


def said_by_capture_kernel(console):
    """The same lines in a console's text."""
    return re.findall(r"(Reserving \d+MB of memory at \w+ for preserving crash data)", console)


def copied_by_firmware(firmware_log):
    """(type, source, bytes, destination) of each section in a run's firmware.log."""
    found = [[int(number, 16) for number in numbers] for numbers in _COPIED.findall(firmware_log)]
    return [(type_, source, requested, destination) for type_, requested, source, destination in found]
