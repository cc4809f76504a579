"""The machine that a command line describes, and those that a firmware outside QEMU can't serve."""

import os
from pathlib import Path

import pytest

from fadump.abi.platform import Platform
from fadump.emulator.command_line import parse
from fadump.emulator.guest import Backend, NotServedError, find_guest, is_probe

GIB = 1 << 30


def guest(text):
    return find_guest(parse(text.split()))


def test_a_plain_command_line_is_a_pseries_that_boots_from_its_disk():
    found = guest("-m 2G disk.img")
    assert found.platform is Platform.PSERIES
    assert found.kernel is None
    assert found.backends == (Backend(2 * GIB, "ppc_spapr.ram", None),)
    assert not found.is_held
    assert not found.ends_at_reboot
    assert not found.is_daemon
    assert found.gdb is None


@pytest.mark.parametrize(
    ("size", "size_bytes"),
    [
        ("4096", 4 * GIB),
        ("size=4G,slots=2,maxmem=8G", 4 * GIB),
        ("1.5G", 3 << 29),
        ("2048M", 2 << 30),
        ("2g", 2 << 30),
        ("1G -m 2G", 2 * GIB),
        ("1G -m slots=2,maxmem=8G", GIB),
    ],
)
def test_sizes_are_qemus(size, size_bytes):
    assert [backend.size_bytes for backend in guest(f"-m {size}").backends] == [size_bytes]


def test_what_several_options_say_of_the_machine_is_joined():
    found = guest("-machine accel=tcg -M powernv9 -kernel vmlinux -m 4G -S -daemonize -no-reboot")
    assert found.platform is Platform.POWERNV
    assert found.kernel == Path("vmlinux").absolute()
    assert found.backends[0].id == "pnv.ram"
    assert found.is_held
    assert found.is_daemon
    assert found.ends_at_reboot


def test_the_last_word_on_reboots_counts():
    assert guest("-m 1G -action reboot=shutdown").ends_at_reboot
    assert not guest("-m 1G -no-reboot -action panic=none,reboot=reset").ends_at_reboot


def test_what_is_said_of_gdb_last_counts():
    assert guest("-m 1G -gdb stdio -gdb tcp::1 -s").gdb.port == "1234"
    assert guest("-m 1G -s -gdb tcp::1").gdb.port == "1"
    assert guest("-m 1G -s -gdb none").gdb is None


def test_guest_ram_is_the_object_that_the_machine_names():
    words = ["-machine", "pseries-7.2,memory-backend=ram", "-m", "1048576k", "-object"]
    described = '{"qom-type":"memory-backend-ram","id":"ram","size":1073741824}'
    assert find_guest(parse([*words, described])).backends == (Backend(GIB, "ram", 5),)


def test_guest_ram_without_an_object_may_be_a_file_in_a_directory(tmp_path):
    assert guest(f"-m 1G -mem-path /dev/null -mem-path {tmp_path}").ram_directory == tmp_path
    assert guest("-m 1G").ram_directory is None
    object_ = "-object memory-backend-ram,id=r,size=1G -machine memory-backend=r"
    assert guest(f"-m 1G -mem-path {tmp_path} {object_}").ram_directory is None


def test_huge_pages_are_not_for_guest_ram():
    fd = os.memfd_create("huge", os.MFD_HUGETLB)
    with pytest.raises(NotServedError, match="has huge pages"):
        guest(f"-m 1G -mem-path /proc/self/fd/{fd}")
    os.close(fd)


def test_numa_nodes_lie_in_the_order_of_their_numbers():
    words = "-m 3G -object memory-backend-ram,id=a,size=1G -object memory-backend-memfd,id=b,size=2G"
    found = guest(f"{words} -numa node,nodeid=1,memdev=a -numa node,nodeid=0,memdev=b -numa dist,src=0,dst=1,val=20")
    assert found.backends == (Backend(2 * GIB, "b", 5), Backend(GIB, "a", 3))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-m 1G -M mac99", "mac99 is neither a pseries nor"),
        ("-m 4G -M powernv8 -kernel vmlinux", "powernv8 is neither"),
        ("-m 4G -M powernv9", "only a -kernel is followed"),
        ("-m 4G -M pseries,x-vof=on disk.img", "takes a -kernel"),
        ("-m slots=2,maxmem=8G", "without a size in -m"),
        ("-m 1G -accel kvm", "here it is kvm"),
        ("-m 1G -M accel=kvm", "here it is kvm"),
        ("-m 1G -enable-kvm", "here it is kvm"),
        ("-m 1G -accel qtest", "here it is qtest"),
        ("-m 1G -M kernel-addr=0", "kernel-addr= puts it elsewhere"),
        ("-m 1G -incoming defer", "has booted without this firmware"),
        ("-m 1G -loadvm today", "has booted without this firmware"),
        ("-m 1G -gdb stdio", "only QEMU's own gdb stub can be at stdio"),
        ("-m 1G -s -gdb chardev:gdb0", "only QEMU's own gdb stub can be at chardev:gdb0"),
        ("-m 1G -readconfig file", "-readconfig"),
        ("-m 1G -preconfig", "-preconfig"),
        ("-m 1G -mem-path /dev/null", "-mem-path /dev/null is no directory"),
        ("-m 1G,slots=1,maxmem=2G -object memory-backend-ram,id=d,size=1G -device pc-dimm,memdev=d", "memory modules"),
        ('-m 1G -device {"driver":"pc-dimm","memdev":"d"}', "memory modules"),
        ("-m 1G -M memory-backend=ram", "no -object ram"),
        ("-m 1G -M memory-backend=ram -object memory-backend-file,id=ram,size=1G,mem-path=x", "a memory-backend-file"),
        ("-m 1G -M memory-backend=ram -object memory-backend-memfd,id=ram,size=1G,hugetlb=on", "-memfd of its own"),
        ("-m 1G -numa node,mem=1G", "from mem="),
        ("-m much", "'much' is no size"),
        ("-nographic", "without a size in -m"),
    ],
)  # fmt: skip
def test_what_cant_be_served_has_a_reason(text, reason):
    with pytest.raises(NotServedError, match=reason):
        guest(text)


def test_kvm_that_this_host_cant_have_gives_way_to_tcg():
    assert guest("-m 1G -M pseries,accel=kvm:tcg").platform is Platform.PSERIES
    assert guest("-m 1G -accel kvm -accel tcg,thread=multi").platform is Platform.PSERIES


@pytest.mark.parametrize(
    "text", ["-version", "--version", "-h", "-M help", "-cpu ?", "-m 1G -device help", "-machine none,accel=kvm:tcg -S"]
)
def test_a_probe_is_one(text):
    assert is_probe(parse(text.split()))


def test_a_guest_is_no_probe():
    assert not is_probe(parse(["-m", "1G", "-name", "helper", "-append", "help me"]))
