"""What our initramfs and that of a kernel in front need on the kernel's command line."""

import base64

from fadump.errors import UsageError

INIT_PATH = "/fadump/init"
"""In the guest; the kernel's command line needs ``rdinit=`` this."""
PETITBOOT_INIT_PATH = "/fadump/petitboot"
WAIT = "petitboot.wait"
"""The word by which our petitboot waits for Enter on its console before it starts the system's kernel."""

_MOST_BYTES = 2047
"""Of a command line on Power (COMMAND_LINE_SIZE in arch/powerpc/include/uapi/asm/setup.h)."""


def petitboot_command_line(system: str) -> str:
    """The command line of the kernel in front, which starts the system's with ``system``.

    :raises UsageError: that is too long.
    """
    handed_on = base64.b64encode(system.encode()).decode()
    line = f"console=hvc0 rdinit={PETITBOOT_INIT_PATH} panic=5 petitboot.next={handed_on}"
    if len(line) > _MOST_BYTES:
        raise UsageError(
            f"--cmdline is too long for --petitboot: Linux takes {_MOST_BYTES:,} bytes, and handing all of it on needs "
            f"{len(line):,}"
        )
    return line
