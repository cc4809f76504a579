"""The caller's command line with guest RAM that is shared with us, and with connections to us beside the caller's own.

Our monitor comes by a configuration file, as ``-mon`` and ``-qmp`` would take away the monitor that QEMU has by
default. What is said of gdb goes, as we serve it, and ``-mem-path`` where the file is ours. All else stays as it is,
word by word.
"""

import json
from collections.abc import Mapping, Sequence

from fadump.emulator.command_line import Option, parse
from fadump.emulator.gdb_device import is_about_gdb
from fadump.emulator.guest import Guest

GDB = "fadump-gdb"
QMP = "fadump-qmp"
_FILE = "memory-backend-file"
_REPLACED = ("", "qom-type", "mem-path", "share", "hugetlb", "hugetlbsize", "seal")


def monitor_configuration(qmp_fd: int) -> str:
    """What QEMU is to read of our monitor."""
    return (
        f'[chardev "{QMP}"]\n  backend = "socket"\n  fd = "{qmp_fd}"\n'
        f'[mon "{QMP}"]\n  chardev = "{QMP}"\n  mode = "control"\n'
    )


def rewrite(
    words: Sequence[str], guest: Guest, ram_fds: Sequence[int], gdb_fd: int, configuration_fd: int
) -> list[str]:
    """The words for a QEMU whose guest RAM are these files; it holds the guest until it is let go."""
    rewritten = list(words)
    served = [option for option in parse(words) if is_about_gdb(option) or _is_our_file(option, guest)]
    ours = {at for option in served for at in (option.at, option.value_at)}
    added: list[str] = []
    for backend, fd in zip(guest.backends, ram_fds, strict=True):
        if backend.at is None:
            added += ["-object", _file_backend({"id": backend.id, "size": str(backend.size_bytes)}, fd)]
            added += ["-machine", f"memory-backend={backend.id}"]
        else:
            rewritten[backend.at] = _shared(words[backend.at], fd)
    if not guest.is_held:
        added.append("-S")
    return [
        *(word for at, word in enumerate(rewritten) if at not in ours),
        *added,
        *("-chardev", f"socket,id={GDB},fd={gdb_fd}", "-gdb", f"chardev:{GDB}"),
        *("-readconfig", _path(configuration_fd)),
    ]


def _is_our_file(option: Option, guest: Guest) -> bool:
    return option.name == "mem-path" and guest.ram_directory is not None


def _shared(value: str, fd: int) -> str:
    """A backend's description, with our file in place of memory of its own."""
    if value.startswith("{"):
        kept = {name: given for name, given in json.loads(value).items() if name not in _REPLACED}
        return json.dumps(kept | {"qom-type": _FILE, "mem-path": _path(fd), "share": True})
    return _file_backend(Option("object", value).pairs, fd)


def _file_backend(pairs: Mapping[str, str], fd: int) -> str:
    kept = [f"{name}={given.replace(',', ',,')}" for name, given in pairs.items() if name not in _REPLACED]
    return ",".join([_FILE, *kept, f"mem-path={_path(fd)}", "share=on"])


def _path(fd: int) -> str:
    return f"/proc/self/fd/{fd}"
