"""How words get onto the kernel's command line here: the distribution's own command.

Of several ``crashkernel=`` the last one counts. Debian's GRUB writes GRUB_CMDLINE_LINUX_DEFAULT last, where kdump-tools
has one, too, in a file whose name comes before ours.
"""

from fadump.service.doctor.files import SystemFiles

_GRUBBY = ("/usr/sbin/grubby", "/sbin/grubby")
_UPDATE_BOOTLOADER = ("/usr/sbin/update-bootloader", "/sbin/update-bootloader")
_DEBIAN = "/etc/default/grub.d"
_VARIABLE = "GRUB_CMDLINE_LINUX_DEFAULT"


def ask_for_fadump(files: SystemFiles, words: str | None) -> str:
    """A line to type that adds words to the command line, from the next boot on; None: no words would do."""
    if words is None:
        return "give the system more RAM: crashkernel= gets a quarter of it at most"
    if any(map(files.exists, _GRUBBY)):
        return f"grubby --update-kernel=ALL --args='{words}' && reboot"
    if any(map(files.exists, _UPDATE_BOOTLOADER)):
        added = [f"update-bootloader --add-option '{word}'" for word in words.split()]
        return " && ".join([*added, "update-bootloader --refresh", "reboot"])
    if files.is_directory(_DEBIAN):
        line = f'{_VARIABLE}="${_VARIABLE} {words}"'
        return f"echo '{line}' >{_DEBIAN}/zzz-fadump.cfg && update-grub && reboot"
    return f"add to the kernel's command line, then reboot: {words}"
