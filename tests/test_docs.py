"""Tables in the documents are what the code says. ``python -m tests.test_docs`` writes them anew."""

import ast
import re
import shlex
import tomllib
from functools import partial
from itertools import groupby, takewhile
from pathlib import Path

import pytest

from fadump.abi.powernv.opal import OpalStatus, OpalToken
from fadump.abi.pseries.rtas import RtasStatus
from fadump.cli import build_parser
from fadump.cli.parser import parse
from fadump.machine.qemu.register_sources import SOURCES, Missing, Printed, Shown, Special, Stub
from tests.firmware.powernv.status_table import ROWS as POWERNV_ROWS
from tests.firmware.pseries.status_table import CONFIGURE_TOKEN, OS_TERM_TOKEN, ROWS
from tests.run.fault_table import CALLS as CALL_FAULTS
from tests.run.fault_table import CYCLE_FAULTS, HEADERS, OLDER, REGISTERS, STRUCTURES

DOCS = Path(__file__).parent.parent / "docs"
ROOT = DOCS.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/*.md")])
WIDTH = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["line-length"]
CALLS = {CONFIGURE_TOKEN: "ibm,configure-kernel-dump", OS_TERM_TOKEN: "ibm,os-term"}


def status_table():
    """A line for each of pseries' rows that tests/firmware runs."""
    return _statuses(ROWS, CALLS)


def opal_status_table():
    """The same for powernv."""
    return _statuses(POWERNV_ROWS, {token: f"OPAL_{token.name}" for token in OpalToken})


def _statuses(rows, calls):
    lines = ["| call | state | what is passed | answer | state after |", "|---|---|---|---|---|"]
    for row in rows:
        answer = row.expected
        if isinstance(answer, RtasStatus | OpalStatus):
            answer = f"{int(answer)}, {answer.name.lower().replace('_', ' ')}"
        call = calls.get(row.token, "another")
        lines.append(f"| {call} | {row.state.value} | {row.description} | {answer} | {row.after.value} |")
    return "\n".join(lines)


def register_table():
    """A line for each register, but one for all of a numbered group that come from the same place."""
    lines = ["| register | in the area | read from, or why it isn't there |", "|---|---|---|"]
    for _group, members in groupby(SOURCES, _group_of):
        names = list(members)
        text = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        there = "no" if isinstance(SOURCES[names[0]], Missing) else "yes"
        lines.append(f"| {text} | {there} | {_origin([SOURCES[name] for name in names])} |")
    return "\n".join(lines)


def _group_of(name):
    """GPRs, FPRs, VRs and their checkpoints, each in one; of VSRs, those that are FPRs and those that are VRs."""
    numbered = re.fullmatch(r"(X-)?(GPR|FPR|VR|VSR|VS)(\d\d)(_?(HI|LO))?", name)
    if numbered is None:
        return name
    return numbered[1], numbered[2], numbered[1] is None and int(numbered[3]) >= 32


def _origin(sources):
    match sources[0]:
        case Stub():
            return "gdb stub, " + " and ".join(_spans([source.name for source in sources]))
        case Special(name=name):
            return f"gdb stub, `{name}`, or the monitor's `print/x ${name}`"
        case Shown(name=name):
            return f"monitor, `{name}` of `info registers`"
        case Printed(names=names):
            return "monitor, " + " and ".join(f"`print/x ${name}`" for name in names)
        case Missing(reason=reason):
            return reason


def _spans(names):
    """The stub's names, those that differ in a number as a span."""
    kinds = {}
    for name in names:
        kinds.setdefault(re.sub(r"\d+", "", name), []).append(name)
    return [f"`{kind[0]}`" if kind[0] == kind[-1] else f"`{kind[0]}` to `{kind[-1]}`" for kind in kinds.values()]


def fault_table(rows):
    """A line for each fault that tests/run/test_faults.py runs."""
    lines = ["| `--fault` | platform | how the run ends | what Linux says | decided by |", "|---|---|---|---|---|"]
    for row in rows:
        name = " ".join([row.name, *row.options])
        said = f"`{row.said}`" if row.said else ""
        lines.append(f"| `{name}` | {row.platform} | {row.end} | {said} | {row.source} |")
    return "\n".join(lines)


TABLES = {
    "status table": ("firmware.md", status_table),
    "OPAL status table": ("firmware.md", opal_status_table),
    "register table": ("firmware.md", register_table),
    "call faults": ("faults.md", partial(fault_table, CALL_FAULTS)),
    "structure faults": ("faults.md", partial(fault_table, STRUCTURES)),
    "register faults": ("faults.md", partial(fault_table, REGISTERS)),
    "header faults": ("faults.md", partial(fault_table, HEADERS)),
    "cycle faults": ("faults.md", partial(fault_table, CYCLE_FAULTS)),
    "older kernels": ("faults.md", partial(fault_table, OLDER)),
}


def with_table(text, name, table):
    """A document's text with what stands between a table's two markers replaced."""
    begin, end = f"<!-- {name}: written by tests/test_docs.py -->\n", f"\n<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    assert found and end in rest, f"no markers for the {name}"
    return before + begin + "\n" + table + "\n" + end + rest.partition(end)[2]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_what_the_code_says(name):
    document, table = TABLES[name]
    text = (DOCS / document).read_text()
    assert with_table(text, name, table()) == text, "run python -m tests.test_docs"


def code(text):
    """The lines of a document's blocks of code."""
    in_code = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif in_code:
            yield line


COMMANDS = {
    line
    for document in DOCUMENTS
    for line in code(document.read_text())
    if re.match(r"fadump [a-z]+( |$)", line) and not line.endswith("successfully.")  # which Linux says
}


@pytest.mark.parametrize("line", sorted(COMMANDS))
def test_a_command_in_a_document_is_understood(line):
    """Its options are there, and their values are possible; tests/test_readme.py runs those of README.md."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    _fadump, *words = takewhile(lambda word: word not in ("|", "||", "&&", ";", ">"), lexer)
    assert parse(build_parser(words), words).run is not None


def prose(text):
    """The lines of a document that wrap, numbered: none of a table, of a block of code, or of a test's markers."""
    in_code = False
    for number, line in enumerate(text.splitlines(), start=1):
        in_code ^= line.lstrip().startswith("```")
        if not in_code and not line.startswith(("|", "    ", "<!--")):
            yield number, line


def test_what_counts_as_prose():
    text = "one\n```\ncode\n```\n| table |\n<!-- marker -->\n    code\ntwo"
    assert [line for _number, line in prose(text) if line != "```"] == ["one", "two"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_prose_is_no_wider_than_the_code(document):
    """120 columns, which pyproject.toml has for the code."""
    wide = [f"{document.name}:{number}" for number, line in prose(document.read_text()) if len(line) > WIDTH]
    assert not wide


def headless_rows(text):
    """Lines that look like a row and are shown as text, as an empty line has ended their table, by their numbers."""
    lines = ["", *text.splitlines(), ""]
    for number, (before, line, after) in enumerate(zip(lines, lines[1:], lines[2:], strict=False), start=1):
        if line.startswith("|") and not before.startswith("|") and not re.fullmatch(r"\|[-:| ]+\|", after):
            yield number


def test_what_counts_as_a_row_without_its_table():
    table = "| a |\n|---|\n| b |\n"
    assert [*headless_rows(table)] == []
    assert [*headless_rows(f"{table}\n| c |\n")] == [5]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_row_is_in_a_table(document):
    in_code, lines = False, []
    for line in document.read_text().splitlines():
        in_code ^= line.lstrip().startswith("```")
        lines.append("" if in_code else line)
    assert [*headless_rows("\n".join(lines))] == []


def test_every_module_that_the_architecture_names_is_there():
    """Paths are those below src/fadump, of tests and of the project itself; * stands for either platform."""
    named = re.findall(r"`((?:[\w*.-]+/)+[\w.-]+\.(?:py|md)|[\w-]+/data/init)`", (DOCS / "architecture.md").read_text())
    root = DOCS.parent
    lost = [
        name
        for name in named
        if not [*root.glob(name), *(root / "src" / "fadump").glob(name), *(root / "src").glob(name)]
    ]
    assert len(named) > 80 and not lost


def anchors(text):
    """What a link may name in a document: its headings as GitHub and the site have them, numbered where they repeat."""
    found = []
    in_code = False
    for line in text.splitlines():
        in_code ^= line.lstrip().startswith("```")
        if not in_code and re.match(r"#+ ", line):
            name = re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
            found.append(f"{name}-{found.count(name)}" if name in found else name)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document):
    text = document.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        name, _hash, anchor = target.partition("#")
        path = document.parent / name if name else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text()), target


def test_the_index_has_every_document():
    listed = re.findall(r"^[\w-]+$", (DOCS / "index.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(path.stem for path in DOCS.glob("*.md") if path.stem != "index")


def strings_of_the_code():
    """All that the code may say, with ... for what differs."""
    for source in (ROOT / "src" / "fadump").rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "…".join(part.value for part in node.values if isinstance(part, ast.Constant))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_message_in_troubleshooting_is_one_of_ours():
    """Each part of a message between its dots stands in a string of the code."""
    code = "\n".join(strings_of_the_code())
    messages = re.findall(r"^### `(.*)`$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    unknown = [part for message in messages for part in message.split("…") if part.strip() not in code]
    assert len(messages) > 20 and not unknown


def main():
    for name, (document, table) in TABLES.items():
        path = DOCS / document
        path.write_text(with_table(path.read_text(), name, table()))


if __name__ == "__main__":
    main()
