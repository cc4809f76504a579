"""FADump's files in /sys, as user space sees them: their names, modes, and what they show and accept.

Steps "register" and "release" of docs/architecture.md. Linux arch/powerpc/kernel/fadump.c, fadump_init_files() and the
functions that it names; kernel/ksysfs.c for the files next to them; fs/kernfs/file.c and fs/debugfs/inode.c for what
all have in common. ``tests/real_linux/test_files.py`` runs the same script here and in real Linux.

The set of files is fixed early in the boot, before the dump is processed: ``release_mem`` stays after a dump is
discarded or released.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from fadump.kernel import register
from fadump.kernel.calls import Errno, Steps
from fadump.kernel.image.vmcoreinfo import note_area_bytes
from fadump.kernel.ops import FadumpOps
from fadump.kernel.plan.cmdline import COMMAND_LINE_BYTES
from fadump.kernel.state import VMCOREINFO_NOTE, FadumpState
from fadump.memory.ranges import Range

FADUMP = "/sys/kernel/fadump"
REGISTERED = f"{FADUMP}/registered"
RELEASE_MEM = f"{FADUMP}/release_mem"
REGION = "/sys/kernel/debug/powerpc/fadump_region"
_LINKS = {"enabled": "fadump_enabled", "registered": "fadump_registered", "release_mem": "fadump_release_mem"}

Show = Callable[[], bytes]
"""Returns a file's current contents."""
Store = Callable[[bytes], Steps[int]]
"""Handles the data of one write(2); returns the number of bytes written, or a negative errno."""
ReadAt = Callable[[int, int], bytes]
"""Returns so many bytes from an offset on, fewer at the end."""


class FileSystem(Enum):
    """The file system of a file, which decides the error of an unsupported use."""

    SYSFS = "sysfs"
    """Opening it in a way that its mode doesn't allow is EACCES, even for root."""
    DEBUGFS = "debugfs"
    """It can be opened, and writing is EINVAL."""
    PROC = "proc"
    """It can be opened, and reading or writing is EIO."""

    @property
    def misuse(self) -> Errno:
        """The error of an unsupported use."""
        return {FileSystem.SYSFS: Errno.EACCES, FileSystem.DEBUGFS: Errno.EINVAL, FileSystem.PROC: Errno.EIO}[self]


@dataclass(frozen=True, slots=True)
class KernelFile:
    """A regular file: ``mode`` has its permissions, ``size_bytes`` is what stat(2) says.

    At most one of ``show``, ``read_at`` (for an image, such as /proc/vmcore) and ``stream`` (which consumes what it
    reads: at most so many bytes, none if there is nothing) is set; if none is, the file can't be read.
    """

    file_system: FileSystem
    mode: int
    size_bytes: int = 0
    show: Show | None = None
    store: Store | None = None
    read_at: ReadAt | None = None
    data_from: Callable[[int], Iterator[Range]] | None = None
    """Where an image has anything but zeros, from an offset on; None: nobody knows."""
    stream: Callable[[int], bytes] | None = None

    @property
    def readable(self) -> bool:
        """Whether it can be read."""
        return not (self.show is None and self.read_at is None and self.stream is None)


@dataclass(frozen=True, slots=True)
class KernelLink:
    """A symbolic link, with the target that readlink(2) returns."""

    target: str


Entry = KernelFile | KernelLink


