"""The machine that a command line of QEMU's describes, as far as a firmware outside QEMU has to know it.

Where such a firmware can't do its work, there is a reason in words: then QEMU is started as it is.
"""

import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.abi.platform import Platform
from fadump.emulator.command_line import Option
from fadump.emulator.gdb_device import NO_GDB, GdbDevice, last_gdb_device, parse_gdb_device
from fadump.errors import UsageError
from fadump.machine.qemu.config import KERNEL_ADDRESS

MIB = 1 << 20
_NO_MACHINE = ("none",)
_POWERNV = re.compile(r"powernv(9|1\d)?(-\w+)?$")
_PSERIES = re.compile(r"pseries(-[\d.]+(-\w+)?)?$")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([bkmgt]?)(?:i?b)?$", re.IGNORECASE)
_UNITS = {"b": 1, "k": 1 << 10, "m": MIB, "g": 1 << 30, "t": 1 << 40}
_SHAREABLE = ("memory-backend-ram", "memory-backend-memfd")
_MEMORY_DEVICES = re.compile(r"(pc-dimm|nvdimm|virtio-mem-pci|virtio-pmem-pci|spapr-nvdimm)$")
_UNSUPPORTED = {
    "incoming": "a guest that comes from elsewhere has booted without this firmware",
    "loadvm": "a guest that is loaded has booted without this firmware",
    "readconfig": "what -readconfig adds to the command line is not known here",
    "preconfig": "-preconfig leaves the machine to be made later",
}
_LEAST_HUGE_PAGE_BYTES = 2 * MIB
"""What hugetlbfs says that its blocks are."""
_RESET_ADDRESS = {Platform.PSERIES: 0x100, Platform.POWERNV: 0x10}
_RAM_IDS = {Platform.PSERIES: "ppc_spapr.ram", Platform.POWERNV: "pnv.ram"}


class NotServedError(UsageError):
    """A machine that can have no FADump from here; the sentence is the reason."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A piece of guest RAM: as large as that, by this name; ``at`` is the word that says so, None: none does."""

    size_bytes: int
    id: str
    at: int | None


@dataclass(frozen=True, slots=True)
class Guest:
    """What is known of a machine. ``backends`` lie end to end from address 0, as files in ``ram_directory`` if there is
    to be one; ``is_held`` until its caller lets it go; ``ends_at_reboot`` if a reboot is QEMU's end; ``gdb`` is where
    its caller's attaches, if one may."""

    platform: Platform
    kernel: Path | None
    backends: tuple[Backend, ...]
    ram_directory: Path | None
    is_held: bool
    ends_at_reboot: bool
    is_daemon: bool
    gdb: GdbDevice | None

    @property
    def reset_address(self) -> int:
        """The first instruction that it runs."""
        return _RESET_ADDRESS[self.platform]


def is_probe(options: Sequence[Option]) -> bool:
    """Whether no guest is to run: somebody asks QEMU what it can do, or what it is."""
    if any(option.name in ("h", "help", "version", "audio-help") or option.asks_for_help for option in options):
        return True
    machine = _machine(options)
    return machine.get("type") in _NO_MACHINE


def find_guest(options: Sequence[Option]) -> Guest:
    """The machine of a command line.

    :raises NotServedError: a firmware outside QEMU can't serve it.
    """
    for reason in _refusals(options):
        raise NotServedError(reason)
    board = _platform(_machine(options).get("type", "pseries"))
    kernel = _last(options, "kernel")
    if board is Platform.POWERNV and kernel is None:
        raise NotServedError("on powernv, only a -kernel is followed from its firmware")
    if _machine(options).get("x-vof") == "on" and kernel is None:
        raise NotServedError("QEMU's Virtual Open Firmware starts no boot loader from a disk: it takes a -kernel")
    backends = _backends(options, board)
    return Guest(
        platform=board,
        kernel=None if kernel is None else Path(kernel).resolve(),
        backends=backends,
        ram_directory=_ram_directory(options) if backends[0].at is None else None,
        is_held=any(option.name == "S" for option in options),
        ends_at_reboot=_ends_at_reboot(options),
        is_daemon=any(option.name == "daemonize" for option in options),
        gdb=_gdb(options),
    )


def _gdb(options: Sequence[Option]) -> GdbDevice | None:
    text = last_gdb_device(options)
    device = parse_gdb_device(text)
    if device is None and text != NO_GDB:
        raise NotServedError(f"only QEMU's own gdb stub can be at {text}, and FADump takes it; tcp:HOST:PORT would do")
    return device


