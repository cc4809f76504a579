import json
import os
import sys

import pexpect
import pytest

from fadump.cli import main
from tests.kernel.trees import guest_tree, opal_tree, write_directory

MIB = 1 << 20


def run(*arguments):
    return main(["plan", *map(str, arguments)])


@pytest.fixture
def planned(capsys):
    def planned(*arguments):
        assert run("--json", *arguments) == 0
        out, err = capsys.readouterr()
        assert err.startswith(("FADump reserves ", "no FADump: ", "a dump would be lost, "))
        return json.loads(out)

    return planned


def test_the_defaults(planned):
    found = planned()
    assert (found["result"], found["platform"], found["mmu"], found["cmdline"]) == (
        *("reserved", "pseries", "radix", "fadump=on"),
    )
    assert (found["ram_bytes"], found["boot_memory_bytes"], found["boot_memory_top"]) == (2 << 30, 320 * MIB, 320 * MIB)
    assert (found["reserved_base"], found["reserved_bytes"]) == (320 * MIB, 0x140101B0)
    assert [section["name"] for section in found["sections"]] == [
        *("cpu_state", "hpte", "boot_memory", "parameter_area", "crash_info_header")
    ]
    assert [section["registered"] for section in found["sections"]] == [True] * 4 + [False]
    assert [section["offset"] for section in found["sections"]] == [0, 0x2980, 0x10000, None, 0x14010000]
    assert {"name", "number", "reason", "source"} == set(found["reasons"][0])
    assert found["capture"]["usable_bytes"] == 320 * MIB
    assert (found["refusal"], found["kdump"], found["warnings"]) == (None, None, [])
    assert found["recommended"][1]["crashkernel_bytes"] == 320 * MIB


def test_what_fadump_run_reserves_by_default(planned):
    found = planned("--memory", "2G", "--cmdline", "fadump=on crashkernel=512M")
    assert found["reserved_base"] == 0x30000000
    bare = planned("--memory", "2G", "--cmdline", "fadump=on crashkernel=512M", "--reserved", "none")
    assert bare["reserved_base"] == 0x20000000
    moved = ["--reserved", "0x20000000..0x20010000", "--reserved", "1G..0x40100000"]
    assert planned("--memory", "4G", "--cmdline", "fadump=on crashkernel=512M", *moved)["reserved_base"] == 0x40100000


def test_kernels_pages_and_cpus(planned):
    older = planned("--kernel-version", "6.1", "--page-size", "4K")
    assert older["sections"][-1]["name"] == "elf_core_header"
    assert older["reserved_bytes"] % 0x1000 == 0
    assert planned("--nr-cpus", "2048")["reserved_bytes"] == 0x140102A8
    more = planned("--cpus", "64")
    assert more["sections"][0]["bytes"] == 32 + 64 * 331 * 16
    most = planned("--cpus", "8192", "--nr-cpus", "8192")  # NR_CPUS of Linux's arch/powerpc/platforms/Kconfig.cputype
    assert [section["bytes"] for section in most["sections"]][0::4] == [32 + 8192 * 331 * 16, 0x5A8]
    assert [section["offset"] for section in most["sections"]][:3] == [0, 0x2960020, 0x2970000]


def sizes(found):
    return [section["bytes"] for section in found["sections"][:2]]


def test_our_firmware_wants_4_kib_for_the_table_of_a_hash_guest(planned):
    assert sizes(planned("--mmu", "hash")) == [0x2980, 0x1000]
    assert sizes(planned("--mmu", "radix")) == [0x2980, 0]


def test_a_prototype_of_a_firmware_may_want_other_sizes(planned):
    assert sizes(planned("--hpte-size", "64K", "--cpu-state-size", "1M")) == [1 * MIB, 0x10000]
    assert sizes(planned("--mmu", "hash", "--hpte-size", "0")) == [0x2980, 0]
    assert sizes(planned("--hpte-size", "128", "--cpu-state-size", "20000")) == [20000, 128]


