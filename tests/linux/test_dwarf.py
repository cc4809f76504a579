"""Where members of structures are, by debug information."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FadumpError, FormatError
from fadump.linux.vmlinux.dwarf import NoDebugInformationError, read_offsets
from fadump.linux.vmlinux.elf import ElfFile
from tests.linux.dwarf_builder import debug_file

STRUCTS = {"task_struct": {"pid": 8, "comm": 0x1234}, "signal_struct": {"thread_head": 0x10}}
EXPECTED = {"task_struct.pid": 8, "task_struct.comm": 0x1234, "signal_struct.thread_head": 0x10}


@pytest.fixture
def offsets_of(tmp_path):
    def read(data, structs=frozenset(STRUCTS)):
        path = tmp_path / "vmlinux"
        path.write_bytes(data)
        with path.open("rb") as file:
            return read_offsets(ElfFile(file), structs)

    return read


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize("version", [4, 5])
def test_members_are_found_in_debug_information(offsets_of, byte_order, version):
    assert offsets_of(debug_file(STRUCTS, version, byte_order)) == EXPECTED


def test_structs_may_be_in_more_than_one_file(offsets_of):
    first, second = ({name: STRUCTS[name]} for name in STRUCTS)
    assert offsets_of(debug_file(first, 4, more=second)) == EXPECTED


def test_a_struct_that_is_only_declared_is_none(offsets_of):
    with pytest.raises(NoDebugInformationError, match="mm_struct"):
        offsets_of(debug_file(STRUCTS, 4, declared=("mm_struct",)), frozenset({"task_struct", "mm_struct"}))


def test_a_file_without_debug_information(offsets_of):
    with pytest.raises(NoDebugInformationError, match="no debug information"):
        offsets_of(debug_file(None, 4))


@pytest.mark.parametrize("version", [1, 6])
def test_dwarf_of_another_version(offsets_of, version):
    with pytest.raises(FormatError, match="another version"):
        offsets_of(debug_file(STRUCTS, version))


@pytest.mark.parametrize("version", [2, 3])
def test_an_assembler_files_units_are_passed_over(offsets_of, version):
    """Linux up to 5.11 has had them made with -gdwarf-2, whatever the rest was made with."""
    with pytest.raises(NoDebugInformationError):
        offsets_of(debug_file(STRUCTS, version))
    assert offsets_of(debug_file(STRUCTS, 4, before=version)) == offsets_of(debug_file(STRUCTS, 4))


@given(st.data())
def test_damaged_debug_information_gives_offsets_or_an_error(tmp_path_factory, data):
    image = bytearray(debug_file(STRUCTS, data.draw(st.sampled_from([4, 5]))))
    for _ in range(data.draw(st.integers(1, 4))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "debug"
    path.write_bytes(image)
    with contextlib.suppress(FadumpError), path.open("rb") as file:
        read_offsets(ElfFile(file), frozenset(STRUCTS))


def test_a_compressed_section_says_so(offsets_of):
    image = bytearray(debug_file(STRUCTS, 4))
    (table,) = struct.unpack_from("<Q", image, 0x28)
    for header in range(table, len(image), 64):
        image[header + 8 : header + 16] = (0x800).to_bytes(8, "little")
    with pytest.raises(FormatError, match="compressed"):
        offsets_of(bytes(image))
