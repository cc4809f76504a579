"""What is erased is in nothing that is saved, and nothing else is lost."""

import json
import os
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from fadump.capture.erase.erased import erase
from fadump.capture.erase.rules import read_rules
from fadump.cli import main
from fadump.linux.system import CrashedSystem, open_system
from fadump.linux.types.btf import Btf
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.linux.kernel_builder import PAGE_OFFSET
from tests.linux.typed_kernel import AT, TypedKernel, item_types
from tests.linux.types_builder import Unit, types_file
from tests.vmcore.core_builder import Load, Section, build_core, build_sections, note

SECRETS = [b"SECRET-%d-SECRET-%d" % (number, number) for number in (1, 2, 3)]
PAYLOADS = [b"PAYLOAD-%d-PAYLOAD-%d" % (number, number) for number in (1, 2, 3)]
BY_LIST = """
[[erase]]
name = "secrets of items"
start = "all_items"
type = "list_head"
walk = [{ list = "item.link" }]
data = "secret"
size = "length"
"""
FORMATS = [["--compress", "none"], ["--format", "elf"], ["--split", "2", "--compress", "none"]]


@dataclass
class Files:
    """Where a dump is, and its rules; ``save`` has the bytes of all files that it leaves."""

    directory: Path

    def write(self, kernel, rules):
        (self.directory / "vmcore").write_bytes(kernel if isinstance(kernel, bytes) else kernel.core())
        (self.directory / "rules.toml").write_text(rules)

    def command(self, *options):
        paths = [str(self.directory / name) for name in ("vmcore", "out")]
        return ["save", *paths, "--erase", str(self.directory / "rules.toml"), *options]

    def save(self, *options):
        assert main(self.command(*options)) == 0
        return self.saved()

    def saved(self):
        return b"".join(path.read_bytes() for path in sorted(self.directory.glob("out*")))


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def erased_by(kernel, rules, tmp_path, vmlinux=None):
    """The dump without what rules erase, by virtual address, and what was erased."""
    (tmp_path / "rules.toml").write_text(rules)
    system, erased = erase(CrashedSystem(kernel.dump(), vmlinux), read_rules(tmp_path / "rules.toml"))
    return system, erased


def rule(**values):
    """One rule in TOML."""
    return "[[erase]]\n" + "".join(
        f"{key} = {value if key == 'walk' else json.dumps(value)}\n" for key, value in values.items()
    )


@pytest.mark.parametrize("options", FORMATS, ids=" ".join)
def test_secrets_are_in_no_file_and_all_else_is(files, options, capsys):
    kernel = TypedKernel(messages=[b"hello from the log"])
    files.write(kernel, BY_LIST)
    raw = files.save(*options)
    assert not any(secret in raw for secret in SECRETS) and all(payload in raw for payload in PAYLOADS)
    assert raw.count(b"erase item.secret size 19\n" * 3) == (2 if "--split" in options else 1)
    assert 'rule "secrets of items", line 2: 57 bytes erased, in 3 pieces' in capsys.readouterr().out
    expected = bytearray(kernel.memory)
    for item in kernel.items:
        at = item + AT["secret"] - PAGE_OFFSET
        expected[at : at + 19] = b"X" * 19
    outputs = [path for path in sorted(files.directory.glob("out*")) if "dmesg" not in path.name]
    with open_dump(outputs) as dump:
        assert dump.read_physical(0, len(expected)) == bytes(expected)
        assert check_dump(dump).whole
        assert dump.erase_info == b"erase item.secret size 19\n" * 3


