"""A real crash of which secrets are erased: drgn says where they were, and that nothing else has changed."""

import json
import subprocess

import pytest
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.rbtree import rbtree_inorder_for_each_entry

from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.check import check_dump
from fadump.vmcore.contract import State
from fadump.vmcore.dump import open_dump
from tests.real_linux.fadump_command import COMMAND
from tests.real_linux.page_sets import VIEW_BYTES
from tests.real_linux.readers import program_of

PAGE_OFFSET = 0xC000_0000_0000_0000
RULES = """
[[erase]]
name = "names of processes"
start = "init_task.tasks"
type = "task_struct"
walk = [{ list = "task_struct.tasks" }]
data = "comm"

[[erase]]
start = "saved_command_line"
type = "char*"

[[erase]]
name = "keyrings"
start = "key_serial_tree"
type = "rb_root"
walk = [{ tree = "key.serial_node", where = { "type.name" = "keyring" } }]
data = "description"

[[erase]]
start = "init_uts_ns.name.nodename"
type = "uts_namespace"

[[erase]]
start = "base_crng"
type = "void"
size = 32
"""
FORMATS = {"kdump": [], "elf": ["--format", "elf"]}


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    path = tmp_path_factory.mktemp("rules") / "rules.toml"
    path.write_text(RULES)
    return path


@pytest.fixture(scope="module")
def save(tmp_path_factory, busy_crash, rules):
    """Saves the dump without these, in a format and with more options, once; the file and what was said."""
    done = {}

    def save(format_, *options):
        if (format_, *options) not in done:
            out = tmp_path_factory.mktemp(format_) / "dump"
            words = [*COMMAND, "save", str(busy_crash), str(out), "--erase", str(rules), "--json", *FORMATS[format_]]
            result = subprocess.run([*words, "--level", "31", *options], stdout=subprocess.PIPE, check=True)
            done[format_, *options] = out, json.loads(result.stdout)
        return done[format_, *options]

    return save


def secrets(program):
    """All that the rules name, by physical address, as drgn finds it in the dump as it was."""
    command_line = program["saved_command_line"]
    places = {command_line.value_(): len(command_line.string_())}
    first = program["init_task"]
    for task in list_for_each_entry("struct task_struct", first.tasks.address_of_(), "tasks"):
        places[task.comm.address_of_().value_()] = 16
    for key in rbtree_inorder_for_each_entry("struct key", program["key_serial_tree"].address_of_(), "serial_node"):
        if key.type.name.string_() == b"keyring":
            places[key.description.value_()] = len(key.description.string_())
    places[program["init_uts_ns"].name.nodename.address_of_().value_()] = 65
    places[program["base_crng"].address_of_().value_()] = 32
    return [Range.sized(virtual - PAGE_OFFSET, length) for virtual, length in places.items()]


def views(ranges):
    for range_ in ranges:
        for start in range(range_.start, range_.end, VIEW_BYTES):
            yield Range(start, min(start + VIEW_BYTES, range_.end))


@pytest.mark.parametrize("format_", FORMATS)
def test_what_drgn_finds_is_erased_and_nothing_else(save, busy_crash, kernel, monkeypatch, format_):
    path, said = save(format_, "--no-registers")
    before = program_of(busy_crash, kernel, monkeypatch)
    secrets_ = secrets(before)
    assert len(secrets_) > 50
    with open_dump(path) as dump, open_dump(busy_crash) as source:
        assert check_dump(dump).whole
        stored = RangeSet(
            piece.range for where in dump.memory for piece in dump.mapping(where) if piece.state is State.STORED
        )
        different = 0
        for here in (part for memory in source.memory for part in views(stored.within(memory))):
            expected = bytearray(source.read_physical(here.start, here.size_bytes))
            for secret in secrets_:
                both = secret.intersection(here)
                if both is not None:
                    expected[both.start - here.start : both.end - here.start] = b"X" * both.size_bytes
                    different += both.size_bytes
            assert dump.read_physical(here.start, here.size_bytes) == bytes(expected), str(here)
        assert different == sum(secret.size_bytes for secret in secrets_) == sum(one["bytes"] for one in said["erased"])
        lines = (dump.erase_info or b"").decode().splitlines()
    assert len(lines) == len(secrets_)
    assert f"erase saved_command_line size {said['erased'][1]['bytes']}" in lines
    assert lines.count("erase task_struct.comm size 16") == said["erased"][0]["pieces"] > 40


@pytest.mark.parametrize("format_", FORMATS)
def test_other_readers_find_all_but_the_secrets(save, kernel, monkeypatch, format_):
    path, _said = save(format_)
    program = program_of(path, kernel, monkeypatch)
    processes = {task.comm.string_() for task in for_each_task(program) if task.tgid == task.pid}
    assert processes == {b"X" * 16}
    assert program["saved_command_line"].string_().strip(b"X") == b""
    assert program["init_uts_ns"].name.release.string_().decode() == kernel.release
    assert program.crashed_thread().stack_trace()[0].name == "crash_fadump"


def test_debug_information_leads_to_the_same(save, kernel):
    path, said = save("kdump")
    other, said_too = save("kdump", "--vmlinux", str(kernel.vmlinux))
    assert said["erased"] == said_too["erased"]
    with open_dump(path) as one, open_dump(other) as two:
        assert one.erase_info == two.erase_info