def _refusals(options: Sequence[Option]) -> Iterator[str]:
    for option in options:
        if option.name in _UNSUPPORTED:
            yield _UNSUPPORTED[option.name]
        if option.name == "device" and _MEMORY_DEVICES.match(option.pairs.get("driver") or option.pairs.get("", "")):
            yield "memory modules are not looked after"
    accelerator = _accelerator(options)
    if accelerator != "tcg":
        yield f"QEMU shows a guest's firmware calls only with the accelerator tcg, and here it is {accelerator}"
    machine = _machine(options)
    if _size(machine.get("kernel-addr", str(KERNEL_ADDRESS))) != KERNEL_ADDRESS:
        yield f"the kernel is looked for at {KERNEL_ADDRESS:#x}, and -machine kernel-addr= puts it elsewhere"


def _machine(options: Sequence[Option]) -> dict[str, str]:
    """All that is said of the machine, its name as ``type``; QEMU joins what several options say."""
    machine: dict[str, str] = {}
    for option in options:
        if option.name in ("machine", "M"):
            pairs = dict(option.pairs)
            if "" in pairs:
                pairs["type"] = pairs.pop("")
            machine |= pairs
    return machine


def _platform(machine: str) -> Platform:
    if _PSERIES.match(machine):
        return Platform.PSERIES
    if _POWERNV.match(machine):
        return Platform.POWERNV
    raise NotServedError(f"{machine} is neither a pseries nor a powernv9 or later")


def _accelerator(options: Sequence[Option]) -> str:
    """The first that QEMU can have on this host. Only a Power host has KVM for such a guest."""
    wanted = [option.pairs.get("") or option.pairs.get("accel", "") for option in options if option.name == "accel"]
    if not wanted:
        wanted = [name for name in _machine(options).get("accel", "").split(":") if name]
    if any(option.name == "enable-kvm" for option in options):
        wanted.append("kvm")
    has_kvm = platform.machine().startswith("ppc")
    possible = [name for name in wanted if name != "kvm" or has_kvm] or wanted or ["tcg"]
    return possible[0]


def _backends(options: Sequence[Option], board: Platform) -> tuple[Backend, ...]:
    objects = {option.pairs["id"]: option for option in options if option.name == "object" and "id" in option.pairs}
    nodes = [option.pairs for option in options if option.name == "numa" and _is_node(option)]
    if any("mem" in node for node in nodes):
        raise NotServedError("memory of a NUMA node is taken from a memdev=, and not from mem=")
    ids = [node["memdev"] for node in sorted(nodes, key=_node_number) if "memdev" in node]
    if not ids and "memory-backend" in _machine(options):
        ids = [_machine(options)["memory-backend"]]
    if ids:
        return tuple(_backend(name, objects) for name in ids)
    sizes = [option.pairs.get("size") or option.pairs.get("", "") for option in options if option.name == "m"]
    given = [size for size in sizes if size]
    if not given:
        raise NotServedError("without a size in -m, QEMU's default is too little memory for FADump")
    return (Backend(_size(given[-1], default_unit="m"), _RAM_IDS[board], None),)


def _ram_directory(options: Sequence[Option]) -> Path | None:
    """Where the file is to be that guest RAM without an ``-object`` is; None: nowhere."""
    text = _last(options, "mem-path")
    if text is None:
        return None
    directory = Path(text)
    if directory.exists() and os.statvfs(directory).f_bsize >= _LEAST_HUGE_PAGE_BYTES:
        raise NotServedError(f"-mem-path {directory} has huge pages, which are not looked after")
    if not directory.is_dir():
        raise NotServedError(f"-mem-path {directory} is no directory")
    return directory


def _is_node(option: Option) -> bool:
    return "node" in (option.pairs.get(""), option.pairs.get("type"))


def _node_number(node: Mapping[str, str]) -> int:
    return int(node.get("nodeid", "0"))


def _backend(name: str, objects: Mapping[str, Option]) -> Backend:
    if name not in objects:
        raise NotServedError(f"there is no -object {name}, which is to be guest RAM")
    pairs = objects[name].pairs
    kind = pairs.get("qom-type") or pairs.get("", "")
    if kind not in _SHAREABLE or pairs.get("hugetlb") == "on":
        raise NotServedError(f"guest RAM is to be a {kind} of its own kind; {' or '.join(_SHAREABLE)} would do")
    return Backend(_size(pairs.get("size", "")), name, objects[name].value_at)


def _size(text: str, default_unit: str = "b") -> int:
    """A size as QEMU writes it."""
    if text.lower().startswith("0x"):
        return int(text, 16)
    found = _SIZE.match(text)
    if found is None:
        raise NotServedError(f"{text!r} is no size")
    return int(float(found[1]) * _UNITS[(found[2] or default_unit).lower()])


def _ends_at_reboot(options: Sequence[Option]) -> bool:
    ends = False
    for option in options:
        if option.name == "no-reboot":
            ends = True
        elif option.name == "action" and "reboot" in option.pairs:
            ends = option.pairs["reboot"] == "shutdown"
    return ends


def _last(options: Sequence[Option], name: str) -> str | None:
    return next((option.value for option in reversed(options) if option.name == name), None)
