"""``fadump drgn``: a dump in drgn, with registers, vmlinux and modules right."""

import os
from collections.abc import Mapping
from pathlib import Path

from fadump.capture.options import Format
from fadump.capture.registers import AddedRegisters
from fadump.cli.debugger import Debugger, Handover, add_debugger
from fadump.cli.parser import Commands
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem
from fadump.vmcore.contract import Dump

_LIBKDUMPFILE_PAGE_BYTES = 1 << 16
"""libkdumpfile as built into drgn 0.3.0 knows no smaller pages on ppc64."""
_EXAMPLE = """example:
  fadump drgn fadump-run/vmcore                     a prompt: stack_trace(cpu_curr(prog["crashing_cpu"]))
  fadump drgn vmcore -- -e 'print(prog["jiffies"])' what is behind -- is drgn's
"""
_NAMES = Path(__file__).parent / "drgn_names.py"


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    add_debugger(
        commands,
        Debugger("drgn", "pip install drgn", _command, _reads, _format, needs_vmlinux=False, environment=_environment),
        summary="look into a dump with drgn: registers, vmlinux and modules are right",
        description="Start drgn on a dump. FADump leaves registers where drgn doesn't look for them: then the dump is "
        "saved once more beside itself, as FILE.for-drgn. Functions of modules whose files aren't here have their "
        "names from the dump. With --json nothing is started: the command is printed.",
        example=_EXAMPLE,
    )


def _command(called: str, handover: Handover) -> list[str]:
    words = [called, "-c", str(handover.dump)]
    for symbols in [*([] if handover.vmlinux is None else [handover.vmlinux]), *handover.modules]:
        words += ["-s", str(symbols)]
    if handover.options.debuginfod:
        words += ["--try-symbols-by", "debuginfod"]
    return words


def _reads(dump: Dump, added: AddedRegisters, _changed: bool) -> bool:
    return not added.cpus and not dump.flattened


def _format(system: CrashedSystem) -> Format:
    return Format.KDUMP if system.page_bytes >= _LIBKDUMPFILE_PAGE_BYTES else Format.ELF


def _environment(system: CrashedSystem) -> Mapping[str, str]:
    """Our plugin, beside the user's own; and, where drgn can, to walk page tables itself: libkdumpfile doesn't know
    today's.
    """
    plugins = ",".join(filter(None, [os.environ.get("DRGN_PLUGINS"), f"fadump={_NAMES}"]))
    walks = {"DRGN_PREFER_PGTABLE_READER": "1"} if _states_radix(system) else {}
    return {"DRGN_PLUGINS": plugins} | walks


def _states_radix(system: CrashedSystem) -> bool:
    """Whether VMCOREINFO says that the MMU is radix, as that of 6.12 does and that of 6.1 does not: else drgn would
    look for that by the page tables, and find nothing at all.
    """
    try:
        facts = system.vmcoreinfo
        return "NUMBER(RADIX_MMU)" in facts and bool(facts.number("RADIX_MMU"))
    except UNREADABLE_KERNEL:
        return False
