"""The model kernel on its own: what it registers, what it leaves in memory, what it can't run on."""

import struct
from dataclasses import replace

import pytest

from fadump.abi.linux import crash_info
from fadump.abi.linux.crash_info import CrashHeader
from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.abi.platform import Platform
from fadump.abi.powernv.kernel_metadata import KernelMetadata
from fadump.abi.powernv.opal import OpalToken
from fadump.abi.pseries.dump_structure import DumpStructure
from fadump.firmware.message import read_message
from fadump.kernel.calls import KernelPanicError
from fadump.kernel.model import KernelConfig, KernelModel
from fadump.kernel.plan.reserve import Part
from fadump.kernel.plan.system import system_of
from fadump.kernel.state import VMCOREINFO_NOTE, WORK_BUFFER
from fadump.kernel.traits import LINUX_6_1, LINUX_6_12, LINUX_7_2, KernelTraits
from fadump.memory.devicetree import encode_cells
from fadump.memory.ranges import Range
from fadump.vmcore.notes import iter_notes, vmcoreinfo_lines
from tests.kernel.running import GIB, described_tree, guest_memory, run
from tests.kernel.systems import reserved
from tests.kernel.trees import memory_node, pairs

PIECES = (Range(0, 4 * GIB),)
MMU_FTR_TYPE_RADIX = 0x40
MMU_PAGE_4K, MMU_PAGE_2M, MMU_PAGE_16M = 0, 7, 10
"""Linux arch/powerpc/include/asm/mmu.h."""
TRAITS = [LINUX_6_12, KernelTraits(page_bytes=4096, nr_cpus=2048)]


def booted(memory, tree, config=None, status=0):
    kernel = KernelModel(config or KernelConfig(), lambda _line: None)
    calls, _result = run(kernel.boot(tree, memory), memory, status)
    return kernel, calls


def vmcoreinfo_of(memory):
    (note,) = iter_notes(memory.read(VMCOREINFO_NOTE, 0x10000), "little")
    return {line.key: line.value for line in vmcoreinfo_lines(note.desc)}


def number_at(memory, symbol, size_bytes):
    address = int(vmcoreinfo_of(memory)[f"SYMBOL({symbol})"], 16) & ~PAGE_OFFSET
    return int.from_bytes(memory.read(address, size_bytes), "little")


@pytest.mark.parametrize("traits", TRAITS, ids=["64K", "4K"])
@pytest.mark.parametrize("cmdline", ["fadump=on", "fadump=nocma crashkernel=1G", "fadump=on disable_radix"])
def test_rtas_is_asked_for_what_was_reserved(traits, cmdline):
    tree = described_tree(cmdline=cmdline)
    reservation = reserved(system_of(tree).system, traits, cmdline)
    with guest_memory(*PIECES) as memory:
        kernel, (call,) = booted(memory, tree, KernelConfig(traits))
        structure = DumpStructure.decode(memory.read(WORK_BUFFER, 512))
    assert [(section.source, section.requested_bytes, section.destination) for section in structure.sections] == [
        (section.source or 0, section.size_bytes, section.destination)
        for section in reservation.registered(Platform.PSERIES)
    ]
    assert call.args == (1, WORK_BUFFER, structure.size_bytes)
    assert kernel.registered and kernel.mem_reserved == reservation.area.size_bytes


@pytest.mark.parametrize("cmdline", ["fadump=on", "fadump=on crashkernel=1G"])
def test_opal_is_asked_for_what_was_reserved(cmdline):
    tree = described_tree(Platform.POWERNV, cmdline)
    reservation = reserved(system_of(tree).system, LINUX_6_12, cmdline)
    with guest_memory(*PIECES) as memory:
        kernel, calls = booted(memory, tree)
        metadata = KernelMetadata.decode(memory.read(calls[0].args[1], 0x1000))
    assert calls[0].args[1] == reservation.first(Part.METADATA).destination
    assert [call.args[1:] for call in calls[2:]] == [
        (section.source, section.destination, section.size_bytes)
        for section in reservation.registered(Platform.POWERNV)
    ]
    assert (metadata.registered_regions, kernel.registered) == (len(metadata.regions), True)
    assert metadata.crash_info == reservation.first(Part.CRASH_INFO_HEADER).destination


def test_the_boot_cpu_makes_all_of_the_calls_that_boot_linux():
    """Linux runs on one CPU until long after it has registered; with OPAL the lowest PIR is its."""
    tree = described_tree(Platform.POWERNV)
    tree.find("/ibm,opal/dump").properties["mpipl-boot"] = b""
    cpus = tree.find("/cpus").children
    del cpus[1:]
    cpus[0].properties["ibm,ppc-interrupt-server#s"] = encode_cells(0x29, 0x28)
    with guest_memory(*PIECES) as memory:
        _kernel, calls = booted(memory, tree)
    assert {OpalToken.MPIPL_QUERY_TAG, OpalToken.MPIPL_REGISTER_TAG, OpalToken.MPIPL_UPDATE} == {
        call.token for call in calls
    }
    assert {call.cpu for call in calls} == {0x28}


