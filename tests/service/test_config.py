import os
import re
import subprocess
import sys
from dataclasses import MISSING, fields
from importlib.resources import files
from pathlib import Path

import pytest

from fadump.capture.options import Format
from fadump.capture.packers import Compression
from fadump.errors import SetupError
from fadump.linux.pages.page_class import DumpLevel
from fadump.service.config import (
    Config,
    ConfigError,
    HookSettings,
    KeepSettings,
    NotifySettings,
    OnFailure,
    Priority,
    SaveSettings,
    parse_config,
    read_config,
)
from fadump.service.settings import keys
from fadump.service.targets.directory import DirectorySettings
from fadump.service.targets.kinds import KINDS, settings_of

FILE = Path("/etc/fadump.toml")
DEFAULT_TEXT = (files("fadump.service") / "data" / "fadump.toml").read_text(encoding="utf-8")
LINE = re.compile(r"^line (\d+): ")
SETTING = re.compile(r"^#(?=[a-z[])", re.MULTILINE)
EXAMPLE = re.compile(r"^#  (?=[a-z[])", re.MULTILINE)
DEFAULTS = Config(
    OnFailure.KEEP,
    SaveSettings((DumpLevel(31),), Compression.ZSTD, Format.KDUMP, None, Priority.IDLE),
    (DirectorySettings(Path("/var/crash")),),
    KeepSettings(0, 0),
    HookSettings((), (), 60),
    NotifySettings((), "", "", 30),
)
ALL = """
on_failure = "reboot"
[save]
level = [1, 31]
compress = "none"
format = "elf"
threads = 3
priority = "normal"
[[target]]
type = "directory"
path = "/a"
[[target]]
type = "directory"
path = "/b/c"
[keep]
dumps = 5
bytes = "2GiB"
[hooks]
before = ["/bin/true", "a b"]
after = ["x"]
timeout = 1
[notify]
command = ["logger", "-t", "fadump"]
mail = "root"
webhook = "https://example.org/crash?x=1"
timeout = 86400
"""


def parsed(text):
    return parse_config(text.encode(), FILE)


def problems(text):
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert all(f"/etc/fadump.toml: {problem}" in str(caught.value) for problem in caught.value.problems)
    return [LINE.sub("", problem) for problem in caught.value.problems]


def lines(text):
    """The line that each problem names."""
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    return [int(found[1]) if (found := LINE.match(problem)) else None for problem in caught.value.problems]


def test_the_default_file_says_nothing_and_shows_every_default():
    assert parsed(DEFAULT_TEXT) == parsed("") == DEFAULTS
    shown = SETTING.sub("", DEFAULT_TEXT)
    assert parsed(shown) == DEFAULTS
    for line in ALL.splitlines():
        key = line.partition(" =")[0]
        assert re.search(rf"^{re.escape(key)}( =|$)", shown, re.MULTILINE), f"the default file lacks {key}"


def test_the_default_file_shows_every_type_of_target_with_its_defaults():
    shown = EXAMPLE.sub("", SETTING.sub("", DEFAULT_TEXT))
    targets = parsed(shown).targets
    assert {*map(type, targets)} == {*map(settings_of, KINDS)} and len(targets) == len(KINDS)
    for target, text in zip(targets, shown.split("[[target]]")[1:], strict=True):
        written = re.findall(r"^(\w+) =", text.partition("\n[")[0], re.MULTILINE)
        assert {*written} == {"type", *keys(type(target))}
        for field in fields(target):
            assert getattr(target, field.name) == field.default or field.default is MISSING


