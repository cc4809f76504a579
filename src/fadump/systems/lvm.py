"""LVM2's logical volumes, told by the metadata on its physical volumes, without LVM's tools and device mapper.

A physical volume has a label in one of its first four sectors (LVM2: lib/label/label.h, lib/format_text/layout.h); all
numbers are little-endian:

    label   "LABELONE", u64 sector, u32 CRC, u32 offset of the header from the label's start, "LVM2 001"
    header  the volume's id, 32 bytes; u64 size; u64 offset and u64 size of each part of its data, a pair of zeros; the
            same of its metadata areas, a pair of zeros
    area    u32 CRC, " LVM2 x[5A%r0N*>", u32 version, u64 start, u64 size, u64 offset and u64 size of the text in the
            area, u32 CRC, u32 flags; from byte 512 on the area is a ring

The text is the volume group, in sectors and extents: which extents of which physical volume a logical volume has.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fadump.errors import FormatError
from fadump.memory.ranges import Range

Read = Callable[[int, int], bytes]
"""Gives so many bytes from an offset of a physical volume on, fewer at its end."""

SECTOR_BYTES = 512
_LABEL_SECTORS = 4
_LABEL = struct.Struct("<8s8x4xI8s")
_ID_BYTES = 32
_PAIR = struct.Struct("<QQ")
_MOST_AREAS = 16
_AREA = struct.Struct("<4x16s4xQQQQ4xI")
_AREA_MAGIC = b" LVM2 x[5A%r0N*>"
_IGNORED = 1
_MOST_TEXT_BYTES = 16 << 20
_TOKEN = re.compile(r'\s+|#[^\n]*|("(?:[^"\\]|\\.)*")|([\w.+@-]+)|([{}=\[\],])')
_LINEAR = "striped"
"""A segment's type; it is linear if it has one stripe."""