def test_a_stream_has_no_secret_either(files):
    files.write(TypedKernel(), BY_LIST)
    words = [sys.executable, "-m", "fadump", *files.command("--compress", "none")]
    words[words.index(str(files.directory / "out"))] = "-"
    done = subprocess.run(words, capture_output=True, check=True, env={**os.environ, "COLUMNS": "200"})
    assert not any(secret in done.stdout for secret in SECRETS) and PAYLOADS[0] in done.stdout
    assert b"57 bytes erased, in 3 pieces" in done.stderr


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize(
    ("values", "gone"),
    [
        ({"start": "hash_items", "type": "hlist_head", "walk": '[{ list = "item.hash" }]', "data": "secret"}, SECRETS),
        ({"start": "tree_items", "type": "rb_root", "walk": '[{ tree = "item.node" }]', "data": "secret"}, SECRETS),
        ({"start": "first_item", "type": "item*", "walk": '[{ next = "next" }]', "data": "secret"}, SECRETS),
        ({"start": "item_table.slots[*].secret", "type": "table"}, SECRETS),
        ({"start": "item_table.slots[1].secret", "type": "table"}, SECRETS[1:2]),
        ({"start": "first_item.next.secret", "type": "item*"}, SECRETS[1:2]),
        ({"start": "first_item.next", "type": "item*"}, SECRETS[1:2]),
        ({"start": "items_label", "type": "char*"}, [b"the label of all items"]),
        ({"start": "first_item.label", "type": "item*"}, [b"label-of-1"]),
        ({"start": "first_item.secret", "type": "item*", "string": True}, SECRETS[:1]),
        (
            {
                "start": "all_items",
                "type": "list_head",
                "walk": '[{ list = "item.link", where = { kind = "kind_odd" } }, { to = "payload", type = "blob" }]',
                "data": "data",
                "size": "length",
            },
            [PAYLOADS[0], PAYLOADS[2]],
        ),
        (
            {
                "start": "all_items",
                "type": "list_head",
                "walk": '[{ list = "item.link", where = { "kind.name" = "even" } }]',
                "data": "secret",
            },
            SECRETS[1:2],
        ),
        (
            {
                "start": "all_items",
                "type": "list_head",
                "walk": '[{ list = "item.link", where = { id = 3 } }]',
                "data": "secret",
            },
            SECRETS[2:],
        ),
        (
            {"start": "first_item", "type": "item*", "walk": '[{ to = "payload", type = "blob", count = 1 }]'},
            [],
        ),
    ],
)
def test_each_way_to_a_secret(tmp_path, byte_order, values, gone):
    kernel = TypedKernel(byte_order=byte_order)
    known = [*SECRETS, *PAYLOADS, b"label-of-1", b"the label of all items"]
    system, erased = erased_by(kernel, rule(**values), tmp_path)
    memory = system.dump.read_physical(0, len(kernel.memory))
    assert [text for text in known if text not in memory] == sorted(gone, key=known.index)
    assert erased[0].pieces >= 1 and not erased[0].missing_bytes
    different = sum(one != other for one, other in zip(memory, kernel.memory, strict=True))
    assert different <= erased[0].size_bytes


def test_a_symbol_and_a_size_need_no_types(tmp_path):
    kernel = TypedKernel(btf=False)
    system, _erased = erased_by(kernel, rule(start="items_label", type="void", size=8), tmp_path)
    at = kernel.kernel_symbols["Ditems_label"] - PAGE_OFFSET
    assert system.dump.read_physical(at, 9) == b"X" * 8 + bytes(kernel.memory[at + 8 : at + 9])


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"start": "all_itemz", "type": "list_head"}, "lists no symbol all_itemz"),
        ({"start": "all_items"}, "BTF doesn't say what type all_items has: say type"),
        ({"start": "all_items", "type": "lisst_head"}, "the kernel has no type lisst_head"),
        ({"start": "first_item.secrte", "type": "item*"}, "has no member secrte: did you mean secret"),
        ({"start": "first_item.payload", "type": "item*"}, "the size of what it leads to isn't known: say size"),
        ({"start": "first_item.next.next.next.secret", "type": "item*"}, "it leads to nothing"),
        ({"start": "first_item.secret", "type": "item*", "size": "x"}, "no member x in an array"),
        (
            {"start": "first_item", "type": "item*", "data": "secret", "size": "lenght"},
            "no member lenght: did you mean",
        ),
        ({"start": "first_item", "type": "item*", "walk": '[{ list = "item.link" }]'}, "pointer is no head of a list"),
        ({"start": "all_items", "type": "list_head", "walk": '[{ tree = "item.node" }]'}, "is no root of a tree"),
        (
            {"start": "all_items", "type": "list_head", "walk": '[{ list = "item.link", where = { id = 9 } }]'},
            "it leads to nothing",
        ),
        (
            {"start": "all_items", "type": "list_head", "walk": '[{ list = "item.link", where = { kind = "no" } }]'},
            "lists no symbol no",
        ),
    ],
)
def test_a_rule_that_does_not_fit_saves_nothing_or_says_so(files, values, why, capsys):
    files.write(TypedKernel(), rule(name="mine", **values))
    assert main(files.command()) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.search(rf'^fadump: rule "mine", line 1: .*{why}.*; nothing is saved', said), said
    assert not list(files.directory.glob("out*"))
    files.write(TypedKernel(), rule(name="mine", optional=True, **values) + BY_LIST)
    raw = files.save("--compress", "none")
    assert not any(secret in raw for secret in SECRETS)
    assert re.search(rf'^rule "mine", line 1: nothing is erased: .*{why}', capsys.readouterr().out, re.MULTILINE)


