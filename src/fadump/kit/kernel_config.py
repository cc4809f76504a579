"""What a kernel is configured with: our own fragment, a user's on top of it, and what became of both.

Kconfig drops what it doesn't know, and what depends on something that is off, in silence; so what was asked for is
compared with the ``.config`` that it has written.
"""

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from fadump.errors import SetupError, UsageError
from fadump.given import reading

NEEDED_OPTIONS = (
    "CPU_LITTLE_ENDIAN",
    "SMP",
    "PPC_PSERIES",
    "PPC_POWERNV",
    "PPC_OF_BOOT_TRAMPOLINE",
    "KEXEC",
    "KEXEC_FILE",
    "CRASH_DUMP",
    "FA_DUMP",
    "OPAL_CORE",
    "PROC_VMCORE",
    "CMA",
    "MAGIC_SYSRQ",
    "HVC_CONSOLE",
    "HVC_OPAL",
    "VIRTIO_PCI",
    "VIRTIO_CONSOLE",
    "VIRTIO_BLK",
    "BLK_DEV_INITRD",
    "RD_GZIP",
    "BINFMT_ELF",
    "BINFMT_SCRIPT",
    "PROC_FS",
    "SYSFS",
    "DEBUG_FS",
    "DEVTMPFS",
    "TMPFS",
    "EXT4_FS",
    "SYSCTL",
    "UNIX",
    "CGROUPS",
    "INOTIFY_USER",
    "FHANDLE",
    "UNIX98_PTYS",
    "CRYPTO_USER_API_HASH",
    "MODULES",
    "BLK_DEV_LOOP",
    "SQUASHFS",
    "OVERLAY_FS",
    "MEMORY_HOTPLUG",
    "NUMA",
    "DEBUG_INFO_DWARF4",
    "DEBUG_INFO_BTF",
)
"""Without one of these a kernel would build, and our guest, systemd or kdump fail much later. Each must be as
``data/kernel.config`` has it, built in or a module."""

OFF = "n"
"""The value of an option that is not set."""

_SETTING = re.compile(r"CONFIG_(\w+)=(.+)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_PAGE_SIZE = re.compile(r"PPC_(\w+)_PAGES")

Options = Mapping[str, str]
"""Options by their names, without CONFIG_, and their values as Kconfig writes them."""


def configuration_fragment(page_size: str) -> str:
    """The options that are set; all others are off, or have the value that these bring with them."""
    common = (resources.files("fadump.kit") / "data" / "kernel.config").read_text(encoding="utf-8")
    return f"{common}\nCONFIG_PPC_{page_size}_PAGES=y\n"


def options_of(configuration: str) -> Options:
    """What a .config or a fragment sets; the last of two settings counts."""
    return {match[1]: match[2] for match in map(_SETTING.fullmatch, configuration.splitlines()) if match}


def page_size_of(options: Options) -> str:
    """The page size that is configured, as in "64K"."""
    return next(match[1] for match in map(_PAGE_SIZE.fullmatch, options) if match)


def read_fragment(path: Path) -> Options:
    """The options of a user's fragment, those that are to be off among them.

    :raises UsageError: a line sets no option.
    :raises SetupError: the file can't be read.
    """
    with reading("--config", path):
        content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise SetupError(f"--config {path} can't be read: {error}") from error
    options: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if match := _SETTING.fullmatch(line):
            options[match[1]] = match[2]
        elif match := _UNSET.fullmatch(line):
            options[match[1]] = OFF
        elif line and not line.startswith("#"):
            raise UsageError(f"--config {path}, line {number}: {line!r} sets no option: write it as CONFIG_NAME=y")
    return options


def merge(ours: Options, theirs: Options) -> Options:
    """Ours, with theirs on top; a page size of theirs takes the place of ours."""
    theirs_has_page_size = any(_PAGE_SIZE.fullmatch(name) for name in theirs)
    kept = {name: value for name, value in ours.items() if not (theirs_has_page_size and _PAGE_SIZE.fullmatch(name))}
    return {**kept, **theirs}


def differing(wanted: Options, configured: Options) -> list[str]:
    """The options of ``wanted`` that have another value in ``configured``."""
    return [name for name, value in wanted.items() if configured.get(name, OFF) != value]


def as_fragment(options: Options) -> str:
    """The options as Kconfig reads them."""
    return "".join(f"CONFIG_{name}={value}\n" for name, value in options.items())