def test_every_setting_is_read():
    assert parsed(ALL) == Config(
        OnFailure.REBOOT,
        SaveSettings((DumpLevel(1), DumpLevel(31)), Compression.NONE, Format.ELF, 3, Priority.NORMAL),
        (DirectorySettings(Path("/a")), DirectorySettings(Path("/b/c"))),
        KeepSettings(5, 2 << 30),
        HookSettings(("/bin/true", "a b"), ("x",), 1),
        NotifySettings(("logger", "-t", "fadump"), "root", "https://example.org/crash?x=1", 86400),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('on_failure = "halt"', 'on_failure is "halt": allowed is "keep" or "shell" or "reboot" or "poweroff"'),
        ("on_fail = 1", "on_fail is no setting: did you mean on_failure? There are on_failure, save, keep, hooks, "),
        ("[save]\nlevel = 32", "save.level is 32: allowed is a level from 0 to 31, or a list of those"),
        ("[save]\nlevel = []", "save.level is []: allowed is a level"),
        ("[save]\nlevel = [31, true]", "save.level is [31, true]: allowed is a level"),
        ("[save]\nthreads = 0", 'save.threads is 0: allowed is "auto", or a number from 1 to 1024'),
        ("[save]\nthreads = true", "save.threads is true: allowed is"),
        ('[save]\ncompress = "gzip"', 'save.compress is "gzip": allowed is "zlib" or "zstd" or'),
        ("[save]\nformat = 2001-01-01", 'save.format is "2001-01-01": allowed is "kdump" or "elf"'),
        ("save = 3", "save is 3: allowed is a table [save] with level, compress, format, threads, priority"),
        ('[keep]\nbytes = "10X"', 'keep.bytes is "10X": allowed is bytes, as 1000000 or "10G"'),
        ("[keep]\nbytes = -1", "keep.bytes is -1: allowed is"),
        ('[keep]\nbytes = "4194305T"', 'keep.bytes is "4194305T": allowed is'),
        (
            'target = [{type = "directory", path = "/a\\nb"}]',
            'target 1: path is "/a\\nb": allowed is a path from / on, printable and without ..',
        ),
        ("[keep]\ndumps = 1.5", "keep.dumps is 1.5: allowed is a number from 0"),
        ('[hooks]\nbefore = "ls -l"', 'hooks.before is "ls -l": allowed is a list, each a word'),
        ('[hooks]\nafter = [""]', 'hooks.after is [""]: allowed is a list'),
        ('[hooks]\nafter = ["a\\u0000"]', "hooks.after is"),
        ("[hooks]\ntimeout = 0", "hooks.timeout is 0: allowed is seconds from 1 to 86400"),
        ('[notify]\nwebhook = "ftp://x"', 'notify.webhook is "ftp://x": allowed is an address that begins with http'),
        ('[notify]\nmail = "a b"', 'notify.mail is "a b": allowed is an address'),
        ('target = "x"', 'target is "x": allowed are tables [[target]], each with a type'),
        ("target = []", "target is []: allowed are tables [[target]]"),
        ("[target]\npath = 1", 'target is {"path": 1}: allowed are tables [[target]]'),
        ("[[target]]\n", 'target 1: type is missing: "directory" or'),
        ('[[target]]\ntype = "ftp"', 'target 1: type is "ftp": allowed is "directory" or'),
        ('[[target]]\ntype = "directory"\npath = "x"', 'target 1: path is "x": allowed is a path from / on'),
        ('[[target]]\ntype = "directory"\npath = "/x/.."', 'target 1: path is "/x/..": allowed is a path from / on'),
        ('[[target]]\ntype = "directory"\npaht = "/"', "target 1: paht is no setting: did you mean path? "),
        ("a = = 1", "it is not TOML: "),
        ("a" + "[" * 100_000, "it is not TOML: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_what_is_allowed(text, problem):
    (found,) = problems(text)
    assert found.startswith(problem)


def test_all_that_is_wrong_is_said_at_once():
    found = problems('x = 1\n[save]\nlevel = 99\nthreads = 0\n[[target]]\n[[target]]\ntype = "directory"\npath = 1')
    assert [problem.split(" is ")[0] for problem in found] == [
        *("x", "save.level", "save.threads", "target 1: type", "target 2: path"),
    ]


TARGETS = """[[target]]
type = "directory"
[[target]]
type = "ssh"
[[target]]
type = "directory"
path = 1
paht = 1
[[target]]
"""


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("# first\nx = 1\n", [2]),
        ("\n  [ save ] # it's\nlevel = 31\nthreads = 0\n", [4]),
        ('save.level = 32\n"on failure" = 1', [2, 1]),
        ("save = {level = 32}\n", [1]),
        ("[keep]\ndumps = 1\n[save]\nlevel = [\n1,\n32]\n", [4]),
        ("target = 1", [1]),
        ("a = 1\nb = = 1", [None]),
        (TARGETS, [3, 8, 7, 9]),
    ],
)
def test_the_line_is_said(text, at):
    assert lines(text) == at


