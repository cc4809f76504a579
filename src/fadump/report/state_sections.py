"""What a report tells of the system's state besides tasks: modules, earlier trouble, devices and what they serve."""

from collections.abc import Iterator, Sequence

from fadump.linux.state.interrupts import Interrupt
from fadump.linux.state.memory_use import MemoryUse
from fadump.linux.state.modules import Module
from fadump.linux.state.mounts import Mount
from fadump.linux.state.network import NetworkDevice
from fadump.linux.state.slab_caches import SlabCache
from fadump.printable import counted
from fadump.progress import binary_size
from fadump.report.findings import Findings
from fadump.report.linked_modules import linked_modules
from fadump.report.redact import Words
from fadump.report.story import Block, Bullets, Facts, Folded, Line, Lines, Paragraph, Section, Table, Tone

_MOST_MODULES, _MOST_INCIDENTS, _MOST_CACHES, _MOST_MOUNTS, _MOST_DEVICES, _MOST_INTERRUPTS = 400, 40, 12, 200, 100, 12


def of_modules(findings: Findings, words: Words) -> Section:
    """Modules, and what has tainted the kernel."""
    activity = findings.activity
    blocks: list[Block] = []
    if activity is None or activity.taint is None:
        blocks.append(Paragraph("Whether the kernel was tainted isn't known.", Tone.QUIET))
    elif activity.taint:
        tainted = Bullets([words.tell(text) for text in activity.taint_words])
        blocks += [Paragraph("The kernel was tainted:"), tainted]
    else:
        blocks.append(Paragraph("The kernel was not tainted."))
    end = findings.summary.log_end
    texts = [] if end is None else [record.text or "" for record in end.records]
    if findings.modules is not None:
        blocks += _module_table(findings.modules, words)
    elif names := linked_modules(texts):
        blocks.append(Folded(f"{counted(len(names), 'module')}, by the log", [Paragraph(words.tell(" ".join(names)))]))
    else:
        blocks.append(Paragraph("Which modules there were isn't known.", Tone.QUIET))
    return Section("modules", "Modules and taint", blocks)


def _module_table(modules: Sequence[Module], words: Words) -> Iterator[Block]:
    if not modules:
        yield Paragraph("No module was loaded.")
        return
    heads = ("Module", "Size", "State", "Taint", "Version", "Build ID")
    foreign_first = sorted(modules, key=lambda module: not module.taint)
    rows = [
        (
            words.tell(module.name),
            binary_size(module.size_bytes),
            module.state,
            words.tell(module.taint),
            words.tell(module.version or ""),
            words.tell(module.build_id or ""),
        )
        for module in foreign_first[:_MOST_MODULES]
    ]
    table: list[Block] = [Table("Modules", heads, rows, right=(1,)), *_more(len(modules), _MOST_MODULES)]
    yield Folded(f"{counted(len(modules), 'module')}, those that taint the kernel first", table)


def of_incidents(findings: Findings, words: Words) -> Section:
    """Hung tasks, lockups, stalls and the like, of which the log tells."""
    if findings.incidents is None:
        return Section("trouble", "Trouble before", [Paragraph("There is no log that could tell.", Tone.WARNING)])
    found = findings.incidents.incidents
    if not found:
        return Section(
            "trouble", "Trouble before", [Paragraph("The log tells of no hung task, lockup or lack of memory.")]
        )
    told = words.tell_log(incident.text for incident in found[:_MOST_INCIDENTS])
    lines = []
    for incident, text in zip(found, told, strict=False):
        stamp = "" if incident.timestamp_ns is None else f"[{incident.timestamp_ns // 10**9:5d} s] "
        lines.append(Line(f"{stamp}{incident.kind}: {words.tell(text or '')}"))
    more = _more(len(found) + findings.incidents.left_out, _MOST_INCIDENTS)
    return Section("trouble", "Trouble before", [Lines(lines, "Trouble that the log tells of"), *more])