class FadumpFiles:
    """The files of fadump_init_files() in one boot; create it when the kernel knows whether a dump is active."""

    def __init__(self, state: FadumpState, ops: FadumpOps, release_mem: Callable[[bytes], Steps[Errno]]) -> None:
        """``release_mem`` handles writes to the file of that name."""
        self._state = state
        self._ops = ops
        self._release_mem = release_mem
        self._supported = state.system.supported
        self._dump_found = state.active
        self._has_parameter_area = state.parameter_area is not None

    def entries(self) -> Mapping[str, Entry]:
        """The files by absolute path."""
        if not self._supported:
            return {}
        files = self._attributes()
        entries: dict[str, Entry] = {f"{FADUMP}/{name}": file for name, file in files.items()}
        entries |= {
            f"/sys/kernel/{link}": KernelLink(f"fadump/{name}") for name, link in _LINKS.items() if name in files
        }
        entries[REGION] = KernelFile(FileSystem.DEBUGFS, 0o444, show=self._show_region)
        return entries

    def _attributes(self) -> dict[str, KernelFile]:
        state, ops = self._state, self._ops
        files = {
            "enabled": self._attribute(lambda: f"{state.enabled:d}\n"),
            "registered": self._attribute(
                lambda: f"{state.registered:d}\n", lambda data: register.registered_store(state, ops, data)
            ),
            "mem_reserved": self._attribute(lambda: f"{state.area.size_bytes}\n"),
        }
        if not state.traits.first_kernel_writes_elfcorehdr:  # added in the same series: bc446c5acaba
            files["hotplug_ready"] = self._attribute(lambda: "1\n")
        if self._has_parameter_area:
            files["bootargs_append"] = self._attribute(self._show_words, lambda data: _bootargs_store(state, data))
        if self._dump_found:
            files["release_mem"] = self._attribute(None, self._release_mem)
        return files

    def _attribute(
        self, show: Callable[[], str] | None, store: Callable[[bytes], Steps[Errno]] | None = None
    ) -> KernelFile:
        """__ATTR_RO, __ATTR_RW or __ATTR_WO."""
        mode = (0o444 if show else 0) | (0o200 if store else 0)
        return sysfs_file(
            mode,
            self._state.traits.page_bytes,
            None if show is None else lambda: show().encode("latin-1"),
            None if store is None else lambda data: _counted(store(data), len(data)),
        )

    def _show_region(self) -> bytes:
        return self._ops.region_show().encode("latin-1") if self._state.enabled else b""

    def _show_words(self) -> str:
        return parameter_words(self._state).decode("latin-1") + "\n"


def kexec_files(state: FadumpState) -> Mapping[str, Entry]:
    """The files that kdump's scripts read: that no crash kernel is loaded, and where the note is."""
    page_bytes = state.traits.page_bytes
    note = f"0x{VMCOREINFO_NOTE:016x} {note_area_bytes(page_bytes):x}\n"
    entries: dict[str, Entry] = {"/sys/kernel/vmcoreinfo": sysfs_file(0o444, page_bytes, note.encode)}
    for name in ("loaded", "crash_loaded"):
        file, old = sysfs_file(0o444, page_bytes, "0\n".encode), f"/sys/kernel/kexec_{name}"
        if state.traits.kexec_directory:
            entries |= {f"/sys/kernel/kexec/{name}": file, old: KernelLink(f"kexec/{name}")}
        else:
            entries[old] = file
    return entries


def sysfs_file(mode: int, page_bytes: int, show: Show | None, store: Store | None = None) -> KernelFile:
    """An attribute: it shows and accepts at most a page."""
    return KernelFile(
        FileSystem.SYSFS, mode, page_bytes, show, None if store is None else lambda data: store(data[:page_bytes])
    )


def parameter_words(state: FadumpState) -> bytes:
    """The words that the capture kernel is to add to its command line."""
    return state.memory.read(state.parameter_area or 0, COMMAND_LINE_BYTES).partition(b"\0")[0]


def _bootargs_store(state: FadumpState, data: bytes) -> Steps[Errno]:
    """bootargs_append_store()."""
    yield from ()
    if not state.enabled or state.active:
        return Errno.EPERM
    if len(data) >= COMMAND_LINE_BYTES:
        return Errno.EINVAL
    if len(state.cmdline) + len(data) >= COMMAND_LINE_BYTES:
        state.log.pr_err("fadump: Appending parameters exceeds cmdline size!")
        return Errno.ENOSPC
    words = bytearray(data.partition(b"\0")[0].ljust(COMMAND_LINE_BYTES, b"\0"))
    if words[len(data) - 1] == ord("\n"):
        words[len(data) - 1] = 0
    state.memory.write(state.parameter_area or 0, words)
    return Errno.OK


def _counted(steps: Steps[Errno], count: int) -> Steps[int]:
    """The result of a store function, which accepts all ``count`` bytes or none."""
    return (yield from steps) or count
