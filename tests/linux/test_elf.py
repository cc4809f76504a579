"""ELF files with sections: the gABI's section types, by number."""

from fadump.linux.vmlinux.elf import open_elf
from tests.vmcore.core_builder import Section, build_sections

SHT_PROGBITS, SHT_NOBITS = 1, 8


def test_only_a_section_without_data_in_the_file_has_none(tmp_path):
    """.bss has a size and an offset as others do, and nothing there."""
    types = range(SHT_PROGBITS, 12)
    path = tmp_path / "program"
    path.write_bytes(build_sections([Section(0, b""), *(Section(type_, b"data") for type_ in types)], names_section=0))
    with open_elf(path) as elf:
        found = {type_: [elf.data(section) for section in elf.sections(type_)] for type_ in types}
    assert found == {type_: [b"" if type_ == SHT_NOBITS else b"data"] for type_ in types}