def test_sizes_that_a_tree_has_are_its_own(planned, tmp_path):
    tree = tmp_path / "tree"
    tree.write_bytes(guest_tree(hpte_bytes=0x3000, radix=False).encode())
    assert sizes(planned("--memory-map", tree)) == [0x2980, 0x3000]


def test_hash_and_powernv(planned):
    assert planned("--mmu", "hash", "--cmdline", "fadump=on crashkernel=512M")["sections"][3]["source"] == 0x2DFFF800
    opal = planned("--platform", "powernv")
    assert (opal["boot_memory_bytes"], opal["ram_bytes"]) == (768 * MIB, 4 << 30)
    assert [section["name"] for section in opal["sections"]] == ["boot_memory", "crash_info_header", "metadata"]
    many = planned("--platform", "powernv", "--memory", "8G", "--cpus", "2048", "--nr-cpus", "8192")
    assert (opal["reserved_base"], many["reserved_base"]) == (0x33000000, 0x43000000)  # above skiboot and its stacks
    assert many["sections"][1]["bytes"] == 0x5A8


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.12.117-powerpc64le", "6.12"), ("6.8.0-31-generic", "6.1"), ("5.14.0-503.el9.ppc64le", "6.1"),
        ("6.1.0", "6.1"), ("6.13.0", "6.12"), ("7.1.9", "6.12"), ("7.2.12-fadump", "7.2"), ("10.0.0", "7.2"),
        ("next", "6.12"),
    ],
)  # fmt: skip
def test_a_tree_is_planned_for_the_kernel_that_shows_it(planned, capsys, tmp_path, release, version):
    """Both places of the tree in a copy of /proc and /sys, as a sosreport has one."""
    trees = tmp_path / "proc/device-tree", tmp_path / "sys/firmware/devicetree/base"
    for tree in trees:
        tree.parent.mkdir(parents=True)
        write_directory(tree, guest_tree().root)
    (tmp_path / "proc/version").write_text(f"Linux version {release} (gcc 14.2.0) #1 SMP\n")
    for tree in trees:
        found = planned("--memory-map", tree)
        assert (found["kernel_version"], found["kernel_release"]) == (version, release)
    assert planned("--memory-map", trees[0], "--kernel-version", "6.1")["kernel_version"] == "6.1"
    assert run("--memory-map", trees[0]) == 0
    assert f"\n\nLinux {release} runs there: " in capsys.readouterr().out


def test_a_tree_alone_is_planned_for_the_default_kernel(planned, tmp_path):
    write_directory(tmp_path / "device-tree", guest_tree().root)
    assert planned("--memory-map", tmp_path / "device-tree")["kernel_release"] is None
    (tmp_path / "version").write_text("0.1\n")
    found = planned("--memory-map", tmp_path / "device-tree")
    assert (found["kernel_version"], found["kernel_release"]) == ("6.12", None)


def test_memory_that_is_too_high_for_linux_is_said_to_be(planned):
    found = planned("--memory", "4P")
    assert (found["ram_bytes"], found["memory"]) == (1 << 51, [{"start": 0, "end": 1 << 51}])
    assert "Linux ignores 2048 TiB of memory: it takes none from 0x8000000000000," in found["warnings"][0]
    assert planned("--memory", "2P")["warnings"] == []


def test_a_refusal_is_told_with_kdump(planned, capsys):
    arguments = ("--memory", "1G", "--cmdline", "fadump=on crashkernel=256M")
    found = planned(*arguments)
    assert (found["result"], found["reserved_base"], found["sections"]) == ("refused", None, [])
    assert "less than 320 MiB" in found["refusal"]
    assert found["kdump"] == {"start": 512 * MIB, "end": 768 * MIB}
    assert run(*arguments) == 0
    verdict = capsys.readouterr().out.splitlines()[:2]
    assert verdict[0].startswith("no FADump: 256 MiB of boot memory is less than")
    assert verdict[1] == "kdump has 256 MiB at 0x20000000 instead"


