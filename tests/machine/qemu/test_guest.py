"""The lines of docs/guest-channel.md: a report becomes its type, or is refused by the name of what is wrong."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import MachineError
from fadump.machine.channel import (
    BootMode,
    Crash,
    Crashing,
    Failed,
    Hello,
    KdumpLoaded,
    LoadKdump,
    Register,
    Registered,
    Release,
    Released,
    Report,
    Reregister,
    RunScript,
    Save,
    Saved,
    SavedOpalCore,
    SaveOpalCore,
    Saving,
    SavingProgress,
    ScriptRan,
    Shell,
    ShellLeft,
    Unregister,
    Unregistered,
)
from fadump.machine.qemu.guest import LONGEST_LINE_BYTES, decode_report, encode_request, read_report
from fadump.memory.ranges import Range

HELLO = (
    "hello protocol=1 mode=capture release=6.12.107-fadump cpus=2 memory_kb=491712 page_size=65536 "
    "fadump_enabled=1 fadump_registered=0 opalcore=absent crash_size=0"
)
REPORTS = {
    HELLO: Hello(BootMode.CAPTURE, "6.12.107-fadump", 2, 491712 * 1024, 65536, True, False, None, 0),
    "hello protocol=1 mode=first release=6 cpus=1 memory_kb=1 page_size=4096 fadump_enabled=absent "
    "fadump_registered=absent opalcore=77 crash_size=absent": Hello(BootMode.FIRST, "6", 1, 1024, 4096, None, None, 77),
    HELLO.replace("capture", "kdump"): Hello(
        BootMode.KDUMP, "6.12.107-fadump", 2, 491712 * 1024, 65536, True, False, None, 0
    ),
    "loaded_kdump start=536870912 bytes=65536 reason=fadump: Can't enable it": KdumpLoaded(
        Range(0x2000_0000, 0x2001_0000), "fadump: Can't enable it"
    ),
    "loaded_kdump start=0 bytes=1 reason=": KdumpLoaded(Range(0, 1), None),
    "registered mem_reserved=536936880 registered=1 regions=QUJD": Registered(536936880, b"ABC"),
    "registered mem_reserved=absent registered=1 regions=absent": Registered(None, None),
    "unregistered registered=0": Unregistered(),
    "crashing cpu=3": Crashing(3),
    "saving bytes=42": Saving(42),
    "progress bytes=0": SavingProgress(0),
    "saved bytes=42": Saved(42),
    "saved_opalcore bytes=7 offset=1048576": SavedOpalCore(7, 1 << 20),
    "released bytes=1073741824": Released(1 << 30),
    "ran status=127 bytes=5 base64=QUJD": ScriptRan(127, 5, b"ABC"),
    "failed step=register reason=Invalid argument = a b=c": Failed("register", "Invalid argument = a b=c"),
    "left": ShellLeft(),
    "failed step=register reason=": Failed("register", ""),
}
VALUES = st.one_of(
    st.text(),
    st.text("0123456789"),
    st.integers(1, 10_000).map(lambda digits: "9" * digits),
    st.binary().map(lambda value: value.decode(errors="surrogateescape")),
)
FIELDS = [
    (line, word.partition("=")[0])
    for line in REPORTS
    for word in line.partition(" reason=")[0].split()[1:]
] + [("failed step=x reason=why", "reason")]  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (Register(), b"register\n"),
        (
            LoadKdump(Range(1 << 20, (1 << 20) + 77), Range(2 << 20, (2 << 20) + 5)),
            b"load_kdump kernel_at=1048576 kernel_bytes=77 initrd_at=2097152 initrd_bytes=5\n",
        ),
        (Crash(3), b"crash cpu=3\n"),
        (Save(), b"save\n"),
        (SaveOpalCore(), b"save_opalcore\n"),
        (Release(), b"release\n"),
        (Reregister(), b"reregister\n"),
        (Unregister(), b"unregister\n"),
        (RunScript("nproc\n"), b"run b64=bnByb2MK\n"),
        (Shell(BootMode.FIRST), b"shell mode=first\n"),
        (Shell(BootMode.CAPTURE), b"shell mode=capture\n"),
    ],
)
def test_a_request_is_one_line(request_, line):
    assert encode_request(request_) == line


@pytest.mark.parametrize("line", REPORTS)
def test_a_report_becomes_its_type(line):
    report = decode_report(f"{line}\n".encode())
    assert report == REPORTS[line]
    assert report.word == line.split()[0]


@pytest.mark.parametrize(("line", "key"), FIELDS)
def test_a_report_that_lacks_a_field_is_refused_by_the_fields_name(line, key):
    words = line.partition(" reason=") if key == "reason" else line.split()
    left = [words[0]] if key == "reason" else [word for word in words if not word.startswith(f"{key}=")]
    with pytest.raises(MachineError, match=f"^the guest reported {line.split()[0]} without {key}$"):
        decode_report(" ".join(left).encode())


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("saved bytes=lots", "saved with bytes='lots', not a number"),
        ("saved bytes=-1", "saved with bytes='-1', not a number"),
        ("saved bytes=\u0664", "saved with bytes='\u0664', not a number"),
        ("saved bytes=", "saved with bytes='', not a number"),
        (HELLO.replace("mode=capture", "mode=second"), "hello with mode='second', not first or capture or kdump"),
        (HELLO.replace("protocol=1", "protocol=2"), "hello with protocol='2', not 1"),
        (HELLO.replace("enabled=1", "enabled=yes"), "hello with fadump_enabled='yes', not 0 or 1"),
        ("registered mem_reserved=1 registered=0 regions=absent", "registered with registered='0', not 1"),
        ("unregistered registered=1", "unregistered with registered='1', not 0"),
        (f"saved bytes={10**20}", f"saved with bytes='{10**20}', not a number of at most 20 digits"),
        (f"saved bytes={'0' * 5000}", f"saved with bytes='{'0' * 80}', not a number of at most 20 digits"),
        (HELLO.replace("protocol=1", f"protocol={'1' * 21}"), f"hello with protocol='{'1' * 21}', not a number .*"),
        ("ran status=0 bytes=1 base64=?", r"ran with base64='\?', not base64"),
        (b"ran status=0 bytes=1 base64=\xff", "ran with base64='\ufffd', not base64"),
        (b"registered mem_reserved=1 registered=1 regions=\xff", "registered with regions='\ufffd', not base64"),
        ("registered mem_reserved=1 registered=1 regions=\u0664", "registered with regions='\u0664', not base64"),
        ("saved 42", "saved with '42', which has no value"),
    ],
)
def test_a_field_that_is_not_what_it_should_be_is_refused(line, what):
    with pytest.raises(MachineError, match=f"^the guest reported {what}$"):
        decode_report(line if isinstance(line, bytes) else line.encode())


@pytest.mark.parametrize("digits", ["0", "007", str(2**64 - 1)])
def test_a_number_has_at_most_the_digits_of_64_bits(digits):
    assert decode_report(f"saved bytes={digits}".encode()) == Saved(int(digits))


@pytest.mark.parametrize("line", [b"\n", b"   \n", b"helo protocol=1\n", b"wrote result=1\n", b"=\n"])
def test_what_is_no_report_is_refused(line):
    with pytest.raises(MachineError, match="which is not a report"):
        decode_report(line)


def test_a_kernels_name_tells_a_terminal_nothing():
    hello = decode_report(HELLO.replace("6.12.107-fadump", "6\x1b[2J").encode())
    assert hello.release == r"6\x1b[2J"


def test_fields_that_are_not_known_are_passed_over():
    assert decode_report(b"saved bytes=42 sum=x=y\n") == Saved(42)


def test_bytes_that_are_no_text_are_kept_apart_not_fatal():
    assert decode_report(b"failed step=x reason=\xff\xfe\n") == Failed("x", "\ufffd\ufffd")


def test_reports_are_read_until_the_port_is_closed():
    assert read_all(b"saving bytes=1\nsaved bytes=1\n") == [Saving(1), Saved(1)]


def test_a_line_that_broke_off_is_no_report():
    assert read_all(b"saving bytes=42\nsaved bytes=4") == [Saving(42)]


def test_a_line_longer_than_any_report_is_refused():
    reason = b"x" * (LONGEST_LINE_BYTES + 1 - len(b"failed step=x reason="))
    with pytest.raises(MachineError, match="^the guest sent a line of more than 1048576 bytes$"):
        read_all(b"failed step=x reason=" + reason + b"\n")
    with pytest.raises(MachineError, match="^the guest sent a line of more than 1048576 bytes$"):
        read_all(bytes(LONGEST_LINE_BYTES + 1))
    assert read_all(b"failed step=x reason=" + reason[1:] + b"\n") == [Failed("x", reason[1:].decode())]


def read_all(sent):
    async def read():
        reader = asyncio.StreamReader(limit=LONGEST_LINE_BYTES)
        reader.feed_data(sent)
        reader.feed_eof()
        reports = []
        while (report := await read_report(reader)) is not None:
            reports.append(report)
        return reports

    return asyncio.run(read())


@given(st.one_of(st.binary(), st.sampled_from(list(REPORTS)).flatmap(lambda line: st.permutations(line.encode()))))
def test_a_line_is_a_report_or_refused(line):
    try:
        report = decode_report(bytes(line))
    except MachineError:
        return
    assert isinstance(report, Report)


@given(field=st.sampled_from(FIELDS), value=VALUES)
def test_a_report_with_any_value_in_a_field_is_a_report_or_refused_by_the_fields_name(field, value):
    line, key = field
    value = "".join(value.split())  # white space would end the field
    head, _, rest = line.partition(f" {key}=")
    changed = f"{head} {key}={value} {rest.partition(' ')[2]}"
    try:
        report = decode_report(changed.encode(errors="surrogateescape"))
    except MachineError as error:
        assert str(error).startswith(f"the guest reported {line.split()[0]} with {key}=")
        return
    assert isinstance(report, Report)