def test_of_what_is_not_toml_the_parser_says_the_line():
    (problem,) = problems("a = 1\nb = = 1")
    assert "line 2" in problem


def test_bytes_that_are_no_text_are_one_sentence():
    with pytest.raises(ConfigError, match=r"^/etc/fadump.toml: its bytes from 1 on are not UTF-8"):
        parse_config(b"#\xff", FILE)


def test_a_file_that_is_not_there_stands_for_the_defaults_only_where_none_was_named(tmp_path):
    assert read_config(tmp_path / "none", may_be_missing=True) == DEFAULTS
    with pytest.raises(SetupError, match="none can't be read: No such file"):
        read_config(tmp_path / "none")
    with pytest.raises(SetupError, match="is a directory"):
        read_config(tmp_path, may_be_missing=True)


def test_a_configuration_that_is_no_file_or_has_no_end_is_one_sentence(tmp_path):
    """No default takes its place, and nothing waits for it."""
    path = tmp_path / "fadump.toml"
    path.symlink_to("nowhere")
    with pytest.raises(SetupError, match="can't be read: No such file"):
        read_config(path, may_be_missing=True)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SetupError, match="is no file: put a file there"):
        read_config(path, may_be_missing=True)
    path.unlink()
    path.write_bytes(b"#" * (1 << 20))
    assert read_config(path) == DEFAULTS
    os.truncate(path, 1 << 40)
    with pytest.raises(SetupError, match="more than 1,048,576 bytes"):
        read_config(path)


@pytest.mark.parametrize("value", ["9" * 5000, "0x" + "f" * 5000, "[" * 300 + "]" * 300, f'"{"x" * 5000}"'])
def test_what_is_wrong_is_shown_in_a_line(value):
    (problem,) = problems(f"[save]\nlevel = {value}")
    assert problem.startswith(("save.level is ", "it is not TOML: ")) and len(problem) < 400


def test_tables_in_each_other_without_an_end_are_one_sentence():
    (problem,) = problems(f"save.level{'.a' * 3000} = 1")
    assert problem.startswith("save.level is too much to be shown: allowed is a level")


@pytest.mark.parametrize("key", [r"\u001b[2J", r"a\nb"])
def test_a_key_that_is_no_word_is_shown_as_it_is_written(key):
    assert problems(f'"{key}" = 1')[0].startswith(f'"{key}" is no setting: There are ')


@pytest.mark.parametrize("mail", ["<", '"', "a@[", "a,b", ".", "a..b", "\u00f6@x", "a@b@c", "a(b"])
def test_an_address_that_no_mail_can_be_sent_to_is_refused(mail):
    assert problems(f"[notify]\nmail = '{mail}'")[0].endswith('allowed is an address, or "" for none')


@pytest.mark.parametrize(
    "target",
    [
        r'type = "directory"@path = "/a\nb"',
        r'type = "filesystem"@device = "UUID=x"@path = "a\u001bb"',
        r'type = "raw"@device = "/dev/\n/../../etc/passwd"',
    ],
)
def test_a_name_with_control_characters_is_refused(target):
    (problem,) = problems("[[target]]\n" + target.replace("@", "\n"))
    assert problem.startswith(("target 1: path is ", "target 1: device is "))


def test_the_service_starts_nothing_of_the_machines():
    script = "import sys, fadump.service.config; print([name for name in sys.modules if 'qemu' in name])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_the_document_has_every_setting_with_its_default():
    text = (Path(__file__).parent.parent.parent / "docs" / "production.md").read_text()
    tables = {
        "": Config,
        "save.": SaveSettings,
        "keep.": KeepSettings,
        "hooks.": HookSettings,
        "notify.": NotifySettings,
    }
    for table, settings in tables.items():
        for key in keys(settings):
            assert f"`{table}{key}`" in text, f"docs/production.md lacks {table}{key}"
    for name in KINDS:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert all(f"`{key}`" in row for key in keys(settings_of(name)))
