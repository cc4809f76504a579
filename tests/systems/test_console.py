"""A console that nobody sits at: when its system is ready, and what it says of trouble."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.systems.console import WatchedConsole


@pytest.fixture
def console():
    console = WatchedConsole(io.BytesIO())
    console.changes = []
    console.changed = lambda: console.changes.append(console.is_ready)
    return console


@pytest.mark.parametrize(
    "shown",
    [
        b"\r\nDebian GNU/Linux forky power hvc0\r\n\r\npower login: ",
        b"root@power:~# ",
        b"\x1b[?2004hroot@power:~# ",
        b"\x1b]0;root@power: ~\x07root@power:~#",
        b"$ ",
        b"localhost login:",
    ],
)
def test_a_prompt_at_the_end_is_a_system_that_is_ready(console, shown):
    console.write(shown)
    assert console.is_ready and console.changes == [True]
    console.write(b"root\r\n")
    assert not console.is_ready and console.changes == [True, False]


@pytest.mark.parametrize(
    "shown", [b"", b"Last login: Sun\r\n", b"[    1.2] # CPUs: 2\r\n", b"Loading Linux ...", b"login: x"]
)
def test_what_is_no_prompt_is_none(console, shown):
    console.write(shown)
    assert not console.is_ready and not console.changes


def test_only_a_prompt_of_roots_takes_commands(console):
    console.write(b"power login: ")
    assert not console.has_root_prompt
    console.write(b"\r\nroot@power:~# ")
    assert console.has_root_prompt
    console.write(b"\r\nuser@power:~$ ")
    assert not console.has_root_prompt


def test_a_reset_ends_readiness_and_begins_a_line(console):
    console.write(b"root@power:~# ")
    console.forget()
    assert not console.is_ready and not console.has_root_prompt
    console.write(b"\r\nSLOF\r\nroot@power:~# ")
    assert console.is_ready


def test_lines_of_trouble_are_kept_once_and_told_at_once(console):
    console.write(
        b"[  9.1] systemd invoked oom-killer: gfp_mask=0\r\n[  9.2] Out of memory: Killed process 200 (cp)\r\n"
    )
    console.write(b"[ 10.0] Kernel panic - not syncing: System is deadlocked on memory\r\n")
    assert len(console.changes) == 3
    alarm = console.take_alarm()
    assert [line.split()[2] for line in alarm.out_of_memory] == ["systemd", "Out"]
    assert alarm.panics == ("[ 10.0] Kernel panic - not syncing: System is deadlocked on memory",)
    assert console.take_alarm().out_of_memory == console.take_alarm().panics == ()


def test_lines_are_quoted_with_their_first_200_characters(console):
    long = b"x" * 70_000
    console.write(b"Out of memory: " + long + b"\nKernel panic - not syncing: " + long + b"\nE3404: " + long + b"\n")
    console.write(b"Timed out waiting for device dev-hvc0" + long + b"\n" + b"y" * 200 + b"\n  z" + long + b"\nlast")
    alarm = console.take_alarm()
    assert alarm.out_of_memory == ("Out of memory: " + "x" * 185 + "…",)
    assert alarm.panics == ("Kernel panic - not syncing: " + "x" * 172 + "…",)
    assert alarm.no_boot_loader == ("E3404: " + "x" * 193 + "…",)
    assert console.missed_console == "dev-hvc0" + "x" * 192 + "…"
    console.write(b"\n" + b"y" * 200 + b"\n  z" + b"x" * 300 + b"\nlast")
    assert console.last_lines[-3:] == ["y" * 200, "z" + "x" * 199 + "…", "last"]


def test_numbers_that_no_kernel_says_are_not_taken(console):
    digits = b"9" * 5000
    console.write(
        b"fadump: Reserved " + digits + b"MB of memory at 0\nMemory: " + digits + b"K/" + digits + b"K available\n"
    )
    assert console.reserved_bytes is console.available_bytes is None


SLOF = b"Trying to load:  from: /pci@800000020000000/scsi@0 ... \r\nE3404: Not a bootable device!\r\n"
LINUX = (
    b"[    0.000000] fadump: Reserved 512MB of memory at 0x00000030000000 (System RAM: 4096MB)\r\n"
    b"[    0.206702] Memory: 467456K/4194304K available (9216K kernel code, 3718848K reserved)\r\n"
)


def test_a_disk_that_slof_cannot_start_is_trouble_until_a_kernel_runs(console):
    console.write(SLOF)
    assert console.take_alarm().no_boot_loader == ("E3404: Not a bootable device!",)
    console.write(LINUX + SLOF)
    assert console.take_alarm().no_boot_loader == ()
    console.forget()
    console.write(SLOF)
    assert console.take_alarm().no_boot_loader and len(console.changes) == 2


def test_what_a_kernel_says_of_its_memory_is_known(console):
    assert (console.reserved_bytes, console.available_bytes) == (None, None)
    console.write(LINUX)
    assert (console.reserved_bytes, console.available_bytes) == (512 << 20, 467456 << 10)
    console.forget()
    assert (console.reserved_bytes, console.available_bytes) == (512 << 20, None)


@pytest.mark.parametrize(
    ("said", "console_name"),
    [
        (b"Timed out waiting for device \x1b[0;1;39mdev-hvc0.device\x1b[0m - /dev/hvc0.\r\n", "dev-hvc0"),
        (b"[ TIME ] Timed out waiting for device /dev/ttyS0.\r\n", "/dev/ttyS0"),
        (b"[ TIME ] Timed out waiting for device dev-vdb1.device - /dev/vdb1.\r\n", None),
    ],
)
def test_a_console_that_systemd_has_missed_is_known_until_the_next_boot(console, said, console_name):
    console.write(b"[  OK  ] Found device \x1b[0;1;39mdev-hvc0.device\x1b[0m - /dev/hvc0.\r\n")
    assert console.missed_console is None
    console.write(said)
    assert console.missed_console == console_name
    console.forget()
    assert console.missed_console is None


def test_the_last_lines_are_those_that_say_anything(console):
    console.write(b"".join(b"line %d\r\n\r\n" % number for number in range(30)) + b"\x1b[1mlast")
    assert console.last_lines == [*(f"line {number}" for number in range(19, 30)), "last"]


@pytest.mark.parametrize("escape", [b"\x1bM", b"\x1b7", b"\x1b(B", b"\x1b[K", b"\x1b]0;title\x1b\\"])
def test_a_line_is_without_what_moves_the_cursor(console, escape):
    """As systemd goes up a line for its "(1 of 2) Job ...": ECMA-48, 5.3 and 5.4; ECMA-35, 13.2."""
    console.write(escape + b"[ ***  ] (1 of 2)" + escape + b" Job\r\n")
    assert console.last_lines == ["[ ***  ] (1 of 2) Job"]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_pieces_say_the_same_as_the_whole_and_the_log_has_all_of_it(shown, cuts):
    whole, log = WatchedConsole(io.BytesIO()), io.BytesIO()
    pieces = WatchedConsole(log)
    whole.write(shown.decode("latin-1").encode())
    text = shown.decode("latin-1")
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(text)], strict=True):
        pieces.write(text[start:end].encode())
    assert pieces.is_ready == whole.is_ready
    assert pieces.last_lines == whole.last_lines
    assert log.getvalue().decode() == text


FALLEN_BACK = b"""\
[    0.0] fadump: Can't enable fadump with boot memory size (0x10000000) less than 0x14000000\r
[    0.0] Reserving 256MB of memory at 128MB for crashkernel (System RAM: 4096MB)\r
"""


def test_memory_that_is_reserved_for_kdump_is_known_and_why(console):
    console.write(FALLEN_BACK)
    assert console.kdump_bytes == 256 << 20
    assert console.not_enabled == (
        "fadump: Can't enable fadump with boot memory size (0x10000000) less than 0x14000000"
    )
    console.forget()
    assert (console.kdump_bytes, console.not_enabled) == (None, None)


def test_kernels_are_counted_whether_the_machine_was_reset_or_not(console):
    memory = b"[    0.3] Memory: 738624K/1048576K available (9216K kernel code)\r\n"
    console.write(memory + b"[   99.0] Kernel panic - not syncing: sysrq triggered crash\r\n" + memory)
    assert (console.boots, console.hangs) == (2, False)
    console.forget()
    console.write(memory)
    assert console.boots == 3


def test_a_kernel_that_hangs_after_its_panic_is_told_from_one_that_goes_on(console):
    console.write(b"[   99.0] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\r\n")
    assert console.hangs
    console.forget()
    assert not console.hangs
