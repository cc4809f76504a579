"""What a report tells of memory, and of the dump itself: how it was made, whether it is whole, what it lacks."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from fadump.linux.pages.page_class import DumpLevel, PageClass
from fadump.linux.summary import Summary
from fadump.picture.map import Area, MemoryPicture, draw_map
from fadump.picture.paint import Paint
from fadump.picture.shares import Share, draw_shares
from fadump.progress import binary_size
from fadump.report.findings import Findings
from fadump.report.redact import Words
from fadump.report.state_sections import memory_use
from fadump.report.story import Block, Bullets, Facts, Paragraph, Picture, Section, Tone
from fadump.vmcore import seal
from fadump.vmcore.contract import READABLE, Dump, Kind, Piece, State

_MOST_AREAS = 24
_CLASSES: Mapping[PageClass, tuple[str, Paint, str]] = MappingProxyType(
    {
        PageClass.KERNEL: ("K", Paint.ORANGE, "kernel: its code and data, slab, page tables"),
        PageClass.USER: ("U", Paint.SKY, "user: anonymous memory of programs, and huge pages"),
        PageClass.CACHE: ("C", Paint.TURQUOISE, "cache: of files"),
        PageClass.CACHE_PRIVATE: ("P", Paint.ROSE, "cache with a file system's private data"),
        PageClass.FREE: ("F", Paint.LIME, "free"),
        PageClass.HWPOISON: ("X", Paint.RED, "broken"),
        PageClass.OFFLINE: ("O", Paint.GREY, "offline: taken back by the hypervisor"),
        PageClass.UNKNOWN: ("?", Paint.NONE, "unknown: the dump doesn't say"),
    }
)
_STATES: Mapping[State, tuple[str, Paint, str]] = MappingProxyType(
    {
        State.STORED: ("S", Paint.SKY, "in the dump"),
        State.ZEROS: ("0", Paint.LIME, "zeros, or left out"),
        State.EXCLUDED: ("E", Paint.GREY, "left out when the dump was written"),
        State.MISSING: ("M", Paint.RED, "missing"),
    }
)
_LEFT_OUT = (
    (DumpLevel.ZERO, "pages of zeros"),
    (DumpLevel.CACHE, "the page cache"),
    (DumpLevel.CACHE_PRIVATE, "the page cache with private data"),
    (DumpLevel.USER, "programs' memory"),
    (DumpLevel.FREE, "free pages"),
)


def of_memory(findings: Findings, words: Words) -> Section:
    """Memory as pictures: what pages were used for, and where the dump has memory; and by the kernel's counts."""
    summary, dump = findings.summary, findings.dump
    blocks: list[Block] = []
    counts = summary.page_counts
    if counts is not None and summary.page_bytes is not None:
        sizes = {class_: counts.get(class_, 0) * summary.page_bytes for class_ in _CLASSES}
        shares = [Share(sizes[class_], *told) for class_, told in _CLASSES.items()]
        total = max(1, sum(sizes.values()))
        lines = [_share_line(share, total) for share in shares if share.size_bytes]
        title = "What memory was used for"
        blocks.append(Picture(draw_shares(title, shares), title, lines))
    else:
        blocks.append(Paragraph("What pages were used for can't be told.", Tone.WARNING))
    return Section("memory", "Memory", [*blocks, *memory_use(findings, words), *_in_dump(summary, dump)])


def _in_dump(summary: Summary, dump: Dump) -> Iterator[Block]:
    """Where the dump has memory, or how much of it, if that is in too many pieces to be seen."""
    if not summary.memory:
        return
    picture = _map(summary, dump)
    if picture is not None:
        yield picture
        return
    shares = [Share(summary.bytes_in(state), *told) for state, told in _STATES.items()]
    total = max(1, sum(share.size_bytes for share in shares))
    title = "What the dump has of memory"
    yield Picture(
        draw_shares(title, shares), title, [_share_line(share, total) for share in shares if share.size_bytes]
    )


def _share_line(share: Share, total: int) -> str:
    return f"{binary_size(share.size_bytes):>11} {share.size_bytes * 100 / total:5.1f} %  {share.text}"


def _map(summary: Summary, dump: Dump) -> Picture | None:
    end = summary.memory[-1].range.end
    pieces: list[Piece] = []
    for memory in summary.memory:
        for piece in dump.mapping(memory.range):
            if pieces and pieces[-1].state is piece.state and pieces[-1].range.end == piece.range.start:
                pieces[-1] = Piece(type(piece.range)(pieces[-1].range.start, piece.range.end), piece.state)
            else:
                pieces.append(piece)
            if len(pieces) > _MOST_AREAS:
                return None  # a filtered dump's memory is in too many pieces to be seen
    areas = [Area(piece.range, *_STATES[piece.state]) for piece in pieces if piece.state in _STATES]
    ram = [memory.range for memory in summary.memory]
    title = f"Where the dump has memory: 0 to {binary_size(end)}"
    lines = [f"{area.range!s:>32} {binary_size(area.range.size_bytes):>11}  {area.text}" for area in areas]
    return Picture(draw_map(MemoryPicture(title, end, ram, areas)), title, lines)


def of_dump(summary: Summary, dump: Dump, words: Words) -> Section:
    """How the dump was made, and whether it is whole."""
    total = sum(memory.range.size_bytes for memory in summary.memory)
    readable = sum(summary.bytes_in(state) for state in READABLE)
    kind = "kdump-compressed, as makedumpfile and fadump save write it" if dump.kind is Kind.KDUMP else "an ELF core"
    rows = [("Format", kind + (", flattened" if dump.flattened else ""))]
    rows.append(("Memory", f"{binary_size(readable)} of {binary_size(total)} are in it"))
    if summary.page_bytes is not None:
        mmu = "" if summary.mmu is None else f", {summary.mmu} MMU"
        rows.append(("Pages", f"{summary.page_bytes >> 10} KiB{mmu}"))
    left_out = [text for level, text in _LEFT_OUT if dump.dump_level & level]
    if left_out:
        rows.append(("Filtered", f"level {dump.dump_level}: without {', '.join(left_out)}"))
    if summary.erased is not None:
        rows.append(("Erased", "some data was erased on purpose"))
    sealed = any(note.name == seal.NAME and note.type == seal.TYPE for note in dump.notes)
    if sealed:
        rows.append(("Sealed", "by fadump save: checksums of all its bytes are in it"))
    lost = summary.bytes_in(State.MISSING)
    whole = not dump.damage and not lost
    verdict = "yes, by its headers; fadump check proves every byte" if whole else "no: see what is missing"
    rows.append(("Whole", verdict))
    return Section("dump", "The dump", [Facts([(label, words.tell(text)) for label, text in rows])])


def of_missing(findings: Findings, words: Words) -> Section:
    """What the report lacks, and why."""
    dump = findings.dump
    missing = [words.tell(text) for text in findings.missing]
    if findings.summary.tasks is None:
        missing.append(
            "tasks and their stacks: the kernel's BTF isn't in this dump; --vmlinux FILE with debug information helps"
        )
    user = any(dump.dump_level & level for level in (DumpLevel.USER,))
    why = "Programs' memory is not in the dump." if user else "What is in programs' memory is left out of a report."
    blocks: list[Block] = (
        [Bullets(missing)] if missing else [Paragraph("Nothing that this report could tell is missing.")]
    )
    secrets = " The environment of programs is left out of it, too."
    what = "Names of hosts and users, network addresses, serial numbers and command lines are hidden."
    hidden = f" {what}" if words.redacts else ""
    return Section("missing", "What is missing", [*blocks, Paragraph(why + secrets + hidden, Tone.QUIET)])
