"""The linters are tests: formatting, rules, types, and who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "fadump").rglob("*.py"))

# docs/architecture.md, "The parts": a part imports only parts that stand before it.
ORDER = [
    *("errors", "limits", "file_systems", "given", "signals", "printable", "spelling", "moving_line", "progress"),
    *("memory", "abi", "picture"),
    *("vmcore", "linux", "report", "firmware", "kernel"),
    *("capture", "kit", "machine"),
    *(
        "service",
        "proof",
        "observer",
        "patience",
        "session",
        "cycle",
        "run",
        "systems",
        "emulator",
        "mount",
        "compare",
        "cli",
    ),
]
# "Inside the model": the same rule for the parts of kernel/.
KERNEL_ORDER = [
    *("kstrtox", "printk", "traits", "plan", "calls", "state", "register_area", "image", "elfcorehdr", "vmcore"),
    *("crash_info", "ops", "release", "register", "capture_boot", "crash", "rtas_fadump", "opal_fadump", "files"),
    *("opal_core", "petitboot", "model"),
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


@pytest.mark.parametrize(
    "source", [path for path in SOURCES if "fadump/kernel/" in path.as_posix()], ids=lambda path: str(path.name)
)
def test_a_part_of_the_model_imports_only_what_stands_before_it(source):
    part = source.relative_to(ROOT / "src" / "fadump" / "kernel").with_suffix("").parts[0]
    for imported in _imported_modules(source):
        if imported[:2] == ["fadump", "kernel"] and len(imported) > 2 and part not in (imported[2], "__init__"):
            assert KERNEL_ORDER.index(imported[2]) < KERNEL_ORDER.index(part), f"{part} imports {imported[2]}"


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
    return map(_part, _imported_modules(source))


def _imported_modules(source):
    """The names of imported modules, split at their dots; ``from a import b`` counts as a.b, whatever b is."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("fadump"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("fadump")]
        else:
            continue
        yield from (name.split(".") for name in names)


def _part(module):
    return module[1] if len(module) > 1 and module[1] != "__init__" else ""