def test_the_text_has_the_verdict_and_the_map_and_with_why_numbers_reasons_and_tables(capsys):
    arguments = ("--cmdline", "fadump=on crashkernel=402M", "--mmu", "hash")
    assert run(*arguments, "--why") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("FADump reserves 402.1 MiB at 0x30000000, and a capture kernel has 402 MiB to save a dump")
    title = "Linux 6.12, 64K pages, pseries, hash, 2048 MiB of RAM: fadump=on crashkernel=402M"
    assert f"\n\n{title}\n" in out
    assert "capture kernel: 0 to 0x80000000" in out
    assert "\nboot_memory_bytes        0x19200000 (402 MiB)\n" in out
    assert "[arch/powerpc/kernel/fadump.c:fadump_calculate_reserve_size]" in out
    assert "\nwarning: the area at 0x30000000 or boot memory's size" in out
    assert "no row  Fedora, RHEL (kdump-utils, FADump): 4G-16G:768M, 16G-64G:1G," in out
    assert run(*arguments) == 0
    short = capsys.readouterr().out
    assert short.endswith("--why\n") and "fadump.c" not in short and "kdump-utils" not in short
    assert out.startswith(short.rpartition("\n\n")[0])


@pytest.mark.parametrize(
    ("memory", "crashkernel", "verdict"),
    [
        ("64G", "1G", "that is little: distributions recommend 2048 MiB to 3276 MiB for this much RAM: use"),
        ("64G", "2G", "that is enough by distributions, which recommend 2048 MiB to 3276 MiB for this much RAM"),
    ],
)
def test_the_verdict_says_whether_it_is_as_much_as_distributions_recommend(memory, crashkernel, verdict, capsys):
    """By kdump-utils' and kdump-tools' tables, a row of 64G-128G each, and SUSE's 5 % of RAM."""
    assert run("--memory", memory, "--cmdline", f"fadump=on crashkernel={crashkernel}") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(verdict)


@pytest.mark.parametrize(
    ("crashkernel", "problem"),
    [
        ("1G-:", "crashkernel= is not valid, a size is expected"),
        (",", "crashkernel= is not valid, a size is expected"),
        ("nonsense", "crashkernel= is not valid, a size is expected"),
        ("100T", "crashkernel= is not smaller than RAM"),
        ("0", "crashkernel= comes to 0 bytes"),
        ("1G,high", "crashkernel= does not count if it ends in ,high or ,low"),
    ],
)
def test_a_crashkernel_that_linux_ignores_is_told_beside_the_verdict(crashkernel, problem, planned, capsys):
    words = ("--cmdline", f"fadump=on crashkernel={crashkernel}")
    warning = f"{problem}: Linux takes 320 MiB of boot memory instead"
    assert planned(*words)["warnings"] == [warning]
    assert run(*words) == 0
    assert capsys.readouterr().out.splitlines()[2] == f"warning: {warning}"
    assert planned("--cmdline", f"crashkernel={crashkernel}")["warnings"] == [f"{problem}: Linux ignores it"]


def test_a_command_line_without_crashkernel_is_not_warned_of(planned):
    assert planned("--cmdline", "fadump=on")["warnings"] == []


@pytest.mark.parametrize("columns", [80, 120])
def test_lines_are_as_wide_as_the_terminal(columns):
    """But for the path and the function of a source, which are one word."""
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment["TERM"] = "xterm"
    words = ["-m", "fadump", "plan", "--cmdline", "fadump=on crashkernel=402M", "--why"]
    terminal = pexpect.spawn(sys.executable, words, env=environment, dimensions=(50, columns), encoding="utf-8")
    lines = [line for line in terminal.read().splitlines() if not line.lstrip().startswith("[")]
    terminal.close()
    assert terminal.exitstatus == 0
    assert columns * 2 // 3 < max(map(len, lines)) < columns


