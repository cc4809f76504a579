"""Whether a dump that has been saved is what was written: read back from the disk, not from memory."""

import os
from pathlib import Path

from fadump.capture.files import HOST as HOST_FILES
from fadump.errors import FadumpError, reason
from fadump.printable import with_others
from fadump.service.targets.contract import TargetError, Tell
from fadump.vmcore.check import Weight, check_dump, work_bytes
from fadump.vmcore.dump import open_dump
from fadump.vmcore.seal import find_seal

CHECKED = "every page and checksum"
PAGES = "every page"
GAPS = "every page and checksum of what could be read"


def prove_file(path: Path, tell: Tell, *, complete: bool) -> str:
    """Prove a file, or a disk, to be a whole dump; return what that proves.

    With ``complete`` False its source had gaps, so that it says that it isn't whole: then only what it has is proven.

    :raises TargetError: it isn't whole, or can't be read.
    """
    damage, sealed = _read_back(path, tell)
    if not sealed:
        raise TargetError(f"{path} has no checksums that fadump wrote")
    if damage and complete:
        raise TargetError(f"{path} is not whole: {with_others(damage)}")
    return CHECKED if complete else GAPS


def prove_theirs(path: Path, tell: Tell) -> str:
    """Prove a file that another program has written to be a whole dump, as far as that can be: it has no checksums.

    :raises TargetError: it isn't whole, or can't be read.
    """
    damage, _sealed = _read_back(path, tell)
    if damage:
        raise TargetError(f"{path} is not whole: {with_others(damage)}")
    return PAGES


def _read_back(path: Path, tell: Tell) -> tuple[list[str], bool]:
    """What is wrong with a dump, and whether it has our checksums."""
    try:
        _drop_from_memory(path)
        with open_dump(path) as dump:
            done, total = 0, work_bytes(dump)

            def advance(size_bytes: int) -> None:
                nonlocal done
                done += size_bytes
                tell(done, total)

            report = check_dump(dump, advance=advance)
            sealed = find_seal(dump.notes, dump.byte_order)
    except (FadumpError, OSError) as error:
        raise TargetError(f"{path} can't be read back: {reason(error)}") from error
    damage = [finding.text for finding in report.findings if finding.weight is Weight.DAMAGE]
    return damage, sealed is not None and bool(sealed[0].table_offset)


def _drop_from_memory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        HOST_FILES.fsync(fd)
        HOST_FILES.reread(fd)
    finally:
        os.close(fd)