def memory_use(findings: Findings, words: Words) -> Iterator[Block]:
    """The kernel's own counts of memory, and its largest slab caches."""
    use = findings.memory_use
    if use is not None:
        rows = [(label, binary_size(size)) for label, size in _counts(use) if size is not None]
        rows += [
            (f"Huge {binary_size(pool.page_bytes)}", f"{pool.count}, {pool.free} free")
            for pool in use.huge
            if pool.count
        ]
        yield Folded("The kernel's own counts", [Facts(rows)])
    if findings.slab_caches:
        yield Folded("The largest slab caches", [_cache_table(findings.slab_caches[:_MOST_CACHES], words)])


def _counts(use: MemoryUse) -> Iterator[tuple[str, int | None]]:
    yield from (("Total", use.total), ("Free", use.free), ("Page cache", use.cache), ("Shared", use.shared))
    yield from (("Dirty", use.dirty), ("Written back", use.writeback), ("Anonymous", use.anonymous))
    yield from (("Slab", use.slab), ("Reclaimable", use.reclaimable), ("Page tables", use.page_tables))
    yield from (("Stacks", use.kernel_stacks), ("Swap", use.swap_total), ("Swap free", use.swap_free))


def _cache_table(caches: Sequence[SlabCache], words: Words) -> Table:
    rows = [
        (binary_size(cache.size_bytes), f"{cache.objects:,}", f"{cache.object_bytes:,}", words.tell(cache.name))
        for cache in caches
    ]
    return Table("The largest slab caches", ("Size", "Objects", "Bytes each", "Name"), rows, right=(0, 1, 2))


def of_devices(findings: Findings, words: Words) -> Section:
    """File systems, network devices and interrupts."""
    blocks: list[Block] = []
    if findings.mounts is not None:
        count = len(findings.mounts)
        table = _mount_table(findings.mounts[:_MOST_MOUNTS], words)
        blocks.append(Folded(counted(count, "mounted file system"), [table, *_more(count, _MOST_MOUNTS)]))
    if findings.devices is not None:
        count = len(findings.devices)
        table = _device_table(findings.devices[:_MOST_DEVICES], words)
        blocks.append(Folded(counted(count, "network device"), [table, *_more(count, _MOST_DEVICES)]))
    came = [interrupt for interrupt in findings.interrupts or () if interrupt.total]
    if came:
        frequent = sorted(came, key=lambda interrupt: -interrupt.total)[:_MOST_INTERRUPTS]
        blocks.append(Folded("The most frequent interrupts", [_interrupt_table(frequent, words)]))
    unknown: list[Block] = [Paragraph("Nothing is known of file systems and devices.", Tone.QUIET)]
    return Section("devices", "File systems and devices", blocks or unknown)


def _mount_table(mounts: Sequence[Mount], words: Words) -> Table:
    rows = [
        (
            words.tell(mount.type),
            "ro" if mount.is_read_only else "rw",
            words.tell(mount.path),
            _source(mount.source, words),
        )
        for mount in mounts
    ]
    return Table("Mounted file systems", ("Type", "Mode", "At", "Of"), rows)


def _device_table(devices: Sequence[NetworkDevice], words: Words) -> Table:
    rows = [
        (
            words.tell(device.name),
            "up" if device.is_up else "down",
            words.tell(device.hardware or ""),
            words.tell(", ".join(map(str, device.addresses))),
        )
        for device in devices
    ]
    return Table("Network devices", ("Device", "Is", "Hardware", "Addresses"), rows)


def _interrupt_table(interrupts: Sequence[Interrupt], words: Words) -> Table:
    rows = [
        (str(interrupt.number), f"{interrupt.total:,}", words.tell(", ".join(interrupt.handlers) or "?"))
        for interrupt in interrupts
    ]
    return Table("The most frequent interrupts", ("Number", "Came", "Handled by"), rows, right=(0, 1))


def _source(source: str, words: Words) -> str:
    """What is mounted: of another machine's, its name is one of a host."""
    is_anothers = ":" in source or source.startswith("//")
    return "(host)" if words.redacts and is_anothers else words.tell(source)


def _more(count: int, shown: int) -> list[Block]:
    return [Paragraph(f"and {count - shown} more", Tone.QUIET)] if count > shown else []
