"""What is told of modules, earlier trouble, memory and devices, from findings made by hand."""

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from fadump.linux.log.incidents import Incident, IncidentKind, Incidents
from fadump.linux.state.activity import Activity
from fadump.linux.state.interrupts import Interrupt
from fadump.linux.state.memory_use import HugePages, MemoryUse
from fadump.linux.state.modules import Module
from fadump.linux.state.mounts import Mount
from fadump.linux.state.network import NetworkDevice
from fadump.linux.state.slab_caches import SlabCache
from fadump.linux.system import CrashedSystem
from fadump.report.findings import find
from fadump.report.html import as_html
from fadump.report.redact import Words
from fadump.report.sections import tell
from fadump.report.text import as_text
from tests.linux.crashed_kernel import crashed_kernel

HIDES = Words.of(redacts=True, names=["node7"])
MIB = 1 << 20
USE = MemoryUse(*(number * MIB for number in range(1, 16)), (HugePages(2 * MIB, 5, 3, 0, 0),), ())
NEVER = Interrupt(17, 3, "XIVE", ("RAS_EPOW",), (0, 0))


@pytest.fixture(scope="module")
def found():
    with CrashedSystem(crashed_kernel().dump()) as system:
        findings = find(system)
        yield replace(
            findings,
            missing=["this and that"],
            activity=Activity(
                "root=/dev/x secret=1", "OE", ("O: odd", "E: unsigned"), 5, (1.5, 2, 3), (0,), (), (), ()
            ),
            modules=[
                Module("ext4", 1, 2 * MIB, "live", "", None, None, (), 0),
                Module("<bad>", 1, MIB, "live", "OE", "1.0", "abcd", (), 0),
            ],
            incidents=Incidents(
                (Incident(IncidentKind.HUNG_TASK, 7 * 10**9, "INFO: task on node7 blocked"),), left_out=9
            ),
            memory_use=USE,
            slab_caches=[SlabCache("dentry", 192, 1000, 10, 3 * MIB)],
            mounts=[
                Mount("server.example:/export", "/mnt", "nfs4", True),
                Mount("/dev/vda2", "/", "ext4", False),
            ],
            devices=[NetworkDevice("eth0", 2, True, 1500, "52:54:00:12:34:56", (ip_interface("10.0.2.15/24"),))],
            interrupts=[Interrupt(16, 1, "XIVE", ("IPI",), (2, 3)), Interrupt(20, 2, None, ("disk",), (400, 0)), NEVER],
        )


def lines(story):
    return [" ".join(line.split()) for line in as_text(story).splitlines()]


def test_all_of_it_is_told(found):
    told = lines(tell(found, Words()))
    assert "* O: odd" in told and "* this and that" in told
    at = told.index("<bad> 1.0 MiB live OE 1.0 abcd")
    assert told[at + 1] == "ext4 2.0 MiB live"
    assert "[ 7 s] hung task: INFO: task on node7 blocked" in told
    assert "Total 1.0 MiB" in told and "Slab 9.0 MiB" in told and "Huge 2.0 MiB 5, 3 free" in told
    assert "3.0 MiB 1,000 192 dentry" in told
    assert "nfs4 ro /mnt server.example:/export" in told and "ext4 rw / /dev/vda2" in told
    assert "eth0 up 52:54:00:12:34:56 10.0.2.15/24" in told
    at = told.index("20 400 disk")
    assert told[at + 1] == "16 5 IPI" and "RAS_EPOW" not in " ".join(told)
    assert "Load 1.50, 2.00, 3.00 over 1, 5 and 15 minutes" in told and "Command line root=/dev/x secret=1" in told


def test_what_is_hidden_on_demand_is_in_neither(found):
    story = tell(found, HIDES)
    for told in (as_text(story), as_html(story)):
        for secret in ("server.example", "10.0.2.15", "52:54:00", "secret=1", "node7"):
            assert secret not in told
    assert "ext4 rw / /dev/vda2" in lines(story)


def test_a_page_of_it_has_no_markup_of_the_dumps(found):
    assert "<bad>" not in as_html(tell(found, Words()))


def test_what_is_not_known_is_not_told(found):
    unknown = dict.fromkeys(("activity", "modules", "incidents", "memory_use", "mounts", "devices", "interrupts"))
    told = lines(tell(replace(found, slab_caches=None, **unknown), Words()))
    assert "Whether the kernel was tainted isn't known." in told and "Which modules there were isn't known." in told
    assert "Nothing is known of file systems and devices." in told


def test_very_many_of_them_make_no_huge_page(found):
    many = replace(
        found,
        modules=[found.modules[0]] * 50_000,
        mounts=[found.mounts[0]] * 50_000,
        devices=[found.devices[0]] * 50_000,
        interrupts=[found.interrupts[0]] * 50_000,
        slab_caches=[found.slab_caches[0]] * 50_000,
        incidents=Incidents(found.incidents.incidents * 50_000),
    )
    page = as_html(tell(many, Words()))
    assert len(page) < 2 << 20 and "and 49600 more" in page
