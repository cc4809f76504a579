import pytest

from fadump.errors import FormatError
from fadump.machine.contract import (
    Crash,
    GuestReport,
    Register,
    Release,
    Reregister,
    RunScript,
    Save,
    SaveOpalCore,
    Unregister,
)
from fadump.machine.qemu.guest import decode_report, encode_request


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (Register(), b"register\n"),
        (Crash(3), b"crash cpu=3\n"),
        (Save(), b"save\n"),
        (SaveOpalCore(), b"save_opalcore\n"),
        (Release(), b"release\n"),
        (Reregister(), b"reregister\n"),
        (Unregister(), b"unregister\n"),
        (RunScript("nproc\n"), b"run b64=bnByb2MK\n"),
    ],
)
def test_a_request_is_one_line(request_, line):
    assert encode_request(request_) == line


def test_a_report_is_a_step_and_fields():
    assert decode_report(b"saved bytes=42 sum=x=y\n") == GuestReport("saved", {"bytes": "42", "sum": "x=y"})


def test_a_reason_takes_the_rest_of_the_line():
    report = decode_report(b"failed step=register reason=Invalid argument = a b=c\n")
    assert report == GuestReport("failed", {"step": "register", "reason": "Invalid argument = a b=c"})


@pytest.mark.parametrize("line", [b"\n", b"   \n", b"saved 42\n"])
def test_nonsense_is_refused(line):
    with pytest.raises(FormatError):
        decode_report(line)


def test_bytes_that_are_no_text_are_kept_apart_not_fatal():
    assert decode_report(b"failed step=x reason=\xff\xfe\n").fields["reason"] == "��"
