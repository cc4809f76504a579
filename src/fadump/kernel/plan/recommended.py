"""What distributions recommend as ``crashkernel=``, for comparison with a plan.

Their own tables, by RAM, in the syntax of the parameter:

* Fedora and RHEL, for FADump: kdump-utils, kdump-lib.sh (read at 63f248c). It has no row under 4 GiB.
* Debian and Ubuntu, ppc64el, for FADump and kdump: kdump-tools' default for GRUB.
* SUSE, for FADump: kdumptool calibrate has no table but uses 5 % of RAM, at least 64 MiB.
"""

from dataclasses import dataclass

from fadump.kernel.plan.cmdline import parse_crashkernel
from fadump.kernel.traits import LINUX_6_12, MIB

_FEDORA = (
    "4G-16G:768M,16G-64G:1G,64G-128G:2G,128G-1T:4G,1T-2T:6G,2T-4T:12G,4T-8T:20G,8T-16T:36G,16T-32T:64G,"
    "32T-64T:128G,64T-:180G"
)
_DEBIAN = "2G-4G:320M,4G-32G:512M,32G-64G:1024M,64G-128G:2048M,128G-:4096M"
_LEAST_SUSE_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True)
class Recommendation:
    """``size_bytes`` is None if the distribution's table has no row for so much RAM; ``table`` is that table."""

    distribution: str
    table: str
    size_bytes: int | None


def recommendations(ram_bytes: int) -> tuple[Recommendation, ...]:
    """Each distribution's recommendation for so much RAM, parsed as Linux parses the parameter."""
    suse_bytes = max(ram_bytes // 20 // MIB * MIB, _LEAST_SUSE_BYTES)
    return (
        Recommendation("Fedora, RHEL (kdump-utils, FADump)", _FEDORA, _size(_FEDORA, ram_bytes)),
        Recommendation("Debian, Ubuntu (kdump-tools, ppc64el)", _DEBIAN, _size(_DEBIAN, ram_bytes)),
        Recommendation("SUSE (kdumptool calibrate, FADump)", "5 % of RAM, at least 64M", suse_bytes),
    )


def _size(table: str, ram_bytes: int) -> int | None:
    found = parse_crashkernel(f"crashkernel={table}", ram_bytes, LINUX_6_12)
    return found.size_bytes if found.problem is None else None
