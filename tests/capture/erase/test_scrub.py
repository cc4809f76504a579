import numpy as np

from fadump.capture.erase.scrub import LEAST_BYTES, scrubbed

SECRET = b"0123456789abcdefghijklmnopqrstuv"


def test_what_stands_in_erased_memory_too_is_overwritten():
    text = b"before " + SECRET + b" behind"
    assert scrubbed([text, b"other"], [b"zz" + SECRET]) == [b"before " + b"X" * len(SECRET) + b" behind", b"other"]


def test_part_of_it_is_enough_and_fewer_bytes_are_chance():
    part = SECRET[5 : 5 + LEAST_BYTES]
    assert scrubbed([b"<" + part + b">"], [SECRET]) == [b"<" + b"X" * LEAST_BYTES + b">"]
    assert scrubbed([b"<" + part[:-1] + b">"], [SECRET]) == [b"<" + part[:-1] + b">"]


def test_bytes_that_are_the_same_are_chance():
    words = bytes(64) + (0xC000_0000_053D_F910).to_bytes(8, "little") + bytes(64)
    assert scrubbed([words], [words]) == [words]


def test_a_secret_across_two_texts_is_none():
    assert scrubbed([SECRET[:16][:10], SECRET[10:20]], [SECRET]) == [SECRET[:10], SECRET[10:20]]


def test_large_pieces_are_looked_at_to_their_end():
    piece = np.random.default_rng(1).bytes((1 << 20) + 64)
    for at in ((1 << 20) - 8, len(piece) - 16):
        assert scrubbed([piece[at : at + 16]], [piece]) == [b"X" * 16]


def test_nothing_at_all():
    assert (
        scrubbed([], [SECRET]) == [] and scrubbed([b""], []) == [b""] and scrubbed([b"short"], [b"short"]) == [b"short"]
    )
