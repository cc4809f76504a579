"""The cpio archive that Linux unpacks into its first root file system ("initramfs"), in the newc format.

Specification: Linux Documentation/driver-api/early-userspace/buffer-format.rst. Its reader: Linux
init/initramfs.c. An entry is a header of 110 characters, the name with a zero byte, and the content; name and
content are each followed by zero bytes up to a multiple of 4 from the archive's start. The header is "070701"
and 13 numbers of 8 hexadecimal digits; the last entry is named ``TRAILER!!!``.

What is written depends on nothing but what was added: inode numbers count up from 1, every time is 0, every
owner is root.
"""

import stat
from typing import BinaryIO

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
ALIGNMENT_BYTES = 4
LARGEST_CONTENT_BYTES = 0xFFFF_FFFF


class NewcWriter:
    """Writes one archive to ``stream``, entry by entry; :meth:`close` ends it.

    Names are relative to the root, without a leading slash; directories stand before what is in them.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._offset = 0
        self._inode = 0
        self._names: set[str] = set()

    def add_directory(self, name: str, permissions: int = 0o755) -> None:
        """A directory.

        :raises ValueError: a bad or repeated name; so do the other ``add`` methods.
        """
        self._add(name, stat.S_IFDIR | permissions, links=2)

    def add_file(self, name: str, content: bytes, permissions: int = 0o644) -> None:
        """A regular file."""
        self._add(name, stat.S_IFREG | permissions, content)

    def add_device(self, name: str, kind: str, major: int, minor: int, permissions: int = 0o600) -> None:
        """A device node; ``kind`` is "c" (character) or "b" (block)."""
        file_types = {"c": stat.S_IFCHR, "b": stat.S_IFBLK}
        if kind not in file_types:
            raise ValueError(f"a device is of kind 'c' or 'b', not {kind!r}")
        self._add(name, file_types[kind] | permissions, device=(major, minor))

    def close(self) -> None:
        """Write the trailer. The stream stays open."""
        self._write_entry(TRAILER, inode=0, mode=0, links=1)

    def _add(
        self, name: str, mode: int, content: bytes = b"", *, links: int = 1, device: tuple[int, int] = (0, 0)
    ) -> None:
        parts = name.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in name or name == TRAILER:
            raise ValueError(f"{name!r} is not a name for an entry: it must be a relative path without '.' and '..'")
        if name in self._names:
            raise ValueError(f"{name!r} is in the archive already")
        if len(content) > LARGEST_CONTENT_BYTES:
            raise ValueError(f"{name!r} has {len(content):#x} bytes, more than the format's {LARGEST_CONTENT_BYTES:#x}")
        self._names.add(name)
        self._inode += 1
        self._write_entry(name, inode=self._inode, mode=mode, links=links, content=content, device=device)

    def _write_entry(
        self,
        name: str,
        *,
        inode: int,
        mode: int,
        links: int,
        content: bytes = b"",
        device: tuple[int, int] = (0, 0),
    ) -> None:
        raw_name = name.encode() + b"\0"
        fields = (
            inode,
            mode,
            0,  # uid
            0,  # gid
            links,
            0,  # mtime
            len(content),
            0,  # major and minor of the device that the file is on
            0,
            *device,
            len(raw_name),
            0,  # checksum: none in this format
        )
        header = MAGIC + "".join(f"{field:08x}" for field in fields).encode()
        self._write(header + raw_name)
        self._write(content)

    def _write(self, data: bytes) -> None:
        padding = bytes(-(self._offset + len(data)) % ALIGNMENT_BYTES)
        self._stream.write(data + padding)
        self._offset += len(data) + len(padding)