def test_a_tree_brings_memory_firmware_sizes_and_command_line(tmp_path, planned):
    path = tmp_path / "tree.dtb"
    path.write_bytes(guest_tree(cpu_state_bytes=0x4000, cmdline="fadump=nocma crashkernel=384M").encode())
    found = planned("--memory-map", path)
    assert (found["boot_memory_bytes"], found["cmdline"]) == (384 * MIB, "fadump=nocma crashkernel=384M")
    assert found["sections"][0]["bytes"] == 0x4000
    assert found["firmware"] == [{"start": 0x2FFF0000, "end": 0x30000000}]
    assert found["sections"][3]["source"] == 0x7FEFF800  # below the initrd
    other = planned("--memory-map", path, "--cmdline", "fadump=on", "--cpus", "2", "--reserved", "none")
    assert (other["boot_memory_bytes"], other["sections"][0]["bytes"], other["firmware"]) == (320 * MIB, 0x2980, [])


@pytest.mark.parametrize(("tree", "path", "name"), [
    (guest_tree(), "/rtas", "ibm,kernel-dump"), (opal_tree(), "/ibm,opal/dump", "mpipl-boot"),
])  # fmt: skip
def test_the_tree_of_a_capture_kernel_is_told_from_a_first_kernels(tmp_path, planned, tree, path, name):
    file = tmp_path / "tree.dtb"
    file.write_bytes(tree.encode())
    assert not any("a dump is announced" in warning for warning in planned("--memory-map", file)["warnings"])
    tree.find(path).properties[name] = b""
    file.write_bytes(tree.encode())
    assert any("a dump is announced" in warning for warning in planned("--memory-map", file)["warnings"])


def test_a_powernv_tree_is_known_as_one(tmp_path, planned):
    path = tmp_path / "tree.dtb"
    path.write_bytes(opal_tree().encode())
    found = planned("--memory-map", path, "--cmdline", "fadump=on")
    assert (found["platform"], found["reserved_base"]) == ("powernv", 0x32000000)


def test_a_text_map(tmp_path, planned):
    path = tmp_path / "map"
    path.write_text("0..1G\n4G..8G\n")
    assert planned("--memory-map", path, "--cmdline", "fadump=on crashkernel=1G")["reserved_base"] == 4 << 30


def test_the_help_tells_how_a_memory_map_is_written(capsys):
    assert run("--help") == 0
    assert "START..END [memory|removable|firmware]" in " ".join(capsys.readouterr().out.split())


def test_a_hole_that_loses_the_dump_is_the_verdict_and_nothing_is_enough(tmp_path, planned, capsys):
    path = tmp_path / "map"
    path.write_text("0..1G\n8G..16G\n")

    def planned_with(crashkernel):
        words = ("--memory-map", path, "--cmdline", f"fadump=on crashkernel={crashkernel}")
        assert run(*words) == 0
        return capsys.readouterr().out.splitlines(), planned(*words)

    lines, found = planned_with("2200M")
    assert lines[0].startswith("a dump would be lost, by a bug of Linux's: FADump reserves 2200.1 MiB at 0x")
    assert lines[1] == "use crashkernel=1024M or less, as much as that range has"
    assert lines[2].startswith("warning: there is a hole in boot memory, 0x40000000 to 0x200000000, and Linux counts")
    assert found["result"] == "lost" and len(found["warnings"]) == 1
    lines, found = planned_with("1024M")
    assert "that is enough" in lines[1]
    assert (found["result"], found["boot_memory_bytes"], found["warnings"]) == ("reserved", 1 << 30, [])
    path.write_text("0..256M\n8G..16G\n")
    assert planned_with("512M")[0][1] == "no crashkernel= helps: boot memory takes 320 MiB at least"


def test_the_picture_is_written(tmp_path):
    path = tmp_path / "plan.svg"
    assert run("--svg", path) == 0
    assert path.read_text().startswith("<svg ")


