"""What callers import from fadump: docs/api.md names all of it, and its examples run."""

import dataclasses
import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import fadump
from fadump.machine.embedded.config import EmbeddedConfig
from fadump.machine.embedded.trees import build_tree
from fadump.memory.ranges import Range

DOCUMENT = (Path(__file__).parent.parent / "docs" / "api.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", fadump.__all__)
def test_every_public_name_is_there_documented_and_has_a_docstring(name):
    value = getattr(fadump, name)
    assert re.search(rf"`(fadump\.)?{name}\b", DOCUMENT), f"docs/api.md doesn't name {name}"
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value), f"{name} has no docstring"
    assert name in dir(fadump)


def test_nothing_else_is_public():
    with pytest.raises(AttributeError, match="module 'fadump' has no attribute 'crash'"):
        _ = fadump.crash


def test_what_the_document_names_is_public():
    types = set(re.findall(r"`([A-Z]\w+)`s?\b", DOCUMENT)) - {"OSError"}
    assert types <= set(fadump.__all__), types - set(fadump.__all__)


PUBLIC = {name: getattr(fadump, name) for name in fadump.__all__ if name[0].isupper()}


def reached(api):
    """The types of this package that a public one's properties, methods and fields lead to."""
    for name, member in vars(api).items():
        target = getattr(member, "fget", None) or getattr(member, "func", None) or getattr(member, "__func__", member)
        if not name.startswith("_") and inspect.isfunction(target):
            yield from named(typing.get_type_hints(target, localns=PUBLIC).get("return"))
    if dataclasses.is_dataclass(api):
        for name, hint in typing.get_type_hints(api, localns=PUBLIC).items():
            if not name.startswith("_"):
                yield from named(hint)


def named(hint):
    if inspect.isclass(hint) and hint.__module__.startswith("fadump."):
        yield hint
    for argument in typing.get_args(hint):
        yield from named(argument)


def test_whatever_a_public_type_leads_to_is_public():
    public = {*PUBLIC.values()}
    led_to = {found for api in public for found in (reached(api) if inspect.isclass(api) else named(api))}
    assert fadump.LogEnd in led_to and fadump.Node in led_to
    assert led_to <= public, led_to - public


def test_importing_fadump_reads_no_dump_tools():
    code = (
        "import sys, fadump; print(sorted({'numpy', 'fadump.linux.system', 'fadump.vmcore.dump'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_examples_run_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = [sys.executable, "-m", "fadump", "run", "--memory", "1G", "--cpus", "2", "--crash-cpu", "1"]
    subprocess.run(run, check=True, capture_output=True)
    config = EmbeddedConfig("fadump=on", memory=(Range(0, 1 << 30),))
    Path("machine.dtb").write_bytes(build_tree(config).encode())
    names: dict[str, object] = {}
    for example in EXAMPLES:
        exec(compile(example, "docs/api.md", "exec"), names)  # noqa: S102 - they are ours
    printed = capsys.readouterr().out
    assert len(EXAMPLES) == 6
    assert "6.12.0-model sysrq triggered crash\n" in printed
    assert "Kernel panic - not syncing: sysrq triggered crash" in printed
    assert "crash_fadump+0x" in printed
    assert "is in crash_fadump\n" in printed
    assert "\n2 CPUs are possible\n" in printed
    assert "'FREE': " in printed
    assert "fadump=on\n" in printed
    assert printed.endswith("machine-files/vmcore.1 of Linux 6.12.0-model, 1 reset\n")


def test_the_cpu_that_crashed_is_told(tmp_path):
    run = [
        sys.executable,
        "-m",
        "fadump",
        "run",
        "--memory",
        "1G",
        "--cpus",
        "3",
        "--crash-cpu",
        "2",
        "--out",
        tmp_path,
    ]
    subprocess.run(run, check=True, capture_output=True)
    with fadump.open(tmp_path / "vmcore") as system:
        assert system.crashed_cpu.number == 2
        nip = system.crashed_cpu.registers["nip"]
        assert system.symbol(nip) == system.crashed_cpu.backtrace.frames[0].symbol
        assert system.symbol(0) is None


MACHINES = {
    "Machine": "(directory, *, machine=None, platform='pseries', memory=None, cpus=2, smt=1, cpu_model='POWER9', "
    "cmdline='', kernel=None, initrd=None, kernel_version=None, page_size=None, qemu='qemu-system-ppc64', faults=())",
    "Machine.run": "(self, script)",
    "Machine.crash": "(self, by='sysrq', *, cpu=0, script='', capture='', verify=True)",
    "Machine.close": "(self)",
    "rehearse": "(directory, disk, *, kernel=None, initrd=None, cmdline=None, platform='pseries', memory='4G', cpus=2, "
    "smt=1, cpu_model='POWER9', qemu='qemu-system-ppc64', by='nmi', dumps='/var/crash', ready=None, patience=1.0, "
    "verify=True)",
    "shell": "(script, *, platform='pseries', memory=None, cpus=2, cmdline='', kernel_version=None, page_size=None, "
    "faults=())",
}
"""What callers rely on: an argument may be added, none of these may change or go."""
FIELDS = {
    "Crash": "vmcore vmcore_bytes kernel_release cpus boot_memory_bytes reserved_bytes memory_released resets "
    "verified_bytes timeline output",
    "Rehearsal": "dump path console_log service resets verified_bytes warnings timeline",
}


@pytest.mark.parametrize("name", MACHINES)
def test_what_makes_machines_stays_as_it_is(name):
    value = fadump
    for part in name.split("."):
        value = getattr(value, part)
    signature = inspect.signature(value)
    names = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    assert str(signature.replace(parameters=names, return_annotation=inspect.Signature.empty)) == MACHINES[name]
    assert inspect.getdoc(value)


@pytest.mark.parametrize("name", FIELDS)
def test_what_they_leave_stays_as_it_is(name):
    assert [field.name for field in dataclasses.fields(getattr(fadump, name))] == FIELDS[name].split()


def test_a_machine_has_its_files():
    machine = fadump.Machine("somewhere")
    assert (machine.directory, machine.console_log) == (Path("somewhere"), Path("somewhere/console.log"))