def test_a_kernel_without_types_is_not_saved_with_its_secrets(files, capsys):
    files.write(TypedKernel(btf=False), BY_LIST + "optional = true\n")
    assert main(files.command()) == 1
    assert "nothing says what the kernel's types are" in capsys.readouterr().err
    assert not list(files.directory.glob("out*"))


def test_a_list_that_breaks_off_erases_what_it_led_to_if_that_is_enough(files, capsys):
    kernel = TypedKernel()
    kernel.poke(kernel.items[1] + AT["link"], kernel.pack("Q", 0))
    files.write(kernel, BY_LIST)
    assert main(files.command()) == 1
    assert "breaks off: it has a NULL pointer in it; nothing is saved" in capsys.readouterr().err
    files.write(kernel, BY_LIST + "optional = true\n")
    raw = files.save("--compress", "none")
    assert [secret in raw for secret in SECRETS] == [False, False, True]


def test_a_size_that_is_damaged_has_a_limit(files, capsys):
    kernel = TypedKernel()
    kernel.poke(kernel.items[0] + AT["length"], kernel.pack("i", 0x7FFF_FFFF))
    files.write(kernel, BY_LIST)
    assert main(files.command()) == 1
    assert "bytes to erase, more than the 268,435,456" in capsys.readouterr().err
    kernel.poke(kernel.items[0] + AT["length"], kernel.pack("i", -1))
    files.write(kernel, BY_LIST)
    assert main(files.command()) == 1
    assert "its size is -1 bytes" in capsys.readouterr().err


def test_what_the_dump_lacks_is_said_and_no_error(files, capsys):
    """The last page, with the payloads of a list, isn't in the dump."""
    kernel = TypedKernel(memory_bytes=1 << 20)
    far = 0xF_0000
    kernel.memory[far - 8 : far + 8] = b"hiddenXY" + b"\0" * 8
    kernel.poke(kernel.items[0] + AT["payload"], kernel.pack("Q", PAGE_OFFSET + far - 8))
    notes = note("VMCOREINFO", 0, kernel.vmcoreinfo())
    files.write(
        build_core([Load(0, bytes(kernel.memory[:far]))], [notes]),
        rule(start="first_item.payload", type="item*", size=16),
    )
    raw = files.save("--compress", "none")
    assert b"hidden" not in raw
    said = capsys.readouterr().out
    assert 'line 1: 8 bytes erased, in 1 piece\nrule "first_item.payload", line 1: 8 bytes are not in the dump' in said


def test_a_page_that_two_pt_loads_have_is_erased_in_both(files):
    kernel = TypedKernel()
    memory = bytes(kernel.memory)
    notes = note("VMCOREINFO", 0, kernel.vmcoreinfo())
    loads = [Load(0, memory[:0x10000]), Load(0, memory), Load(0x8000, memory[0x8000:0x18000])]
    files.write(build_core(loads, [notes]), BY_LIST)
    for options in FORMATS[:2]:
        raw = files.save(*options)
        assert not any(secret in raw for secret in SECRETS)
        (files.directory / "out").unlink()


def test_the_log_beside_the_dump_has_what_its_buffer_has(files):
    kernel = TypedKernel(messages=[b"the password is hunter2-and-more", b"harmless"])
    at = bytes(kernel.memory).index(b"hunter2")
    kernel.symbol_of("password", PAGE_OFFSET + at)
    kernel.symbols_again()
    files.write(kernel, rule(start="password", type="void", size=16))
    files.save()
    log = (files.directory / "out-dmesg.txt").read_text()
    assert "the password is " + "X" * 16 in log and "harmless" in log and "hunter2" not in log


