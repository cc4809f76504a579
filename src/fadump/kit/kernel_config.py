"""What a kernel is configured with: our own fragment, a user's on top of it, and what became of both.

Kconfig drops what it doesn't know, and what depends on something that is off, in silence; so what was asked for is
compared with the ``.config`` that it has written.
"""

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from fadump.errors import UsageError
from fadump.given import check_file, reading
from fadump.printable import quoted

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

IN_OLDER_KERNELS = {"DEBUG_INFO": "y"}
"""What our own options need besides in kernels that don't turn it on by themselves, as f9b3cd245784 (v5.18) does. Apart
from ``data/kernel.config``, as newer kernels don't let it be set and are what they were without it."""

_SETTING = re.compile(r"CONFIG_(\w+)=(.+)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_PAGE_SIZE = re.compile(r"PPC_(\w+)_PAGES")
_CHOICES = (_PAGE_SIZE, re.compile(r"CPU_(BIG|LITTLE)_ENDIAN"))
"""Kinds of options of which a kernel has one."""

_MOST_BYTES = 1 << 20
"""Of a fragment; a whole .config has a quarter of that."""

Options = Mapping[str, str]
"""Options by their names, without CONFIG_, and their values as Kconfig writes them."""


def configuration_fragment(page_size: str) -> str:
    """The options that are set; all others are off, or have the value that these bring with them."""
    common = (resources.files("fadump.kit") / "data" / "kernel.config").read_text(encoding="utf-8")
    return f"{common}\nCONFIG_PPC_{page_size}_PAGES=y\n"


def options_of(configuration: str) -> Options:
    """What a .config or a fragment sets; the last of two settings counts."""
    return {match[1]: match[2] for match in map(_SETTING.fullmatch, configuration.splitlines()) if match}


def page_size_of(options: Options) -> str | None:
    """The page size that is configured, as in "64K"; None: nothing is said about it."""
    matches = (_PAGE_SIZE.fullmatch(name) for name, value in options.items() if value != OFF)
    return next((match[1] for match in matches if match), None)


def preserve_options() -> Options:
    """Those on top of our own of a kernel in front of the system's: it preserves a dump, and takes none."""
    path = resources.files("fadump.kit") / "data" / "preserve.config"
    return options_of(path.read_text(encoding="utf-8"))


def read_fragment(path: Path) -> Options:
    """The options of a user's fragment, those that are to be off among them.

    :raises UsageError: it is no text, or a line sets no option.
    :raises SetupError: the file can't be read.
    """
    check_file("--config", path)
    with reading("--config", path), path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise UsageError(f"--config {path} has more than {_MOST_BYTES >> 20} MiB: give a kernel's options")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"--config {path} is no text: give a kernel's options, as CONFIG_NAME=y") from error
    options: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if match := _SETTING.fullmatch(line):
            options[match[1]] = match[2]
        elif match := _UNSET.fullmatch(line):
            options[match[1]] = OFF
        elif line and not line.startswith("#"):
            raise UsageError(
                f"--config {path}, line {number}: {quoted(line)} sets no option: write it as CONFIG_NAME=y"
            )
    return options


def merge(ours: Options, theirs: Options) -> Options:
    """Ours, with theirs on top; a page size or byte order of theirs takes the place of ours."""
    chosen = [choice for choice in _CHOICES if any(map(choice.fullmatch, theirs))]
    kept = {name: value for name, value in ours.items() if not any(choice.fullmatch(name) for choice in chosen)}
    return {**kept, **theirs}


def refusals(ours: Options, theirs: Options, configured: Options) -> Iterator[str]:
    """What a Linux has made of our options with theirs on top, as ends of a sentence; none if it is as it must be."""
    if dropped := _differing(theirs, configured):
        asked = ", ".join(f"CONFIG_{name}={theirs[name]} (it has {configured.get(name, OFF)})" for name in dropped)
        yield f"{asked}: it has no such option, or one that this depends on or excludes is set otherwise"
    merged = merge(ours, theirs)
    needed = {name: merged[name] for name in NEEDED_OPTIONS if name in merged and name not in theirs}
    page_size = page_size_of(merged)
    if page_size is not None:
        needed[f"PPC_{page_size}_PAGES"] = "y"
    if missing := _differing(needed, configured):
        yield (
            f"{', '.join(missing)}, which FADump, its guest or a distribution needs: build another version, or set "
            "what you don't need in --config"
        )


def _differing(wanted: Options, configured: Options) -> list[str]:
    return [name for name, value in wanted.items() if configured.get(name, OFF) != value]


def as_fragment(options: Options) -> str:
    """The options as Kconfig reads them."""
    return "".join(f"CONFIG_{name}={value}\n" for name, value in options.items())
