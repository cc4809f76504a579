"""What people are told of a plan: the verdict, the map, and with ``--why`` every reason."""

from collections.abc import Iterable, Iterator

from fadump.kernel.plan.drawing import figures, length, text_figure
from fadump.kernel.plan.plan import Plan
from fadump.kernel.plan.reserve import Reservation
from fadump.kernel.traits import Reason, align_down, align_up, least_boot_memory_bytes

_MIB = 1 << 20
_REASONS = "the reason for each number, and the line of Linux that it comes from:  --why"


def plan_lines(plan: Plan, title: Iterable[str], *, why: bool, quiet: bool) -> Iterator[str]:
    """All of it, or the verdict alone if ``quiet`` and not ``why``; ``title`` says for which system it is."""
    yield from _verdict(plan)
    yield from (f"warning: {warning}" for warning in warnings_of(plan))
    if quiet and not why:
        return
    yield ""
    yield from title
    for figure in figures(plan):
        yield ""
        yield from text_figure(figure)
    yield ""
    yield from _why(plan) if why else (_REASONS,)


def warnings_of(plan: Plan) -> tuple[str, ...]:
    """All of them; the first is about the command line."""
    problem, reservation = plan.crashkernel_problem, plan.reservation
    if problem is None:
        return plan.warnings
    taken = "Linux ignores it"
    if reservation is not None:
        taken = f"Linux takes {length(reservation.boot_memory.size_bytes)} of boot memory instead"
    return (f"{problem}: {taken}", *plan.warnings)


def loses_dump(plan: Plan) -> bool:
    """Whether Linux reserves memory, but gets no dump from it that is any good."""
    return plan.reservation is not None and bool(plan.reservation.boot_memory.warnings)


def _verdict(plan: Plan) -> Iterator[str]:
    if plan.reservation is not None:
        if loses_dump(plan):
            yield from _lost(plan, plan.reservation)
            return
        yield _reserved(plan.reservation)
        yield from _recommended(plan, plan.reservation.boot_memory.size_bytes)
        return
    if plan.refusal is not None:
        yield f"no FADump: {plan.refusal.sentence}"
    if plan.kdump is not None and plan.kdump.area is not None:
        area = plan.kdump.area
        yield f"kdump has {length(area.size_bytes)} at {area.start:#x} instead"
    else:
        yield "kdump has no memory either: a crash would not be dumped"


def _reserved(reservation: Reservation) -> str:
    area, boot_memory = reservation.area, reservation.boot_memory
    return (
        f"FADump reserves {length(area.size_bytes)} at {area.start:#x}, and a capture kernel has "
        f"{length(boot_memory.size_bytes)} to save a dump with"
    )


def _lost(plan: Plan, reservation: Reservation) -> Iterator[str]:
    area, first = reservation.area, plan.system.memory.regions[0]
    yield (
        f"a dump would be lost, by a bug of Linux's: FADump reserves {length(area.size_bytes)} at {area.start:#x}, but "
        f"boot memory is more than the first range of memory, which ends at {first.end:#x}"
    )
    most = align_down(first.end, max(_MIB, plan.kernel.size_alignment_bytes))
    least = least_boot_memory_bytes(plan.system.platform)
    if most < least:
        yield f"no crashkernel= helps: boot memory takes {length(least)} at least"
    else:
        yield f"use crashkernel={most // _MIB}M or less, as much as that range has"


def _recommended(plan: Plan, boot_memory_bytes: int) -> Iterator[str]:
    """Whether that is as much as distributions recommend, which differ."""
    sizes = sorted(row.size_bytes for row in plan.recommended if row.size_bytes is not None)
    if not sizes:
        return
    least, most = sizes[0], sizes[-1]
    span = length(least) if least == most else f"{length(least)} to {length(most)}"
    if boot_memory_bytes < least:
        use = align_up(most, _MIB) // _MIB
        yield f"that is little: distributions recommend {span} for this much RAM: use crashkernel={use}M"
    else:
        yield f"that is enough by distributions, which recommend {span} for this much RAM"


def _why(plan: Plan) -> Iterator[str]:
    if plan.refusal is not None:
        yield f"{'no FADump':24} {plan.refusal.sentence} [{plan.refusal.source}]"
    for reason in plan.reasons:
        yield f"{reason.name:24} {_number(reason)}"
        yield f"{'':24} {reason.sentence} [{reason.source}]"
    yield ""
    yield "what distributions recommend as crashkernel= for this much RAM:"
    for recommended in plan.recommended:
        size = "no row" if recommended.size_bytes is None else length(recommended.size_bytes)
        yield f"  {size:>9}  {recommended.distribution}: {recommended.table.replace(',', ', ')}"


def _number(reason: Reason) -> str:
    if reason.name.endswith("bytes") or reason.name == "system_ram":
        return f"{reason.number:#x} ({length(reason.number)})"
    return f"{reason.number:#x}"
