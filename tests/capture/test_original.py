"""What a save reads of its dump before any page: once, however many parts of the save ask for it."""

from collections import Counter

import pytest

from fadump.capture.in_place import save_in_place
from fadump.capture.options import SaveOptions
from fadump.cli import main
from fadump.linux import system as system_module
from fadump.linux.memory import KernelMemory
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import CrashedSystem
from fadump.linux.vmcoreinfo import Facts

ONCE = {"CrashedSystem": 1, "Facts": 1, "KernelMemory": 1, "classify_pages": 1}


@pytest.fixture
def made(monkeypatch):
    """How often each was made, or done."""
    counts = Counter()

    def counted(name, function):
        def count(*arguments, **options):
            counts[name] += 1
            return function(*arguments, **options)

        return count

    for type_ in (CrashedSystem, Facts, KernelMemory):
        monkeypatch.setattr(type_, "__init__", counted(type_.__name__, type_.__init__))
    monkeypatch.setattr(system_module, "classify_pages", counted("classify_pages", system_module.classify_pages))
    return counts


@pytest.mark.parametrize(
    "options",
    [["--level", "1,31"], ["--format", "elf"], ["--split", "3"], ["--dry-run", "--level", "0,31"]],
    ids=" ".join,
)
def test_the_command_reads_the_kernels_facts_once(vmcore, tmp_path, made, options):
    assert main(["save", str(vmcore), str(tmp_path / "out"), *options]) == 0
    assert made == ONCE


def test_a_run_that_saves_its_dump_reads_them_once(vmcore, tmp_path, made):
    path = tmp_path / "vmcore"
    path.write_bytes(vmcore.read_bytes())
    save_in_place(path, SaveOptions(levels=(DumpLevel(31),)))
    assert made == ONCE
