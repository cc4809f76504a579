"""What a mutant is, and which tests it is given to."""

import json
import tomllib
from pathlib import Path

import coverage
import pytest
from mutants import operators
from mutants.covering import Covering

ROOT = Path(__file__).parents[2]


def changes(source):
    return {mutant.after for mutant in operators.mutants("module.py", f"{source}\n".encode())}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a = b < c", {"a = b <= c"}),
        ("a = b not in c", {"a = b in c"}),
        ("a = b is None", {"a = b is not None"}),
        ("a = b and c or d", {"a = b or c or d", "a = b and c and d"}),
        ("a = not b", {"a = b"}),
        ("a = 0x0f", {"a = 0x10"}),
        ("a = True", {"a = False"}),
        ("a = b << c", {"a = b >> c"}),
        ("def f():\n    return a", {"return None"}),
        ("os.fsync(fd)", {"pass"}),
        ("a.b = c", {"pass"}),
        ("raise a", {"pass"}),
        ("a = f(b, c=d)", {"a = f(b)"}),
        ("a = f(b=c, d=e)", {"a = f(d=e)", "a = f(b=c)"}),
        ("if a:\n    b()", {"if not a:", "pass"}),
        ("if (yield a):\n    pass", {"if (not (yield a)):"}),
        ("a = b if c else d", {"a = b if not c else d"}),
        ("a = f(\n    b,\n    c=1,\n)", {"b,", "c=2,"}),
    ],
)
def test_every_small_change_is_made(source, expected):
    assert changes(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "a: Literal[1] = b",
        "@dataclass(frozen=True)\nclass A:\n    pass",
        "if TYPE_CHECKING:\n    a = 1",
        'a = f"{b + 1}"',
        "TIMEOUT_SECONDS = 30",
        "a = f(timeout=30)",
        "a = zip(b, c, strict=True)",
        'a = b + "text"',
    ],
)
def test_what_no_test_could_see_is_not_changed(source):
    assert changes(source) == set()


SOURCE = """\
LIMIT = 8
DOUBLE = 2 * LIMIT


def used(number):
    return number < DOUBLE


def unused():
    return 1
"""


def test_a_mutant_is_given_to_the_tests_that_execute_its_line_or_what_it_defines(tmp_path):
    package = tmp_path / "src" / "fadump"
    package.mkdir(parents=True)
    (package / "module.py").write_text(SOURCE)
    record = tmp_path / "record"
    record.mkdir()
    data = coverage.CoverageData(str(record / "lines.1"))
    for test in ("tests/test_a.py::test_slow", "tests/test_a.py::test_fast"):
        data.set_context(test)
        data.add_lines({"/elsewhere/src/fadump/module.py": [6]})
    data.write()
    seconds = {"tests/test_a.py::test_slow": 2, "tests/test_a.py::test_fast": 1, "tests/test_a.py::test_other": 0}
    (record / "seconds.0.json").write_text(json.dumps(seconds))
    (record / "seconds.1.json").write_text(json.dumps({"tests/test_b.py::test_none": 0}))
    covering = Covering(record, package)
    found = {mutant.line: list(covering.tests(mutant)) for mutant in operators.mutants("module.py", SOURCE.encode())}
    by_file = ["tests/test_a.py::test_fast", "tests/test_a.py::test_slow", "tests/test_a.py::test_other"]
    assert found == {1: by_file, 2: by_file, 6: by_file, 10: []}


def test_every_mutant_that_is_listed_as_equivalent_is_one():
    entries = tomllib.loads((ROOT / "tools" / "mutants" / "equivalent.toml").read_text())["equivalent"]
    for entry in entries:
        source = (ROOT / "src" / "fadump" / entry["path"]).read_bytes()
        keys = {mutant.key for mutant in operators.mutants(entry["path"], source)}
        assert (entry["path"], entry["before"], entry["after"]) in keys
        assert entry["reason"]
