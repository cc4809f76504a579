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
    *("errors", "limits", "file_systems", "given", "signals", "printable", "spelling", "covering"),
    *("moving_line", "reminder", "progress", "look"),
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
        "campaign",
        "ci",
        "cli",
        "testing",
    ),
]
# The same rule inside two of them: "Inside the model" and "Reading a dump".
INNER_ORDERS = {
    "kernel": [
        *("kstrtox", "printk", "traits", "plan", "calls", "state", "register_area", "image", "elfcorehdr", "vmcore"),
        *("crash_info", "ops", "release", "register", "capture_boot", "crash", "rtas_fadump", "opal_fadump", "files"),
        *("opal_core", "petitboot", "model"),
    ],
    "linux": [
        *("vmcoreinfo", "translate", "memory", "kernel_name", "vmcoreinfo_note", "paged_memory", "log", "symbols"),
        *("pages", "types", "cpus", "opal", "vmlinux", "state", "system", "summary"),
    ],
}
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
    ("package", "source"),
    [(name, path) for name in INNER_ORDERS for path in SOURCES if f"/fadump/{name}/" in path.as_posix()],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_part_of_a_package_imports_only_what_stands_before_it(package, source):
    part = source.relative_to(ROOT / "src" / "fadump" / package).with_suffix("").parts[0]
    order = INNER_ORDERS[package]
    for imported in _imported_modules(source):
        if imported[:2] == ["fadump", package] and len(imported) > 2 and part not in (imported[2], "__init__"):
            assert order.index(imported[2]) < order.index(part), f"{part} imports {imported[2]}"


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
