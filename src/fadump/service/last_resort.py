"""What is done when no target has taken the dump, as ``on_failure`` says. Nothing is ever released here."""

import subprocess
from contextlib import suppress
from pathlib import Path

from fadump.errors import reason
from fadump.service.config import OnFailure

CONSOLE = Path("/dev/console")
_COMMANDS = {
    OnFailure.SHELL: ["sulogin"],
    OnFailure.REBOOT: ["systemctl", "--no-block", "reboot"],
    OnFailure.POWEROFF: ["systemctl", "--no-block", "poweroff"],
}


def last_resort(on_failure: OnFailure, error: str, console: Path = CONSOLE) -> str | None:
    """Do it, after telling the console why; what went wrong with it, as a sentence, or None."""
    command = _COMMANDS.get(on_failure)
    if command is None:
        return None
    with suppress(OSError):
        console.write_text(f"\r\nfadump: {error}\r\nfadump: on_failure is {on_failure}\r\n")
    if on_failure is OnFailure.SHELL:
        command = [*command, str(console)]
    try:
        done = subprocess.run(command, check=False, stdout=2, start_new_session=True)
    except OSError as failed:
        return f"on_failure is {on_failure}, and {command[0]} can't be started: {reason(failed)}"
    if done.returncode:
        return f"on_failure is {on_failure}, and {command[0]} failed with exit status {done.returncode}"
    return None
