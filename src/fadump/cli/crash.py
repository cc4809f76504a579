"""``fadump crash``: a dump in crash, with the registers of each CPU and the right vmlinux."""

from fadump.capture.options import Format
from fadump.capture.registers import AddedRegisters
from fadump.cli.debugger import Debugger, Handover, add_debugger
from fadump.cli.parser import Commands
from fadump.linux.system import CrashedSystem
from fadump.vmcore.contract import Dump

_EXAMPLE = """example:
  fadump crash fadump-run/vmcore            a prompt: bt -a
  fadump crash vmcore -- -i commands        what is behind -- is crash's
"""


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    add_debugger(
        commands,
        Debugger("crash", "apt-get install crash", _command, _reads, _format, needs_vmlinux=True),
        summary="look into a dump with crash: registers and vmlinux are right",
        description="Start crash on a dump. Where crash would take registers for another CPU's, the dump is saved once "
        "more beside itself, as FILE.for-crash. With --json nothing is started: the command is printed. On another "
        "computer than the crashed one's kind, crash has to be one that is built for ppc64.",
        example=_EXAMPLE,
    )


def _command(called: str, handover: Handover) -> list[str]:
    return [called, str(handover.vmlinux), str(handover.dump)]


def _reads(_dump: Dump, _added: AddedRegisters, changed: bool) -> bool:
    return not changed


def _format(_system: CrashedSystem) -> Format:
    return Format.KDUMP
