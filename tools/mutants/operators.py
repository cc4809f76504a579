"""What is changed: every small change of a module that a test should notice.

Left out is what changes no behaviour that a test could see: annotations, decorators, texts, how long is waited, and the
keywords ``strict`` and ``check``, which say what is so anyway.
"""

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

_SWAPPED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"), ast.And: ("and", "or"), ast.Or: ("or", "and"),
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "//"), ast.FloorDiv: ("//", "*"), ast.Mod: ("%", "//"),
    ast.LShift: ("<<", ">>"), ast.RShift: (">>", "<<"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"),
    ast.BitXor: ("^", "|"),
}  # fmt: skip
_SAYS_WHAT_IS_SO = {"strict", "check", "help", "metavar", "description", "epilog", "title", "usage"}
_WAITING = re.compile(r"timeout|seconds|delay|interval", re.IGNORECASE)
_NOT_READ = {"annotation", "returns", "decorator_list", "bases"}
_YIELDS = (ast.Yield, ast.YieldFrom)
_TEXT = (ast.JoinedStr, ast.List, ast.Tuple)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one place changed."""

    path: str  # of the module, from src/fadump
    line: int
    statement: range  # the lines of the statement, or of the head of one that has others in it
    before: str  # the changed lines, without indentation, as one line
    after: str
    source: bytes  # the whole module, changed

    @property
    def key(self) -> tuple[str, str, str]:
        """What names this mutant while lines are added and removed above it."""
        return self.path, self.before, self.after

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before}  ->  {self.after}"


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str


def mutants(path: str, source: bytes) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    return list(_Module(path, source).mutants())


class _Module:
    def __init__(self, path: str, source: bytes) -> None:
        self._path = path
        self._source = source
        self._line_starts = [0]
        for line in source.splitlines(keepends=True):
            self._line_starts.append(self._line_starts[-1] + len(line))

    def mutants(self) -> Iterator[Mutant]:
        for statement in _statements(ast.parse(self._source).body):
            lines = range(statement.lineno, _head_end(statement) + 1)
            for edit in sorted(self._edits(statement), key=lambda edit: (edit.start, edit.end, edit.text)):
                yield self._mutant(edit, lines)

    def _mutant(self, edit: _Edit, statement: range) -> Mutant:
        changed = self._source[: edit.start] + edit.text.encode() + self._source[edit.end :]
        start = self._source.rfind(b"\n", 0, edit.start) + 1
        end = self._source.find(b"\n", edit.end)
        before = _on_one_line(self._source[start:end])
        after = _on_one_line(self._source[start : edit.start] + edit.text.encode() + self._source[edit.end : end])
        line = self._source.count(b"\n", 0, edit.start) + 1
        return Mutant(self._path, line, statement, before, after, changed)

    def _edits(self, statement: ast.stmt) -> Iterator[_Edit]:
        if _is_removed(statement):
            yield self._replace(statement, "pass")
        if isinstance(statement, ast.Return):
            yield from self._edits_of_return(statement)
        if isinstance(statement, ast.If | ast.While):
            yield from self._edits_of_condition(statement.test)
        for node, names in _expressions(statement):
            yield from self._edits_of_expression(node, names)

    def _edits_of_return(self, statement: ast.Return) -> Iterator[_Edit]:
        value = statement.value
        if value is not None and not isinstance(value, ast.Constant | ast.Compare | ast.BoolOp):
            yield self._replace(value, "None")

    def _edits_of_condition(self, condition: ast.expr) -> Iterator[_Edit]:
        if not isinstance(condition, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant | ast.NamedExpr):
            written = self._source[self._start(condition) : self._end(condition)].decode()
            yield self._replace(condition, f"not ({written})" if isinstance(condition, _YIELDS) else f"not {written}")

    def _edits_of_expression(self, node: ast.expr, names: str) -> Iterator[_Edit]:
        match node:
            case ast.Constant() if not _is_left_out(names):
                yield from self._edits_of_constant(node)
            case ast.Compare() | ast.BoolOp() | ast.BinOp():
                yield from self._edits_of_operators(node)
            case ast.UnaryOp(op=ast.Not()):
                yield _Edit(self._start(node), self._start(node) + len(b"not "), "")
            case ast.IfExp():
                yield from self._edits_of_condition(node.test)
            case ast.Call():
                for keyword in node.keywords:
                    yield from self._drop(keyword)

    def _edits_of_operators(self, node: ast.Compare | ast.BoolOp | ast.BinOp) -> Iterator[_Edit]:
        match node:
            case ast.Compare():
                for left, operator, right in zip(
                    [node.left, *node.comparators[:-1]], node.ops, node.comparators, strict=True
                ):
                    yield from self._swap(left, operator, right)
            case ast.BoolOp():
                for left, right in itertools.pairwise(node.values):
                    yield from self._swap(left, node.op, right)
            case ast.BinOp() if not (_is_text(node.left) or _is_text(node.right)):
                yield from self._swap(node.left, node.op, node.right)

    def _edits_of_constant(self, node: ast.Constant) -> Iterator[_Edit]:
        match node.value:
            case bool() as value:
                yield self._replace(node, str(not value))
            case int() as value:
                is_hex = self._source.startswith((b"0x", b"0X"), self._start(node))
                yield self._replace(node, hex(value + 1) if is_hex else str(value + 1))
            case float() as value:
                yield self._replace(node, str(value + 1))

    def _swap(self, left: ast.expr, operator: ast.AST, right: ast.expr) -> Iterator[_Edit]:
        if type(operator) not in _SWAPPED:
            return
        old, new = _SWAPPED[type(operator)]
        start, end = self._end(left), self._start(right)
        between = self._source[start:end].decode()
        pattern = rf"(?<!\w){re.escape(old)}(?!\w)".replace(r"\ ", r"\s+")
        yield _Edit(start, end, re.sub(pattern, new, between, count=1))

    def _drop(self, keyword: ast.keyword) -> Iterator[_Edit]:
        if keyword.arg is None or _is_left_out(keyword.arg):
            return
        start, end = self._start(keyword), self._end(keyword)
        before = self._source[:start].rstrip()
        if before.endswith(b","):
            yield _Edit(len(before) - 1, end, "")
        else:
            following = re.compile(rb"\s*,\s*").match(self._source, end)
            yield _Edit(start, following.end() if following else end, "")

    def _replace(self, node: ast.stmt | ast.expr, text: str) -> _Edit:
        return _Edit(self._start(node), self._end(node), text)

    def _start(self, node: ast.stmt | ast.expr | ast.keyword) -> int:
        return self._line_starts[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.stmt | ast.expr | ast.keyword) -> int:
        return self._line_starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements but those that only the type checker reads."""
    for statement in body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            continue
        yield statement
        for field in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, field, []))
        for part in [*getattr(statement, "handlers", []), *getattr(statement, "cases", [])]:
            yield from _statements(part.body)


