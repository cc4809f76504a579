"""RTAS argument blocks and properties, byte for byte as Linux writes and reads them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.pseries.dump_structure import SectionType
from fadump.abi.pseries.rtas import (
    BLOCK_BYTES,
    DumpCommand,
    RtasArguments,
    RtasStatus,
    decode_answer,
    encode_answer,
    encode_sizes,
    encode_version,
    retry_delay_ms,
)
from fadump.errors import FormatError

words = st.integers(0, 2**32 - 1)
calls = st.integers(0, 16).flatmap(
    lambda nargs: st.builds(
        RtasArguments,
        token=words,
        args=st.tuples(*[words] * nargs),
        nret=st.integers(0, 16 - nargs),
    )
)


@given(calls)
def test_a_call_that_was_encoded_is_decoded_as_it_was(call):
    assert RtasArguments.decode(call.encode()) == call


@given(calls, st.integers(0, BLOCK_BYTES))
def test_a_call_cut_within_its_arguments_is_refused_and_room_for_the_answer_is_not_needed(call, cut):
    block = call.encode()[:cut]
    if cut >= call.answer_offset:
        assert RtasArguments.decode(block) == call
    else:
        with pytest.raises(FormatError, match="cut short"):
            RtasArguments.decode(block)


@given(st.binary(max_size=BLOCK_BYTES))
def test_any_bytes_are_a_call_or_refused(block):
    try:
        call = RtasArguments.decode(block)
    except FormatError:
        return
    assert block.startswith(call.encode()[: call.answer_offset])


def test_a_registration_is_laid_out_as_linux_does():
    call = RtasArguments(0x202D, (DumpCommand.REGISTER, 0x1234_5678, 0xC8), nret=1)
    assert call.encode() == struct.pack(">7I", 0x202D, 3, 1, 1, 0x1234_5678, 200, 0)
    assert call.answer_offset == 24


def test_the_whole_block_of_linux_is_decoded_with_whatever_stands_behind_the_arguments():
    block = struct.pack(">3I", 0x2021, 1, 1) + struct.pack(">I", 0xCAFE) + b"\xff" * 60
    assert len(block) == BLOCK_BYTES
    assert RtasArguments.decode(block) == RtasArguments(0x2021, (0xCAFE,), 1)


@pytest.mark.parametrize(("nargs", "nret"), [(17, 0), (16, 1), (0, 17), (2**32 - 1, 1)])
def test_a_call_of_more_than_16_words_is_refused(nargs, nret):
    with pytest.raises(FormatError, match="words in an RTAS call"):
        RtasArguments.decode(struct.pack(">3I", 1, nargs, nret) + bytes(64))


def test_a_call_that_has_no_place_in_the_block_is_not_encoded():
    with pytest.raises(ValueError, match="more than 16"):
        RtasArguments(1, (0,) * 16, 1).encode()
    with pytest.raises(ValueError, match="not an u32"):
        RtasArguments(1, (1 << 32,), 1).encode()


def test_an_answer_is_a_signed_status_and_its_outputs():
    assert encode_answer(RtasStatus.DUMP_ACTIVE, (), 1) == b"\xff\xff\xff\xf6"
    assert encode_answer(0, (7,), 3) == bytes(4) + b"\0\0\0\7" + bytes(4)
    assert encode_answer(0, (7,), 1) == bytes(4)
    assert encode_answer(-1, (), 0) == b""
    for status, outputs in ((1 << 31, ()), (0, (-1,))):
        with pytest.raises(ValueError, match="32 bits"):
            encode_answer(status, outputs, 2)


@given(st.integers(-(2**31), 2**31 - 1), st.lists(words, max_size=15))
def test_an_answer_is_decoded_as_it_was(status, outputs):
    assert decode_answer(encode_answer(status, outputs, len(outputs) + 1)) == (status, tuple(outputs))


@pytest.mark.parametrize("answer", [b"", b"\0\0\0", b"\0\0\0\0\0"])
def test_an_answer_of_half_a_word_is_refused(answer):
    with pytest.raises(FormatError, match="answer cut short"):
        decode_answer(answer)


@pytest.mark.parametrize(
    ("status", "delay_ms"), [(0, 0), (-1, 0), (-2, 1), (9899, 0), (9900, 1), (9903, 1000), (9905, 100_000), (9906, 0)]
)
def test_a_busy_firmware_is_asked_again_after_what_it_says(status, delay_ms):
    assert retry_delay_ms(status) == delay_ms


def test_sizes_are_laid_out_as_rtas_fadump_dt_scan_reads_them():
    value = encode_sizes({SectionType.CPU_STATE: 0x1_0000_4000, SectionType.HPTE: 0})
    assert struct.unpack(">6I", value) == (1, 1, 0x4000, 2, 0, 0)


def test_a_size_that_is_negative_or_too_large_is_not_encoded():
    for size_bytes in (-1, 1 << 64):
        with pytest.raises(ValueError, match="section size with a number too large"):
            encode_sizes({1: size_bytes})


def test_versions_are_two_big_endian_halves():
    assert encode_version(1, 2) == b"\0\1\0\2"
    with pytest.raises(ValueError, match="dump versions with a number too large"):
        encode_version(1, 1 << 16)
