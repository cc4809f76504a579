import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.report.redact import Words

HIDES = Words.of(redacts=True, names=["db1.corp.example", None, "(none)"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("systemd[1]: Hostname set to <db1.corp.example>.", "systemd[1]: Hostname set to <(host)>."),
        ("DB1 says hello, db10 not", "(host) says hello, db10 not"),
        ("eth0: 52:54:00:12:34:56, 10.0.2.15/24", "eth0: (address), (address)/24"),
        ("route to fe80::5054:ff:fe12:3456 and 2001:db8::1.", "route to (address) and (address)."),
        ("Kernel command line: root=/dev/vda1 password=x", "Kernel command line: (command line)"),
        ("bootargs: none, 12:34:56 and 0000:00:01.0 stay", "bootargs: none, 12:34:56 and 0000:00:01.0 stay"),
        ("version 6.12.117 stays", "version 6.12.117 stays"),
        ("[c0000000044dfa80] panic+0x164/0x4b4", "[c0000000044dfa80] panic+0x164/0x4b4"),
    ],
)
def test_what_is_hidden_on_demand(text, told):
    assert HIDES.tell(text) == told
    assert Words().tell(text) == text


def test_variables_of_the_environment_are_never_told():
    texts = [
        "Run /init as init process",
        "  with arguments:",
        "    /init",
        "    secret",
        "  with environment:",
        "    HOME=/",
        "    TOKEN=abc\n    d",
        "next",
    ]
    shown = Words().tell_log(texts)
    assert "TOKEN" not in str(shown) and "HOME" not in str(shown) and shown[3] == "    secret" and shown[-1] == "next"
    hidden = HIDES.tell_log(texts)
    assert "secret" not in str(hidden) and "TOKEN" not in str(hidden) and hidden[-1] == "next"


def test_a_message_without_text_stays_one():
    assert Words().tell_log([None, "a"]) == [None, "a"]


@given(st.text())
def test_nothing_told_controls_a_terminal(text):
    for words in (Words(), HIDES):
        assert words.tell(text).isprintable()
        assert all(line.replace("\t", "").isprintable() for line in words.tell_log([text])[0].split("\n"))
