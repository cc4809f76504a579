"""The crashed kernel's log as a file of its own, saved before the dump: it is small, and often all that is needed.

Step "saved" of docs/architecture.md. It is called ``DST-dmesg.txt``, as kdump-utils calls its own, and durable before
the first page is written.
"""

from pathlib import Path

from fadump.capture.files import Files
from fadump.capture.target import write_text
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem


def dmesg_name(path: Path) -> Path:
    """Where the log of the dump ``path`` goes."""
    return path.with_name(path.name + "-dmesg.txt")


def save_dmesg(system: CrashedSystem, path: Path, files: Files) -> str | None:
    """Write the log to ``path``, in the place of an earlier one; what is missing of it, as a sentence, or None.

    :raises OSError: it can't be written.
    """
    text, missing = read_dmesg(system)
    write_text(path, text.encode(), files)
    return missing


def read_dmesg(system: CrashedSystem) -> tuple[str, str | None]:
    """The log as far as it can be read; what is missing of it, as a sentence, or None."""
    lines: list[str] = []
    try:
        for record in system.log():
            lines += record.lines()
    except UNREADABLE_KERNEL as error:
        return "".join(f"{line}\n" for line in lines), f"the log is not all there: {error}"
    return "".join(f"{line}\n" for line in lines), None