@pytest.mark.parametrize(("words", "traits", "page_size"), [
    ("disable_radix", LINUX_6_12, MMU_PAGE_16M),
    ("", LINUX_6_1, MMU_PAGE_2M),
    ("", LINUX_6_12, MMU_PAGE_4K),
])  # fmt: skip
def test_the_page_size_of_vmemmap_is_the_number_that_linux_gives_it(words, traits, page_size):
    """Newer kernels with radix keep none, so that it is what it is before it is set."""
    with guest_memory(*PIECES) as memory:
        booted(memory, described_tree(cmdline=f"fadump=on {words}"), KernelConfig(traits))
        assert number_at(memory, "mmu_vmemmap_psize", 4) == page_size


@pytest.mark.parametrize(("words", "features"), [("", MMU_FTR_TYPE_RADIX), ("disable_radix", 0)])
def test_the_features_of_a_cpu_say_whether_its_mmu_uses_radix(words, features):
    """A reader asks them where VMCOREINFO has no RADIX_MMU. Of all features the model has this one only."""
    with guest_memory(*PIECES) as memory:
        booted(memory, described_tree(cmdline=f"fadump=on {words}"))
        spec = number_at(memory, "cur_cpu_spec", 8) & ~PAGE_OFFSET
        offset = int(vmcoreinfo_of(memory)["OFFSET(cpu_spec.mmu_features)"])
        assert int.from_bytes(memory.read(spec + offset, 8), "little") == features


