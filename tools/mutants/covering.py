"""Which tests can notice a mutant: those that execute its line, or that execute what its line defines.

A line of a function is executed by the tests that were recorded for it. A line of a module or a class is executed when
the module is imported, by no test in particular: it is covered by the tests that execute a line where a name is used
that it defines, and by those that execute any function of its module.
"""

import ast
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import coverage

from mutants.operators import Mutant

_Line = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Definition:
    """A statement of a module or a class, or the head of a function: what is executed at the import."""

    names: frozenset[str]
    lines: range
    body: range  # of a function


class Covering:
    """What one run of the tests under `recorder.py` showed."""

    def __init__(self, record: Path, package: Path) -> None:
        self._seconds: dict[str, float] = {}
        for file in record.glob("seconds.*.json"):
            self._seconds |= json.loads(file.read_text())
        self._tests: dict[_Line, set[str]] = defaultdict(set)
        self._definitions: dict[_Line, _Definition] = {}
        self._uses: dict[str, set[_Line]] = defaultdict(set)
        for path in sorted(package.rglob("*.py")):
            self._read_source(path.relative_to(package).as_posix(), ast.parse(path.read_bytes()))
        self._read_record(record)

    def tests(self, mutant: Mutant) -> dict[str, float]:
        """The tests that cover a mutant, with the seconds that each takes, and then the others of their files: a test
        may look at what a fixture did for another one before. Those of the module's place in tests/ come first, and of
        them the fastest."""
        covering = self._covering(mutant)
        files = {_file(test) for test in covering}
        others = {test for test in self._seconds if _file(test) in files} - covering
        place = f"tests/{mutant.path.rpartition('/')[0]}"

        def order(test: str) -> tuple[bool, float]:
            return not test.startswith(place), self._seconds[test]

        return {test: self._seconds[test] for test in [*sorted(covering, key=order), *sorted(others, key=order)]}

    def covers(self, mutant: Mutant) -> bool:
        """Whether any test covers a mutant."""
        return bool(self._covering(mutant))

    def _covering(self, mutant: Mutant) -> set[str]:
        definition = self._definitions.get((mutant.path, mutant.line))
        if definition is None:
            return self._executing((mutant.path, line) for line in mutant.statement)
        if definition.body:
            return self._executing((mutant.path, line) for line in definition.body)
        module = {line for line in self._tests if line[0] == mutant.path}
        return self._executing(self._users(definition.names) | module)

    def _users(self, names: Iterable[str]) -> set[_Line]:
        """Lines of functions where one of the names is used, or a name that is defined with it."""
        found: set[_Line] = set()
        known = set(names)
        unseen = list(known)
        while unseen:
            for line in self._uses[unseen.pop()]:
                definition = self._definitions.get(line)
                if definition is None:
                    found.add(line)
                    continue
                found |= {(line[0], inner) for inner in definition.body}
                unseen += definition.names - known
                known |= definition.names
        return found

    def _executing(self, lines: Iterable[_Line]) -> set[str]:
        return set().union(*(self._tests.get(line, set()) for line in lines)) & self._seconds.keys()

    def _read_source(self, path: str, module: ast.Module) -> None:
        for definition in _definitions(module.body, frozenset()):
            self._definitions |= {(path, line): definition for line in definition.lines}
        for node in ast.walk(module):
            match node:
                case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                    self._uses[name].add((path, node.lineno))

    def _read_record(self, record: Path) -> None:
        for file in record.glob("lines.*"):
            data = coverage.CoverageData(str(file))
            data.read()
            for measured in data.measured_files():
                path = measured.rpartition("/src/fadump/")[2]  # the tree was elsewhere when they were recorded
                for line, contexts in data.contexts_by_lineno(measured).items():
                    tests = {context for context in contexts if context}
                    if tests and (path, line) not in self._definitions:
                        self._tests[path, line] |= tests


def _definitions(body: list[ast.stmt], names: frozenset[str]) -> Iterator[_Definition]:
    for statement in body:
        last = statement.end_lineno or statement.lineno
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                inner = statement.body[0].lineno
                first = min([statement.lineno, *(decorator.lineno for decorator in statement.decorator_list)])
                yield _Definition(names | {statement.name}, range(first, inner), range(inner, last + 1))
            case ast.ClassDef():
                yield from _definitions(statement.body, frozenset({statement.name}))
            case ast.If():
                yield from _definitions([*statement.body, *statement.orelse], names)
            case _:
                named = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
                assigned = {node.id for node in named if isinstance(node.ctx, ast.Store)}
                yield _Definition(names | assigned, range(statement.lineno, last + 1), range(0))


def _file(test: str) -> str:
    return test.partition("::")[0]
