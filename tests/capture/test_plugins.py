"""A user's function decides which pages are saved."""

import json
import re

import numpy as np
import pytest

from benchmarks.truth import PAGE
from fadump.cli import main
from fadump.linux.pages.page_class import PageClass
from fadump.linux.pages.page_flags import PageFlags
from fadump.linux.system import CrashedSystem
from fadump.memory.ranges import Range
from fadump.vmcore.check import check_dump
from fadump.vmcore.contract import State
from fadump.vmcore.dump import open_dump
from tests.capture.contents import differing_pages, states_of
from tests.linux.test_pages import HWPOISON, LRU, PRIVATE, SECTION_PAGES, kernel_with

EVERY_THIRD = """import numpy

STEP = 3

def choose(pfns, pages):
    return numpy.equal(pfns % STEP, 0)
"""


@pytest.fixture
def saved(vmcore, tmp_path, capsys):
    """Saves with options, of which those that end in .py are the texts of plugins; what --json says."""

    def save(*options):
        words = []
        for number, option in enumerate(options):
            if "def " in option:
                plugin = tmp_path / f"plugin{number}.py"
                plugin.write_text(option)
                words.append(f"{plugin}:choose")
            else:
                words.append(option)
        assert main(["save", str(vmcore), str(tmp_path / "out"), "--json", *words]) == 0
        return json.loads(capsys.readouterr().out)

    return save


@pytest.mark.parametrize("option", ["--only", "--drop"])
def test_pages_are_left_in_or_out_as_a_function_says(option, saved, vmcore, truth, tmp_path):
    said = saved(option, EVERY_THIRD)
    wanted = (np.arange(truth.pages) % 3 == 0) ^ (option == "--drop")
    with open_dump(tmp_path / "out") as dump, open_dump(vmcore) as source:
        assert states_of(dump, truth.pages) == [State.STORED if page else State.EXCLUDED for page in wanted]
        assert differing_pages(dump, source) == [] and check_dump(dump).whole
    pages = said["pages"]
    assert pages["excluded_by_plugin"] == int((~wanted).sum())
    assert pages["original"] == pages["excluded"] + pages["remaining"]


def test_it_is_asked_about_what_the_level_leaves_in(saved, truth, tmp_path):
    said = saved("--level", "16", "--drop", "def choose(pfns, pages):\n    assert not (pages.classes == 6).any()\n"
                 "    return pages.classes == 3\n")  # fmt: skip
    gone = np.isin(truth.classes(), [PageClass.FREE, PageClass.USER, PageClass.HWPOISON, PageClass.OFFLINE])
    with open_dump(tmp_path / "out") as dump:
        assert [state is State.EXCLUDED for state in states_of(dump, truth.pages)] == gone.tolist()
    assert said["pages"]["excluded_by_plugin"] == int((truth.classes() == PageClass.USER).sum())


def test_both_together_and_an_elf_core(saved, truth, tmp_path):
    saved("--only", EVERY_THIRD, "--drop", EVERY_THIRD.replace("3", "2"), "--format", "elf")
    with open_dump(tmp_path / "out") as dump:
        numbers = np.arange(truth.pages)
        there = [state is State.STORED for state in states_of(dump, truth.pages)]
        assert there == ((numbers % 3 == 0) & (numbers % 2 == 1)).tolist()


def test_it_can_read_pages(saved, vmcore, truth, tmp_path):
    saved("--drop", "def choose(pfns, pages):\n    return [any(pages.read(pfn)[:-8]) for pfn in pfns]\n")
    data = np.frombuffer(vmcore.read_bytes()[-truth.pages * PAGE :], np.uint8).reshape(-1, PAGE)
    with open_dump(tmp_path / "out") as dump:
        assert [state is State.EXCLUDED for state in states_of(dump, truth.pages)] == data[:, :-8].any(axis=1).tolist()


def test_the_report_says_how_many(vmcore, tmp_path, capsys):
    (tmp_path / "plugin.py").write_text(EVERY_THIRD)
    assert main(["save", str(vmcore), str(tmp_path / "out"), "--drop", f"{tmp_path}/plugin.py:choose"]) == 0
    assert "    Left out by a plugin    : 0x0000000000000aab\n" in capsys.readouterr().out


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_the_flags_are_those_of_struct_pages(byte_order):
    wanted = [LRU, PRIVATE, 0, LRU | HWPOISON]
    kernel = kernel_with([{"flags": flags} for flags in wanted], byte_order)
    system = CrashedSystem(kernel.dump())
    flags = PageFlags(system.memory)
    assert flags.of(Range(0, 4)).tolist() == wanted and flags.of(Range(1, 3)).tolist() == wanted[1:3]
    assert flags.of(Range(4 * SECTION_PAGES, 4 * SECTION_PAGES + 2)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        ("def choose(pfns, pages):\n    return 1 / 0\n", 1, r"ZeroDivisionError, line 2: division by zero$"),
        ("def choose(pfns, pages):\n    exit(3)\n", 1, r"SystemExit, line 2: 3$"),
        ("def choose(pfns):\n    return pfns > 3\n", 1, r"TypeError: choose\(\) takes 1 positional"),
        ("def choose(pfns, pages):\n    return pfns\n", 1, r"it returns uint64 of shape \(8192,\), and not a bool"),
        ("def choose(pfns, pages):\n    return True\n", 1, r"it returns bool of shape \(\), and not a bool for each"),
        ("def choose(pfns, pages):\n    raise ValueError('a\\nb')\n", 1, r"ValueError, line 2: a\\nb$"),
        ("def other(pfns, pages):\n    pass\n", 2, "there is no function choose; there are other$"),
        ("choose = 3\n", 2, "there is no function choose; there are none$"),
        ("import nothing_of_that_name\n", 1, "ModuleNotFoundError, line 1: No module named"),
        ("def choose(:\n", 1, "SyntaxError, line 1: "),
    ],
)
def test_a_plugin_that_fails_is_one_sentence_and_saves_nothing(vmcore, tmp_path, capsys, text, code, why):
    (tmp_path / "plugin.py").write_text(text)
    option = f"{tmp_path}/plugin.py:choose"
    assert main(["save", str(vmcore), str(tmp_path / "out"), "--only", option]) == code
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.search(rf"^fadump: --only {re.escape(option)}: .*{why}", said), said
    assert [path.name for path in tmp_path.iterdir()] == ["plugin.py"]


@pytest.mark.parametrize(
    ("option", "code", "why"),
    [
        ("plugin.py", 2, "a plugin is FILE.py:function"),
        (":choose", 2, "a plugin is FILE.py:function"),
        ("plugin.py:a b", 2, "a plugin is FILE.py:function"),
        ("none.py:choose", 125, "none.py can't be read: No such file"),
        (".:choose", 125, "is a directory"),
    ],
)
def test_what_is_no_plugin(vmcore, tmp_path, capsys, option, code, why):
    assert main(["save", str(vmcore), str(tmp_path / "out"), "--drop", option]) == code
    assert why in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_dump_in_which_nothing_is_left_is_one(saved, truth, tmp_path):
    said = saved("--drop", "def choose(pfns, pages):\n    return pfns >= 0\n")
    assert said["pages"]["remaining"] == 0
    with open_dump(tmp_path / "out") as dump:
        assert set(states_of(dump, truth.pages)) == {State.EXCLUDED} and check_dump(dump).whole
