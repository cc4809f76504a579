import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.report.redact import Words, hosts_of

HIDES = Words.of(redacts=True, names=["db1.corp.example", None, "(none)"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("systemd[1]: Hostname set to <db1.corp.example>.", "systemd[1]: Hostname set to <(host)>."),
        ("DB1 says hello, db10 not", "(host) says hello, db10 not"),
        ("eth0: 52:54:00:12:34:56, 10.0.2.15/24", "eth0: (address), (address)/24"),
        ("route to fe80::5054:ff:fe12:3456 and 2001:db8::1.", "route to (address) and (address)."),
        ("Kernel command line: root=/dev/vda1 password=x", "Kernel command line: (command line)"),
        (
            "Using kernel command line parameters: rd.x=y root=/dev/vda1",
            "Using kernel command line parameters: (command line)",
        ),
        (
            'Unknown kernel command line parameters "pw="x" splash", will be passed to user space.',
            "Unknown kernel command line parameters (command line), will be passed to user space.",
        ),
        ("systemd[1]: Hostname set to <first>.", "systemd[1]: Hostname set to <(host)>."),
        ("systemd[1]: Set hostname to <first>.", "systemd[1]: Set hostname to <(host)>."),
        ("Started Session 3 of User jane.", "Started Session 3 of User (user)."),
        ("bootargs: none, 12:34:56 and 0000:00:01.0 stay", "bootargs: none, 12:34:56 and 0000:00:01.0 stay"),
        ("version 6.12.117 stays", "version 6.12.117 stays"),
        ("[c0000000044dfa80] panic+0x164/0x4b4", "[c0000000044dfa80] panic+0x164/0x4b4"),
        ("db2.corp.example and corp.example, not mycorp.example", "(host) and (host), not mycorp.example"),
        ("nfs: server store2 not responding, still trying", "nfs: server (host) not responding, still trying"),
        ("nfs: server store2.lan OK", "nfs: server (host) OK"),
        ("the server is not responding, server port 7 OK", "the server is not responding, server port 7 OK"),
        ("CIFS: Attempting to mount //store2/share", "CIFS: Attempting to mount //(host)/share"),
        ("see https://docs.kernel.org/x, /a//b/c stays", "see https://docs.kernel.org/x, /a//b/c stays"),
        (r"CIFS: VFS: \\store2 has not responded", r"CIFS: VFS: \\(host) has not responded"),
        ("Linux version 6.12.0 (jane@build7) (gcc 14)", "Linux version 6.12.0 ((user)@(host)) (gcc 14)"),
        ("ask jane.doe@corp.test, please", "ask (user)@(host), please"),
        ("/pci@800000020000000/ethernet@0,1 stays", "/pci@800000020000000/ethernet@0,1 stays"),
        ("New session 3 of user jane.", "New session 3 of user (user)."),
        ("session opened for user j.doe(uid=7) by", "session opened for user (user)(uid=7) by"),
        ("memory for user space stays", "memory for user space stays"),
        ('audit: acct="jane" hostname=web1 addr=?', 'audit: acct="(user)" hostname=(host) addr=?'),
        ("pam: ruser= user=jane rhost=gate.lan", "pam: ruser= user=(user) rhost=(host)"),
        ("acct=? superuser=1 stays", "acct=? superuser=1 stays"),
        ("mounted /home/jane/data, /home stays", "mounted /home/(user)/data, /home stays"),
        ("audit: proctitle=2F62696E2F6C73", "audit: proctitle=(command line)"),
        ('audit: argc=2 a0="cat" a1="/secret"', "audit: argc=(command line)"),
        ("sudo: PWD=/ ; COMMAND=/bin/cat secret", "sudo: PWD=/ ; COMMAND=(command line)"),
        (
            "EXT4-fs (vda1): mounted filesystem 3e1b9d0a-8f3e-4c52-9d3a-0f1e2d3c4b5a r/w",
            "EXT4-fs (vda1): mounted filesystem (UUID) r/w",
        ),
        ("usb 1-1: SerialNumber: AB12-34", "usb 1-1: SerialNumber: (serial number)"),
        ("disk, serial number 0x5000abcd", "disk, serial number (serial number)"),
        ("sdb: S/N: 12AB, serial=99", "sdb: S/N: (serial number), serial=(serial number)"),
        ("Serial: 8250/16550 driver, 4 ports", "Serial: 8250/16550 driver, 4 ports"),
        ("EEH: PHB location: U78CB.001.WZS0BTP-P1-C6", "EEH: PHB location: (serial number)"),
        ("vio U9009.22A.7801234-V1-C2-T1: gone", "vio (serial number): gone"),
        ("ib0: " + ":".join(f"{number:02x}" for number in range(20)), "ib0: (address)"),
    ],
)
def test_what_is_hidden_on_demand(text, told):
    assert HIDES.tell(text) == told
    assert Words().tell(text) == text


@pytest.mark.parametrize(
    ("source", "host"),
    [
        ("store2:/export", "store2"),
        ("jane@store2.lan:/home", "store2.lan"),
        ("//store2/share", "store2"),
        ("[fe80::1]:/export", None),
        ("/dev/sda:/dev/sdb", None),
        ("10.1.2.3:/export", None),
        ("/dev/vda1", None),
        ("tmpfs", None),
    ],
)
def test_the_host_that_something_is_mounted_from(source, host):
    assert hosts_of([source, source]) == ([] if host is None else [host])


def test_of_very_many_hosts_only_the_first_are_looked_for():
    assert hosts_of(f"host{number}:/" for number in range(1000)) == [f"host{number}" for number in range(256)]


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
