"""Files of rules: what they say, and what is said of a wrong one."""

import re

import pytest

from fadump.capture.erase.rules import Condition, RuleError, Step, Way, read_rules
from fadump.errors import SetupError

GOOD = """
# what nobody else shall know
[[erase]]
start = "item_table.slots[*]"
size = 8

[[ erase ]]  # with a comment
name = "keys"
start = "key_serial_tree"
type = "struct rb_root"
walk = [
    { tree = "key.serial_node", where = { "type.name" = "user", perm = 3 } },
    { to = "payload.data[0]", type = "user_key_payload", count = "n" },
    { next = "rcu.next" },
]
data = "data"
size = "datalen"
optional = true
"""


def rules(tmp_path, text):
    path = tmp_path / "rules.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_rules(path)


def test_every_key(tmp_path):
    first, second = rules(tmp_path, GOOD)
    assert (first.name, first.line, first.symbol, first.size) == ("item_table.slots[*]", 3, "item_table", 8)
    assert first.expression == "item_table.slots[*]" and not first.is_optional and not first.is_string
    assert str(second) == 'rule "keys", line 7' and second.is_optional
    where = (Condition(("type", "name"), "user"), Condition(("perm",), 3))
    assert second.steps == (
        Step(Way.TREE, ("serial_node",), "key", None, where),
        Step(Way.TO, ("payload", "data", 0), "user_key_payload", ("n",), ()),
        Step(Way.NEXT, ("rcu", "next"), None, None, ()),
    )
    assert (second.type_name, second.data, second.size) == ("struct rb_root", ("data",), ("datalen",))
    assert second.expression == "user_key_payload.data"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            '[[erase]]\nstrat = "x"',
            'line 1, rule "number 1": "strat" is no key of it .did you mean start.*; there are name',
        ),
        ('\n\n[[erase]]\nname = "n"', 'line 3, rule "n": start is missing'),
        ('[[erase]]\nstart = "a..b"', "line 1, rule .*'a..b' is no path"),
        ('[[erase]]\nstart = ""', 'start is "": allowed is a text of one line'),
        ("[[erase]]\nstart = 5", "start is 5: allowed is a text"),
        ('[[erase]]\nstart = "a"\nsize = 0', "size is 0: allowed is a number from 1 to"),
        ('[[erase]]\nstart = "a"\nsize = true', "size is True: allowed is a whole number or a path"),
        ('[[erase]]\nstart = "a"\nsize = 1.5', "size is 1.5: allowed is a whole number or a path"),
        ('[[erase]]\nstart = "a"\nsize = 9\nstring = true', "string and size don't go together"),
        ('[[erase]]\nstart = "a"\noptional = "yes"', 'optional is "yes": allowed is true or false'),
        ('[[erase]]\nstart = "a"\nwalk = "b"', "walk is a list of tables"),
        ('[[erase]]\nstart = "a"\nwalk = [{}]', "step 1 of walk has one of list, tree, next, to, and not 0"),
        ('[[erase]]\nstart = "a"\nwalk = [{ list = "a.b", to = "c" }]', "and not 2 of them"),
        ('[[erase]]\nstart = "a"\nwalk = [{ list = "task_struct" }]', "list is a structure and its member"),
        ('[[erase]]\nstart = "a"\nwalk = [{ list = "a.b", type = "c" }]', "a list has its type in front"),
        ('[[erase]]\nstart = "a"\nwalk = [{ next = "b", count = 2 }]', "count goes with to"),
        ('[[erase]]\nstart = "a"\nwalk = [{ to = "b", wehre = 1 }]', '"wehre" is no key of it .did you mean where'),
        ('[[erase]]\nstart = "a"\nwalk = [{ to = "b", where = 1 }]', "where is a table"),
        ('[[erase]]\nstart = "a"\nwalk = [{ to = "b", where = { c = [] } }]', r"where c is \[\]"),
        ('[[erase]]\nstart = "a"\nname = "' + "n" * 81 + '"', "name is up to 80 characters"),
        ('[[erase]]\nstart = "a"\nwalk = [' + '{ to = "b" },' * 33 + "]", "walk has more than 32 steps"),
        ('[[erases]]\nstart = "a"', "'erases' is no key of such a file; each rule begins with"),
        ("erase = 3", "there is no rule in it"),
        ("", "there is no rule in it"),
        ("[[erase]\n", "is no TOML"),
        (b"\xff", "is no TOML"),
        ("#" * ((1 << 20) + 1), "that is no file of rules"),
        ("a = " + "[" * 5000, "is no TOML"),
        ('erase = [{ start = "a", size = "b c" }]', "rules.toml, rule \"a\": 'b c' is no path"),
    ],
)
def test_a_wrong_one_is_one_sentence(tmp_path, text, why):
    with pytest.raises(RuleError, match=why) as caught:
        rules(tmp_path, text)
    assert re.match(rf"--erase {tmp_path}/rules.toml", str(caught.value)) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SetupError, match="--erase .*: No such file"):
        read_rules(tmp_path / "none")
    with pytest.raises(SetupError, match="is a directory: give a file"):
        read_rules(tmp_path)
