"""The linters are tests: formatting, rules, types, and who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "fadump").rglob("*.py"))

# docs/architecture.md, "Who imports whom": a part imports only parts that stand before it.
ORDER = [
    *("errors", "printable", "progress", "memory", "abi", "vmcore", "linux", "firmware", "kernel"),
    *("capture", "kit", "machine"),
    *("session", "cycle", "faults", "options", "output", "verify", "run", "mount", "shell", "compare", "cli"),
]
NOT_EACH_OTHER = [
    *({"firmware", "kit"}, {"machine", "kit"}, {"firmware", "kernel"}, {"kernel", "kit"}),
    *({"capture", "firmware"}, {"capture", "kernel"}, {"capture", "kit"}),
]


@pytest.mark.parametrize("command", [["ruff", "format", "--check"], ["ruff", "check"], ["mypy"]], ids=" ".join)
def test_the_tree_passes(command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_module_imports_only_what_stands_before_it(source):
    part = _part(source.relative_to(ROOT / "src").with_suffix("").parts)
    for imported in _imported_parts(source):
        assert _may_import(part, imported), f"{part} imports {imported}"


def test_the_import_rule_refuses_what_it_should():
    assert not _may_import("firmware", "machine")
    assert not _may_import("machine", "kit")
    assert not _may_import("kit", "firmware")
    assert _may_import("run", "kit")


def _may_import(part, imported):
    if part == imported or part in ("", "__main__") or imported == "":  # the package itself has its version only
        return True
    return ORDER.index(imported) < ORDER.index(part) and {part, imported} not in NOT_EACH_OTHER


def _imported_parts(source):
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("fadump"):
            names = [node.module] if node.module != "fadump" else [f"fadump.{alias.name}" for alias in node.names]
            yield from (_part(name.split(".")) for name in names)
        elif isinstance(node, ast.Import):
            yield from (_part(a.name.split(".")) for a in node.names if a.name.startswith("fadump"))


def _part(module):
    return module[1] if len(module) > 1 and module[1] != "__init__" else ""