def _head_end(statement: ast.stmt) -> int:
    body = getattr(statement, "body", None) or getattr(statement, "cases", None)
    if not body:
        return statement.end_lineno or statement.lineno
    inner = body[0].pattern.lineno if isinstance(body[0], ast.match_case) else body[0].lineno
    return max(statement.lineno, inner - 1)


def _is_removed(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Raise() | ast.Delete():
            return True
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            return True
    return False


def _expressions(node: ast.AST, names: str = "") -> Iterator[tuple[ast.expr, str]]:
    """The expressions in a statement or an expression, each with the names of what it is given to."""
    if isinstance(node, ast.JoinedStr):
        return
    if isinstance(node, ast.expr):
        yield node, names
    names = _given_to(node) or names
    for field, value in ast.iter_fields(node):
        if field not in _NOT_READ:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not isinstance(child, ast.stmt | ast.excepthandler):
                    yield from _expressions(child, names)


def _given_to(node: ast.AST) -> str:
    match node:
        case ast.keyword(arg=str(name)):
            return name
        case ast.Assign():
            return " ".join(map(ast.unparse, node.targets))
        case ast.AnnAssign():
            return ast.unparse(node.target)
        case ast.arguments():
            return " ".join(argument.arg for argument in [*node.args, *node.kwonlyargs])
    return ""


def _is_left_out(names: str) -> bool:
    return names in _SAYS_WHAT_IS_SO or bool(_WAITING.search(names))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, _TEXT) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))


def _on_one_line(source: bytes) -> str:
    return " ".join(source.decode().split())