@pytest.mark.parametrize("traits", TRAITS, ids=["64K", "4K"])
def test_registering_leaves_a_header_that_knows_no_crashing_cpu(traits):
    tree = described_tree(cpus=4)
    reservation = reserved(system_of(tree).system, traits, "fadump=on")
    with guest_memory(*PIECES) as memory:
        booted(memory, tree, KernelConfig(traits))
        at = reservation.first(Part.CRASH_INFO_HEADER).destination
        header = CrashHeader.decode(memory.read(at, traits.header_bytes), traits.nr_cpus // 8)
        assert crash_info.decode(memory.read(at, crash_info.HEADER_BYTES)).crashing_cpu is None
    assert (header.size_bytes, header.cpu_mask, header.crashing_cpu) == (traits.header_bytes, 15, 0xFFFF_FFFF)
    assert header.vmcoreinfo_address == reservation.first(Part.BOOT_MEMORY).destination + VMCOREINFO_NOTE
    assert header.vmcoreinfo_bytes == traits.page_bytes + 36


def test_vmcoreinfo_says_whose_memory_it_is():
    with guest_memory(*PIECES) as memory:
        booted(memory, described_tree(), KernelConfig(release="6.12.7-test"))
        (note,) = iter_notes(memory.read(VMCOREINFO_NOTE, 0x10000), "little")
    facts = {line.key: line.value for line in vmcoreinfo_lines(note.desc)}
    assert (note.name, facts["OSRELEASE"], facts["PAGESIZE"]) == ("VMCOREINFO", "6.12.7-test", "65536")
    assert "CRASHTIME" not in facts


def test_the_same_seed_gives_the_same_memory_and_another_one_other():
    def content(seed):
        with guest_memory(*PIECES) as memory:
            booted(memory, described_tree(), KernelConfig(seed=seed))
            data = memory.populated(PIECES[0])
            return data, [hash(memory.read(piece.start, piece.size_bytes)) for piece in data]

    assert content("1") == content("1") != content("2")


def test_what_firmware_has_reserved_is_not_touched():
    with guest_memory(*PIECES) as memory:
        tree = described_tree(Platform.POWERNV)
        booted(memory, tree)
        for piece in system_of(tree).system.memory.firmware:
            assert not memory.populated(piece)


@pytest.mark.parametrize(("cmdline", "said"), [
    ("fadump=on crashkernel=64M", "Can't enable fadump with boot memory size (0x4000000) less than 0x14000000"),
    ("fadump=on mem=400M", "fadump: Failed to find memory chunk for reservation!"),
])  # fmt: skip
def test_a_kernel_that_finds_no_room_does_without(cmdline, said):
    lines = []
    with guest_memory(*PIECES) as memory:
        kernel = KernelModel(KernelConfig(), lines.append)
        calls, _result = run(kernel.boot(described_tree(cmdline=cmdline), memory), memory)
    assert not (kernel.enabled or kernel.registered or calls)
    assert said in "".join(lines)


def test_a_machine_without_fadump_is_told_apart():
    lines = []
    tree = described_tree()
    del tree.find("/rtas").properties["ibm,configure-kernel-dump"]
    with guest_memory(*PIECES) as memory:
        kernel = KernelModel(KernelConfig(), lines.append)
        run(kernel.boot(tree, memory), memory)
    assert not kernel.enabled
    assert "fadump: Firmware-Assisted Dump is not supported on this hardware" in "".join(lines)


def no_memory_node(tree):
    tree.root.children = [node for node in tree.root.children if not node.name.startswith("memory")]


def no_cpus(tree):
    tree.find("/cpus").children.clear()


def too_many_cpus(tree):
    tree.find("/cpus").children[0].properties["ibm,ppc-interrupt-server#s"] = encode_cells(*range(65))


@pytest.mark.parametrize("spoil", [no_memory_node, no_cpus, too_many_cpus])
def test_what_a_kernel_cannot_run_on_is_a_panic(spoil):
    tree = described_tree()
    spoil(tree)
    with guest_memory(*PIECES) as memory, pytest.raises(KernelPanicError):
        booted(memory, tree)


def test_a_machine_without_memory_for_the_kernel_is_a_panic():
    with guest_memory(Range(0, 1 << 20)) as memory, pytest.raises(KernelPanicError, match="no memory for the kernel"):
        booted(memory, described_tree())


def boots(tree, traits=LINUX_6_12):
    """What a boot says, without times."""
    lines = []
    with guest_memory(*PIECES) as memory:
        kernel = KernelModel(KernelConfig(traits), lines.append)
        run(kernel.boot(tree, memory), memory)
    return [line.partition("] ")[2].rstrip() for line in lines]


def test_linux_says_how_it_comes_to_the_size_and_in_which_order_things_are_set_up():
    cmdline = "fadump=on crashkernel=2G fadump_reserve_mem=400M"
    lent = "bytes of memory reserved for firmware-assisted dump"
    assert boots(described_tree(cmdline=cmdline)) == [
        "fadump: 'fadump_reserve_mem=' parameter is deprecated in favor of 'crashkernel=' parameter.",
        "fadump: Using 'crashkernel=' parameter for memory reservation.",
        "fadump: Adjusted boot memory size to 1024MB",
        "fadump: Reserved 1024MB of memory at 0x00000040000000 (System RAM: 4096MB)",
        "Linux version 6.12.0-model (fadump's model of Linux)",
        f"fadump: Initialized 0x40000000 bytes cma area at 1024MB from 0x400101b0 {lent}",
        f"Kernel command line: {cmdline}",
        "rtas fadump: Registration is successful!",
    ]
    said = boots(described_tree(cmdline="fadump=on crashkernel=1G,cma"))
    assert said[0] == "crashkernel: unrecognized char: ,"


def test_newer_kernels_lend_memory_once_the_command_line_is_logged():
    cmdline = "fadump=on crashkernel=401M"
    lent = "cma area from [0x30000000, 401MB] bytes of memory reserved for firmware-assisted dump"
    assert boots(described_tree(cmdline=cmdline), LINUX_7_2) == [
        "fadump: Reserved 401MB of memory at 0x00000030000000 (System RAM: 4096MB)",
        "Linux version 6.12.0-model (fadump's model of Linux)",
        f"Kernel command line: {cmdline}",
        f"fadump: Initialized [0x30000000, 400MB] {lent}",
        "rtas fadump: Registration is successful!",
    ]
    hash_ = boots(described_tree(cmdline="fadump=on", radix=False), replace(LINUX_7_2, nr_cpus=8))
    assert "fadump: Initialized [0x14000000, 320MB] cma area" in "".join(hash_)


def test_newer_kernels_reserve_memory_for_kdump_of_which_user_space_has_some():
    """The lines of Linux 7.2, with 64 GiB on powernv, where kdump's memory begins lower."""
    assert boots(described_tree(cmdline="crashkernel=512M crashkernel=1G,cma"), LINUX_7_2) == [
        "crashkernel reserved: 0x0000000020000000 - 0x0000000040000000 (512 MB)",
        "Linux version 6.12.0-model (fadump's model of Linux)",
        "Kernel command line: crashkernel=512M crashkernel=1G,cma",
        "crashkernel CMA reserved: 1024 MB in 1 ranges",
    ]
    assert "CMA" not in "".join(boots(described_tree(cmdline="fadump=on crashkernel=1G,cma"), LINUX_7_2))


def test_newer_kernels_have_symbols_whose_addresses_are_relative_to_their_own_places():
    """As kernel/kallsyms.c kallsyms_sym_address() of 7.2 has them: offset_to_ptr(kallsyms_offsets + index)."""
    with guest_memory(*PIECES) as memory:
        booted(memory, described_tree(), KernelConfig(LINUX_7_2))
        facts = vmcoreinfo_of(memory)
        count = number_at(memory, "kallsyms_num_syms", 4)
        at = int(facts["SYMBOL(kallsyms_offsets)"], 16)
        offsets = struct.unpack(f"<{count}i", memory.read(at & ~PAGE_OFFSET, 4 * count))
    addresses = [at + 4 * index + offset for index, offset in enumerate(offsets)]
    named = {int(facts[f"SYMBOL({name})"], 16) for name in ("init_uts_ns", "swapper_pg_dir", "mem_section", "_stext")}
    assert named <= set(addresses) and addresses == sorted(addresses)
    assert "SYMBOL(kallsyms_relative_base)" not in facts
    assert (facts["OFFSET(page.compound_info)"], "OFFSET(page.compound_head)" in facts) == ("8", False)


def test_a_newer_kernel_gives_its_log_to_pstore_before_the_firmware_hears_of_the_crash():
    with guest_memory(*PIECES) as memory:
        for traits, kept in ((LINUX_7_2, [True]), (LINUX_6_12, [])):
            kernel, _calls = booted(memory, described_tree(), KernelConfig(traits))
            assert kernel.dumped_log == b""
            next(kernel.trigger_crash(0, {}))  # the firmware's first call, after which it is a dump
            last = kernel.dumped_log.splitlines()[-1:]
            assert [line.endswith(b"] Kernel panic - not syncing: sysrq triggered crash") for line in last] == kept
        off, _calls = booted(memory, described_tree(cmdline="fadump=off"), KernelConfig(LINUX_7_2))
        next(off.trigger_crash(0, {}), None)
        assert off.dumped_log == b""


def test_a_kernel_without_fadump_leaves_memory_to_kdump():
    said = boots(described_tree(cmdline="crashkernel=512M"))
    assert said[0] == "Reserving 512MB of memory at 512MB for crashkernel (System RAM: 4096MB)"
    said = boots(described_tree(cmdline="fadump=on crashkernel=2G-1G:1M"))
    assert said.count("crashkernel: end <= start") == 1  # FADump has its default size, and kdump does not ask
    said = boots(described_tree(cmdline="fadump=on crashkernel=2G-1G:1M fadump_reserve_mem=1M"))
    assert said.count("crashkernel: end <= start") == 2


def test_the_words_for_the_capture_kernel_need_room_that_kdump_has_not_taken():
    tree = described_tree(cmdline="crashkernel=512M", radix=False)  # from 512 MiB on; the words' place begins at 672
    assert "fadump: WARNING: Could not setup area to pass additional parameters!" in boots(tree)
    assert len(boots(described_tree(cmdline="", radix=False))) == 2
    tree.find("/memory@0").properties["reg"] = pairs((0, 512 << 20))
    tree.root.children.append(memory_node(512 << 20, 512 << 20))
    assert "Could not setup area" not in "".join(boots(tree))  # with so little of it Linux does not look


@pytest.mark.parametrize(("traits", "message"), [(LINUX_6_12, ""), (LINUX_6_1, "OS panic: sysrq triggered crash")])
def test_whether_os_term_gets_its_text(traits, message):
    with guest_memory(*PIECES) as memory:
        kernel = KernelModel(KernelConfig(traits), lambda _line: None)
        run(kernel.boot(described_tree(), memory), memory)
        calls, _result = run(kernel.trigger_crash(0, {}), memory)
        (address,) = next(call.args for call in calls if len(call.args) == 1)
        assert (read_message(memory, address) if address else "") == message


@pytest.mark.parametrize(("words", "dies"), [
    ("mem=2G disable_radix", True),
    ("mem=0x7ffe0000 disable_radix", False),
    ("mem=2G", False),
    ("disable_radix", False),
])  # fmt: skip
def test_linux_6_1_dies_where_hash_has_no_page_for_the_end_of_its_memory(words, dies):
    """As seen in QEMU: FADump's area of 0x30020000 bytes is added to mem=, which makes 0xb0020000 of 2 GiB."""
    tree = described_tree(Platform.POWERNV, f"fadump=on {words}")
    with guest_memory(*PIECES) as memory:
        if dies:
            with pytest.raises(KernelPanicError, match="memory ends at 0xb0020000, within a page of 16 MiB"):
                booted(memory, tree, KernelConfig(LINUX_6_1))
        else:
            assert booted(memory, tree, KernelConfig(LINUX_6_1))[0].registered
        assert booted(memory, tree)[0].registered
