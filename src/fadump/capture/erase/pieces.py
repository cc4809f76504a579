"""What rules lead to in the memory of a dump: the pieces that are to be erased.

Step "saved" of docs/architecture.md. A rule that leads nowhere is an error, as is a list that breaks off: what isn't
found can't be erased, and would be saved. A rule that is optional says so instead, and what it had found is erased.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fadump.capture.erase.rules import Condition, Rule, Step, Way
from fadump.errors import FadumpError, ReadError
from fadump.limits import MOST_ERASED_BYTES, MOST_ERASED_PIECES, MOST_STRING_BYTES, Budget
from fadump.linux.system import CrashedSystem
from fadump.linux.types.contract import Kind, NoTypesError
from fadump.linux.types.objects import Object, Objects, Path, PathError
from fadump.memory.ranges import Range
from fadump.vmcore.contract import READABLE


class EraseError(FadumpError):
    """What a rule means can't be erased."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule has led to: ``pieces`` by virtual address, and ``memory``, where the dump has them, by physical one.

    ``missing_bytes`` aren't in the dump, so that there is nothing to erase. ``why_not`` says why it may not be all.
    """

    rule: Rule
    pieces: Sequence[Range]
    memory: Sequence[Range]
    missing_bytes: int
    why_not: str | None


def find_pieces(system: CrashedSystem, rules: Sequence[Rule]) -> Sequence[Found]:
    """What each rule leads to.

    :raises EraseError: a rule that isn't optional leads nowhere, or not to all; or nothing describes the types that a
        rule needs, optional or not.
    :raises FadumpError: nothing of the kernel can be found in the dump.
    :raises OSError: the dump, or the vmlinux, can't be read.
    """
    objects = Objects(system.memory, system.symbols, lambda: system.types)
    finder = _Finder(objects)
    return [finder.find(rule) for rule in rules]


class _Finder:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._memory = objects.memory
        self._count = Budget("pieces to erase", MOST_ERASED_PIECES)
        self._bytes = Budget("bytes to erase", MOST_ERASED_BYTES)

    def find(self, rule: Rule) -> Found:
        pieces: list[Range] = []
        memory: list[Range] = []
        why_not = None
        try:
            for piece in self._pieces(rule):
                self._count.spend()
                self._bytes.spend(piece.size_bytes)
                memory += self._in_dump(piece)
                pieces.append(piece)
        except ReadError:
            raise  # the disk fails, and who knows what that leaves unfound
        except NoTypesError as error:  # it is nobody's wish that all secrets stay in
            raise EraseError(f"{rule}: {error}; nothing is saved") from error
        except FadumpError as error:
            why_not = str(error)
        if why_not is None and not pieces:
            why_not = "it leads to nothing"
        if why_not is not None and not rule.is_optional:
            raise EraseError(f"{rule}: {why_not}; nothing is saved: correct it, or let it be optional = true")
        missing_bytes = sum(piece.size_bytes for piece in pieces) - sum(part.size_bytes for part in memory)
        return Found(rule, pieces, memory, missing_bytes, why_not)

    def _in_dump(self, piece: Range) -> list[Range]:
        """Where a piece is in the dump's memory, as far as it is there."""
        parts = []
        for mapped in self._memory.translation.mapped(piece):
            physical = Range.sized(mapped.physical, mapped.virtual.size_bytes)
            parts += [part.range for part in self._memory.dump.mapping(physical) if part.state in READABLE]
        return parts

    def _pieces(self, rule: Rule) -> Iterator[Range]:
        for found in self._starts(rule):
            for last in self._walk(found, rule.steps):
                for data in self._objects.follow(last, rule.data):
                    piece = self._piece(rule, last, data)
                    if piece is not None:
                        yield piece

    def _starts(self, rule: Rule) -> Iterator[Object]:
        return self._objects.follow(self._objects.variable(rule.symbol, rule.type_name), rule.path)

    def _walk(self, found: Object, steps: Sequence[Step]) -> Iterator[Object]:
        if not steps:
            yield found
            return
        for reached in self._reached(found, steps[0]):
            if all(self._holds(reached, condition) for condition in steps[0].where):
                yield from self._walk(reached, steps[1:])

    def _reached(self, found: Object, step: Step) -> Iterator[Object]:
        objects = self._objects
        match step.way:
            case Way.LIST:
                yield from objects.on_list(found, step.type_name or "", step.path)
            case Way.TREE:
                yield from objects.in_tree(found, step.type_name or "", step.path)
            case Way.NEXT:
                yield from objects.chained(self._taken_for(found, step), step.path)
            case Way.TO:
                for reached in objects.follow(found, step.path):
                    taken = self._taken_for(reached, step)
                    if step.count is None:
                        whole = objects.target(taken) if taken.type.kind is Kind.POINTER else taken
                        if whole is not None:
                            yield whole
                    else:
                        yield from objects.array(taken, self._number(found, step.count))

    def _taken_for(self, found: Object, step: Step) -> Object:
        """An object with the type that a step says; of a pointer that is what it points to."""
        if step.type_name is None:
            return found
        is_pointer = found.type.kind is Kind.POINTER and not step.type_name.endswith("*")
        return self._objects.at(found.address, f"{step.type_name}*" if is_pointer else step.type_name)

    def _number(self, found: Object, number: int | Path) -> int:
        if isinstance(number, int):
            return number
        there = self._objects.one(found, number)
        return 0 if there is None else self._objects.number(there)

    def _holds(self, found: Object, condition: Condition) -> bool:
        there = self._objects.one(found, condition.path)
        if there is None:
            return False
        if isinstance(condition.value, int):
            return self._objects.number(there) == condition.value
        if self._is_text(there):
            wanted = condition.value.encode()
            return self._text_at(there, len(wanted) + 1) == wanted
        return self._objects.number(there) == self._objects.symbol_address(condition.value)

    def _is_text(self, found: Object) -> bool:
        type_ = found.type
        if type_.kind not in (Kind.POINTER, Kind.ARRAY) or not type_.target:
            return False
        element = self._objects.element_type(found)
        return element.kind is Kind.NUMBER and element.size_bytes == 1

    def _text_at(self, found: Object, most_bytes: int) -> bytes:
        """The text that is in an array, or that a pointer leads to."""
        whole = self._objects.target(found) if found.type.kind is Kind.POINTER else found
        if found.type.kind is Kind.ARRAY:
            most_bytes = min(most_bytes, self._objects.size_of(found) or most_bytes)
        return b"" if whole is None else self._memory.string(whole.address, most_bytes)

    def _piece(self, rule: Rule, last: Object, data: Object) -> Range | None:
        """What is erased of an object; None: nothing."""
        is_text = self._is_text(data) if data.type.kind is Kind.POINTER else False
        whole = self._objects.target(data) if data.type.kind is Kind.POINTER else data
        if whole is None:
            return None
        if rule.size is not None:
            size_bytes = self._number(last, rule.size)
        elif rule.is_string or is_text:
            size_bytes = len(self._text_at(data, MOST_STRING_BYTES))
            if size_bytes == MOST_STRING_BYTES:
                raise PathError(f"the string at {whole.address:#x} has no end")
        else:
            size_bytes = self._objects.size_of(whole)
            if not size_bytes:
                raise PathError("the size of what it leads to isn't known: say size = ...")
        if size_bytes < 0:
            raise PathError(f"its size is {size_bytes} bytes")
        return Range.sized(whole.address, size_bytes) if size_bytes else None