HPTE = "--hpte-size must be whole groups of entries, a multiple of 128 bytes up to 16384K,"
POWERNV = "--hpte-size and --cpu-state-size go with --platform pseries: OPAL offers no such sections"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mmu", "hash", "--hpte-size", "1"], f"{HPTE} 0x1 is not"),
        (["--mmu", "hash", "--hpte-size", "1T"], f"{HPTE} 0x10000000000 is not"),
        (["--cpu-state-size", "0"], "--cpu-state-size must be from 1 byte to 64 MiB, 0x0 is not"),
        (["--cpu-state-size", "1T"], "--cpu-state-size must be from 1 byte to 64 MiB, 0x10000000000 is not"),
        (["--platform", "powernv", "--hpte-size", "4K"], POWERNV),
        (["--platform", "powernv", "--cpu-state-size", "4K"], POWERNV),
        (["--reserved", "0..64T"], "--reserved takes memory of the machine, 0x0..0x400000000000 is not"),
    ],
)
def test_what_no_firmware_can_offer_is_refused(arguments, message, capsys):
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_the_firmware_has_no_memory_outside_ram(planned):
    assert planned("--memory", "64M")["firmware"] == []
    assert planned("--memory", "768M")["firmware"] == [{"start": 0x2FFF0000, "end": 0x30000000}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--memory", "2Gi"], "--memory '2Gi' is not a size; write it as 2G or 0x80000000"),
        (["--memory", "0"], "a machine needs memory"),
        (["--memory", "-1"], "--memory '-1' is not a size; write it as 2G"),
        (["--reserved", "1G"], "--reserved '1G' is not a range; write it as 0x0..2G"),
        (["--reserved", "2G..1G"], "--reserved 2G..1G: the end of 2G..1G is not above its start; write it as 0x0..2G"),
        (["--cpus", "0"], "--cpus 0: write a number from 1 to 65536"),
        (["--cpus", "two"], "--cpus two: write a number from 1 to 65536"),
        (["--memory", "1G", "--memory-map", "x"], "not allowed with argument"),
        (["--kernel-version", "5.10"], "--kernel-version 5.10: choose 6.1, 6.12 or 7.2; did you mean 6.1?"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_a_bad_map_is_an_error_of_ours(tmp_path, capsys):
    path = tmp_path / "map"
    path.write_text("nonsense")
    assert run("--memory-map", path) == 1
    assert f"{path}: line 1: 'nonsense' is not a range" in capsys.readouterr().err


def test_a_picture_for_standard_output_is_all_that_is_there(capsys, tmp_path):
    assert run("--svg", "-") == 0
    out, err = capsys.readouterr()
    assert run("--svg", tmp_path / "plan.svg") == 0
    assert out == (tmp_path / "plan.svg").read_text()
    assert err.startswith("FADump reserves")
    assert run("--svg", "-", "--json") == 2
    assert "--svg - and --json both want standard output" in capsys.readouterr().err


def test_a_limit_that_linux_6_1_dies_of_is_warned_of(planned):
    words = ["--platform", "powernv", "--mmu", "hash", "--cmdline", "fadump=on mem=2G"]
    (warning,) = planned("--kernel-version", "6.1", *words)["warnings"]
    assert warning.startswith("this Linux does not boot: memory ends at 0xb0020000, within a page of 16 MiB")
    assert planned(*words)["warnings"] == []


@pytest.mark.parametrize("content", [b"\xd0\x0d\xfe\xed", b"\xd0\x0d\xfe\xed" + bytes(60), b"ram", b"\xff", b""])
def test_a_file_that_is_no_memory_map_is_named(tmp_path, content, capsys):
    path = tmp_path / "machine.dtb"
    path.write_bytes(content)
    assert run("--memory-map", path) == 1
    assert capsys.readouterr().err.startswith(f"fadump: {path}")


def test_quiet_leaves_the_verdict(capsys):
    assert main(["plan", "-q", "--memory", "64G"]) == 0
    quiet = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in quiet] == ["FADump", "that"]
    assert main(["plan", "-q", "--memory", "64G", "--why"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > len(quiet)