Scalar = str
Value = Scalar | list[Scalar]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the text between braces: its values and the parts in it, by their names."""

    values: dict[str, Value]
    parts: "dict[str, Section]"


@dataclass(frozen=True, slots=True)
class PhysicalVolume:
    """``identity`` is its id without dashes; ``metadata`` the text of its group, empty if another volume has it."""

    identity: str
    metadata: str


@dataclass(frozen=True, slots=True)
class Extents:
    """Consecutive bytes of a physical volume."""

    identity: str
    range: Range


@dataclass(frozen=True, slots=True)
class LogicalVolume:
    """``name`` is group and volume, as in vg/root; ``kind`` is what keeps it from being read as its ``extents`` in
    their order, as in "raid1", empty if nothing does."""

    name: str
    extents: tuple[Extents, ...]
    kind: str = ""


def physical_volume(read: Read) -> PhysicalVolume | None:
    """The physical volume that is there; None if it is something else.

    :raises FormatError: it is damaged.
    """
    for sector in range(_LABEL_SECTORS):
        label = read(sector * SECTOR_BYTES, SECTOR_BYTES)
        if label[:8] != b"LABELONE" or label[24:32] != b"LVM2 001":
            continue
        _magic, follows, _type = _LABEL.unpack_from(label)
        header = label[follows:]
        if len(header) < _ID_BYTES + 8:
            raise FormatError("the label of an LVM volume is cut off", offset=sector * SECTOR_BYTES)
        areas = _metadata_areas(header[_ID_BYTES + 8 :])
        texts = [text for area in areas if (text := _text(read, area))]
        return PhysicalVolume(header[:_ID_BYTES].decode("latin-1"), texts[0] if texts else "")
    return None


def _metadata_areas(pairs: bytes) -> list[Range]:
    lists: list[list[Range]] = [[], []]  # of data, of metadata
    found = 0
    for offset, size_bytes in _PAIR.iter_unpack(pairs[: len(pairs) // _PAIR.size * _PAIR.size]):
        if offset:
            lists[found].append(Range.sized(offset, size_bytes))
        elif (found := found + 1) == len(lists):
            break
    return lists[1][:_MOST_AREAS]


def _text(read: Read, area: Range) -> str:
    header = read(area.start, _AREA.size)
    if len(header) < _AREA.size:
        return ""
    magic, _start, size_bytes, offset, length, flags = _AREA.unpack(header)
    if magic != _AREA_MAGIC or not offset or flags & _IGNORED:
        return ""
    if not SECTOR_BYTES <= offset < size_bytes or length > min(size_bytes, _MOST_TEXT_BYTES):
        raise FormatError("LVM's metadata lie outside their area", offset=area.start)
    first = min(length, size_bytes - offset)
    text = read(area.start + offset, first) + read(area.start + SECTOR_BYTES, length - first)
    return text.rstrip(b"\0").decode(errors="replace")


def logical_volumes(metadata: str) -> list[LogicalVolume]:
    """The logical volumes that a group's users see.

    :raises FormatError: the text is no volume group's.
    """
    groups = _parsed(metadata).parts
    if len(groups) != 1:
        raise FormatError(f"LVM's metadata have {len(groups)} volume groups, where there is to be one")
    ((name, group),) = groups.items()
    return [
        _logical_volume(f"{name}/{volume_name}", volume, group)
        for volume_name, volume in _part(group, "logical_volumes").parts.items()
        if "VISIBLE" in _list(volume, "status")
    ]


def _logical_volume(name: str, volume: Section, group: Section) -> LogicalVolume:
    extent_bytes = _number(group, "extent_size") * SECTOR_BYTES
    volumes = _part(group, "physical_volumes")
    segments = sorted(volume.parts.values(), key=lambda segment: _number(segment, "start_extent"))
    extents = []
    end = 0
    for segment in segments:
        kind = _scalar(segment, "type")
        if kind != _LINEAR or _number(segment, "stripe_count") != 1:
            return LogicalVolume(name, (), kind)
        if _number(segment, "start_extent") != end:
            raise FormatError(f"LVM's metadata leave out extents of {name} from {end} on")
        count = _number(segment, "extent_count")
        end += count
        place, first = (*_list(segment, "stripes"), "", "")[:2]
        physical = _part(volumes, place)
        start = _number(physical, "pe_start") * SECTOR_BYTES + _as_number(first, "stripes") * extent_bytes
        identity = _scalar(physical, "id").replace("-", "")
        extents.append(Extents(identity, Range.sized(start, count * extent_bytes)))
    return LogicalVolume(name, tuple(extents))


def _parsed(text: str) -> Section:
    stack = [Section({}, {})]
    tokens = _tokens(text)
    name = ""
    for token in tokens:
        match token:
            case "{":
                inner = Section({}, {})
                stack[-1].parts[name] = inner
                stack.append(inner)
            case "}" if len(stack) > 1:
                stack.pop()
            case "=":
                stack[-1].values[name] = _value(tokens)
            case "}" | "[" | "]" | ",":
                raise FormatError(f"LVM's metadata have a {token} where a name is to stand")
            case _:
                name = token
    if len(stack) > 1:
        raise FormatError("LVM's metadata are cut off")
    return stack[0]


def _value(tokens: Iterator[str]) -> Value:
    first = next(tokens, "")
    if first != "[":
        return _unquoted(first)
    values: list[str] = []
    for found in tokens:
        match found:
            case "]":
                return values
            case ",":
                pass
            case _:
                values.append(_unquoted(found))
    raise FormatError("LVM's metadata are cut off in a list")


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise FormatError(f"LVM's metadata can't be read from {text[at : at + 20]!r} on")
        at = match.end()
        if match.lastindex is not None:
            yield match.group(match.lastindex)


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token


def _part(section: Section, name: str) -> Section:
    if name not in section.parts:
        raise FormatError(f"LVM's metadata have no {name!r}")
    return section.parts[name]


def _list(section: Section, name: str) -> list[str]:
    value = section.values.get(name, [])
    return value if isinstance(value, list) else [value]


def _scalar(section: Section, name: str) -> str:
    value = section.values.get(name)
    if not isinstance(value, str):
        raise FormatError(f"LVM's metadata have no {name!r}")
    return value


def _number(section: Section, name: str) -> int:
    return _as_number(_scalar(section, name), name)


def _as_number(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise FormatError(f"LVM's metadata have {text!r} as {name}, which is to be a number")
    return int(text)