def test_copies_in_notes_are_erased_too(files):
    """VMCOREINFO's text is in memory, and a CPU's registers are in crash_notes."""
    kernel = TypedKernel()
    kernel.facts["KEY"] = "0123456789abcdefghijk"
    kernel.cpus[0] |= {f"gpr{number}": 0x0123_4567_89AB_CDEF * number & (1 << 64) - 1 for number in range(5, 9)}
    registers = kernel.pack("4Q", *(kernel.cpus[0][f"gpr{number}"] for number in range(5, 9)))
    place = kernel.symbol_of("saved_registers", kernel.place(registers))
    text = kernel.symbol_of("vmcoreinfo_data", kernel.place(b"KEY=0123456789abcdefghijk\n"))
    kernel.symbols_again()
    rules = rule(start="saved_registers", type="void", size=32) + rule(start="vmcoreinfo_data", type="void", size=25)
    assert kernel.core().count(registers) == 2 and place < text
    for options in FORMATS[:2]:
        files.write(kernel, rules)
        raw = files.save(*options)
        assert registers not in raw and b"0123456789abcdefghijk" not in raw and b"PAGESIZE=65536" in raw
        (files.directory / "out").unlink()


def test_a_hosts_name_is_gone_from_the_files_header_too(files):
    kernel = TypedKernel()
    names = [b"Linux", b"secret-host-name", b"6.12.0-fake", b"#1", b"ppc64le", b"(none)"]
    kernel.symbol("init_uts_ns", kernel.place(b"".join(name.ljust(65, b"\0") for name in names)))
    kernel.symbol_of("node_name", int(kernel.facts["SYMBOL(init_uts_ns)"], 16) + 65)
    kernel.symbols_again()
    files.write(kernel, "")
    with open_system(files.directory / "vmcore") as system:
        assert system.kernel.node == "secret-host-name"
    assert main(["save", str(files.directory / "vmcore"), str(files.directory / "first")]) == 0
    (files.directory / "vmcore").write_bytes((files.directory / "first").read_bytes())
    (files.directory / "first").unlink()
    (files.directory / "rules.toml").write_text(rule(start="node_name", type="void", size=65))
    raw = files.save("--compress", "none")
    assert b"secret-host" not in raw and raw[12 + 65 : 12 + 130].rstrip(b"\0").strip(b"X") == b""
    assert b"6.12.0-fake" in raw


def test_what_was_erased_before_stays_said(files, capsys):
    files.write(TypedKernel(), BY_LIST)
    files.save()
    (files.directory / "vmcore").write_bytes((files.directory / "out").read_bytes())
    (files.directory / "out").unlink()
    (files.directory / "rules.toml").write_text(rule(start="items_label", type="char*"))
    files.save("--format", "elf")
    (files.directory / "vmcore").write_bytes((files.directory / "out").read_bytes())
    assert main(["save", str(files.directory / "vmcore"), str(files.directory / "third")]) == 0
    wanted = b"erase item.secret size 19\n" * 3 + b"erase items_label size 22\n"
    for name in ("out", "third"):
        with open_dump(files.directory / name) as dump:
            assert dump.erase_info == wanted
    data = (files.directory / "third").read_bytes()
    (block_bytes,) = struct.unpack_from("<i", data, 428)
    offset, size_bytes = struct.unpack_from("<QQ", data, block_bytes + 64)
    assert data[offset : offset + size_bytes] == wanted
    readelf = subprocess.run(["readelf", "-n", files.directory / "out"], capture_output=True, text=True, check=True)
    assert readelf.stdout.count("ERASEINFO") == 1
    capsys.readouterr()
    main(["show", str(files.directory / "third")])
    assert "Erased   item.secret (3 times), items_label\n" in capsys.readouterr().out


def test_a_text_without_an_end_of_line_stays_a_line(files):
    kernel = TypedKernel()
    notes = note("VMCOREINFO", 0, kernel.vmcoreinfo()) + note("ERASEINFO", 0, b"erase earlier size 4")
    files.write(build_core([Load(0, bytes(kernel.memory))], [notes]), rule(start="items_label", type="char*"))
    files.save()
    with open_dump(files.directory / "out") as dump:
        assert dump.erase_info == b"erase earlier size 4\nerase items_label size 22\n"


def test_a_vmcoreinfo_of_a_kdump_compressed_source_is_erased_too(files):
    kernel = TypedKernel()
    kernel.facts["KEY"] = "0123456789abcdefghijk"
    kernel.symbol_of("vmcoreinfo_data", kernel.place(b"KEY=0123456789abcdefghijk\n"))
    kernel.symbols_again()
    files.write(kernel, "")
    assert main(["save", str(files.directory / "vmcore"), str(files.directory / "first")]) == 0
    (files.directory / "first").rename(files.directory / "vmcore")
    (files.directory / "rules.toml").write_text(rule(start="vmcoreinfo_data", type="void", size=25))
    raw = files.save("--compress", "none")
    assert b"0123456789abcdefghijk" not in raw and b"PAGESIZE=65536" in raw


