"""Reports of what is no whole dump of a ppc64 Linux: something is told, or one sentence, whatever is in the file."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FadumpError
from fadump.linux.system import CrashedSystem
from fadump.report.findings import find
from fadump.report.html import as_html
from fadump.report.redact import Words
from fadump.report.sections import tell
from fadump.report.text import as_text
from tests.linux.crashed_kernel import crashed_kernel
from tests.vmcore.core_builder import Load, build_core, note, prstatus
from tests.vmcore.dump_helpers import open_bytes


def both(core):
    with CrashedSystem(open_bytes(core)) as system:
        findings = find(system)
        story = tell(findings, Words.of(redacts=True, names=["(none)"]))
    page, text = as_html(story), as_text(story)
    assert len(page) < 2 << 20 and max(map(len, text.splitlines())) <= 100
    return text


def test_a_dump_of_another_machine_says_so():
    info = note("VMCOREINFO", 0, b"OSRELEASE=6.1.0-13-amd64\nPAGESIZE=4096\n")
    text = both(build_core([Load(0x1000, bytes(0x2000))], [note("CORE", 1, bytes(336)) + info], machine=62))
    assert "x86_64" in text and "only the Linux of ppc64 can be looked into" in text


def test_a_dump_without_vmcoreinfo_has_its_registers():
    text = both(build_core([Load(0x1000, bytes(0x2000))], [prstatus({"nip": 0x1234})]))
    assert "the dump has no VMCOREINFO" in text and "What ended the system isn't said" in text


def test_a_dump_cut_short_is_called_so():
    core = crashed_kernel().core()
    assert "no: see what is missing" in both(core[: len(core) // 2])


@given(st.data())
def test_any_damage_is_told_or_an_error(data):
    core = bytearray(crashed_kernel().core())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, 0x2000) | st.integers(0, len(core) - 9))
        core[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    with contextlib.suppress(FadumpError):
        both(bytes(core))