@pytest.mark.parametrize("section", [".BTF", ".debug_info"])
def test_types_may_come_from_a_vmlinux(tmp_path, section):
    kernel = TypedKernel(btf=False)
    path = tmp_path / "vmlinux"
    if section == ".BTF":
        names = b"\0.shstrtab\0.BTF\0"
        sections = [Section(0, b""), Section(3, names, name_offset=1), Section(1, item_types(), name_offset=11)]
        path.write_bytes(build_sections(sections, names_section=1))
    else:
        path.write_bytes(types_file([Unit()]))
    types = CrashedSystem(kernel.dump(), path).types
    assert types.source == {".BTF": "its BTF", ".debug_info": "the vmlinux's debug information"}[section]
    assert types.find("item") == (Btf(item_types()).find("item") if section == ".BTF" else None)


def test_json_says_what_was_erased(files, capsys):
    files.write(TypedKernel(), BY_LIST + rule(start="no_such_symbol", optional=True))
    assert main(files.command("--json")) == 0
    first, second = json.loads(capsys.readouterr().out)["erased"]
    assert first == {
        "rule": "secrets of items",
        "line": 2,
        "pieces": 3,
        "bytes": 57,
        "missing_bytes": 0,
        "why_not": None,
    }
    assert second["pieces"] == 0 and "no_such_symbol" in second["why_not"]


def test_a_save_that_was_interrupted_goes_on_with_erased_bytes(files):
    files.write(TypedKernel(), BY_LIST)
    files.save("--compress", "none")
    whole = (files.directory / "out").read_bytes()
    (files.directory / "out").rename(files.directory / "out.incomplete")
    raw = files.save("--compress", "none", "--continue")
    assert (files.directory / "out").read_bytes() == whole and not any(secret in raw for secret in SECRETS)


def test_a_save_that_did_not_erase_is_not_gone_on_with(files, capsys):
    files.write(TypedKernel(), BY_LIST)
    assert main(["save", str(files.directory / "vmcore"), str(files.directory / "out")]) == 0
    (files.directory / "out").rename(files.directory / "out.incomplete")
    assert main(files.command("--continue")) == 125
    assert "was saved with other options" in capsys.readouterr().err


def test_of_several_symbols_of_one_name_none_is_guessed(files, capsys):
    kernel = TypedKernel()
    kernel.kernel_symbols["dall_items"] = kernel.place(bytes(16))
    kernel.symbols_again()
    files.write(kernel, BY_LIST)
    assert main(files.command()) == 1
    assert "the kernel has 2 symbols called all_items" in capsys.readouterr().err


def test_a_text_ends_with_its_array(tmp_path):
    kernel = TypedKernel()
    kernel.poke(kernel.items[0] + AT["secret"], b"s" * 24 + b"notthis!")
    system, erased = erased_by(kernel, rule(start="first_item.secret", type="item*", string=True), tmp_path)
    memory = system.dump.read_physical(kernel.items[0] + AT["secret"] - PAGE_OFFSET, 32)
    assert memory == b"X" * 24 + b"notthis!" and erased[0].size_bytes == 24


def test_overlapping_rules_erase_once(tmp_path):
    kernel = TypedKernel()
    both = rule(start="first_item", type="item*") + rule(start="first_item.secret", type="item*")
    system, erased = erased_by(kernel, both, tmp_path)
    at = kernel.items[0] - PAGE_OFFSET
    assert system.dump.read_physical(at - 1, 130) == bytes([kernel.memory[at - 1]]) + b"X" * 128 + bytes(
        [kernel.memory[at + 128]]
    )
    assert [one.size_bytes for one in erased] == [128, 24]


def test_a_dump_of_another_machine_says_why_not(files, capsys):
    files.write(build_core([Load(0, bytes(0x2000))], [note("VMCOREINFO", 0, b"PAGESIZE=4096\n")], machine=62), BY_LIST)
    assert main(files.command()) == 1
    assert "only the Linux of ppc64 can be looked into" in capsys.readouterr().err


def test_the_rules_for_keys_are_rules(tmp_path):
    rules = read_rules(Path(__file__).parents[3] / "examples" / "erase-keys.toml")
    assert len(rules) >= 5 and all(rule.is_optional for rule in rules)
