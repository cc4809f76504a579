"""The model of what a capture boot needs, against numbers worked out by hand and what Linux has said."""

import pytest

from fadump.abi.platform import Platform
from fadump.kernel.plan.need import (
    CaptureSystem,
    capture_need,
    early_bytes,
    hash_tables_bytes,
    recommended_bytes,
    struct_pages_bytes,
)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@pytest.mark.parametrize(("ram", "page", "size"), [
    (4 * GIB, 64 * KIB, 4 * MIB), (160 * GIB, 64 * KIB, 160 * MIB), (4 * GIB, 4 * KIB, 64 * MIB),
    (16 * GIB, 4 * KIB, 256 * MIB), (64 * KIB + 1, 64 * KIB, 128),
])  # fmt: skip
def test_each_page_of_ram_has_64_bytes(ram, page, size):
    assert struct_pages_bytes(ram, page) == size


@pytest.mark.parametrize(("memory", "size"), [
    (4149504 * KIB, (4194304 + 2097152)),  # "Dentry cache hash table entries: 524288 (order: 6, 4194304 bytes", ...
    (320 * MIB, (65536 + 32768) * 8),
    (64 * GIB, (8 << 20 | 4 << 20) * 8),
    (128 * GIB, (8 << 20 | 4 << 20) * 8),  # twice the memory, one bucket for twice as much
])  # fmt: skip
def test_the_hash_tables_are_those_that_linux_makes(memory, size):
    assert hash_tables_bytes(memory) == size


def test_the_need_is_the_sum_of_its_terms():
    system = CaptureSystem(64 * KIB, kernel_bytes=40 * MIB, initrd_bytes=10 * MIB, user_space_bytes=60 * MIB)
    need = capture_need(system, 64 * GIB, 4)
    assert (need.kernel_bytes, need.struct_pages_bytes, need.initrd_bytes) == (40 * MIB, 64 * MIB, 10 * MIB)
    assert need.user_space_bytes == (60 - 10) * MIB
    assert need.size_bytes == sum(size for _name, size in need.named())
    assert need.hash_tables_bytes == (32768 + 16384) * 8


@pytest.mark.parametrize(("initrd", "user_space", "in_initrd", "both"), [
    (0, 60, False, 60), (10, 60, False, 60), (70, 60, False, 70 + 12), (10, 60, True, 70), (0, 5, False, 5),
])  # fmt: skip
def test_an_initrd_is_given_back_before_user_space_needs_most(initrd, user_space, in_initrd, both):
    system = CaptureSystem(64 * KIB, 40 * MIB, initrd * MIB, user_space * MIB, in_initrd)
    need = capture_need(system, 4 * GIB, 2)
    assert need.initrd_bytes + need.user_space_bytes == both * MIB
    assert need.size_bytes == sum(size for _name, size in need.named())


def test_other_pages_are_an_estimate_for_user_space_too():
    system = CaptureSystem(64 * KIB, 40 * MIB, 10 * MIB, 46 * MIB)
    other = system.with_pages_of(4 * KIB)
    assert (other.page_bytes, other.kernel_bytes, other.initrd_bytes) == (4 * KIB, 40 * MIB, 10 * MIB)
    assert other.user_space_bytes == 35 * MIB  # 70 MiB for 92
    assert other.with_pages_of(64 * KIB) == system


def test_what_is_taken_early_is_what_a_kernel_counts_as_reserved():
    """Linux 6.12 with 64 KiB pages and 4 GiB says MemTotal: 4149504 kB with 2 CPUs, 4139392 kB with 32."""
    two, many = (early_bytes(4 * GIB, 64 * KIB, cpus, 4149504 * KIB) for cpus in (2, 32))
    assert many - two == pytest.approx((4149504 - 4139392) * KIB, rel=0.06)
    assert two == 4 * MIB + 2 * 320 * KIB + 6 * MIB


def test_each_cpu_takes_as_much():
    one, nine = (capture_need(CaptureSystem(), 4 * GIB, cpus).per_cpu_bytes for cpus in (1, 9))
    assert nine == 9 * one > 0


@pytest.mark.parametrize(("platform", "need_mib", "ram_gib", "size_mib"), [
    (Platform.PSERIES, 100, 4, 320), (Platform.PSERIES, 256, 4, 320), (Platform.PSERIES, 257, 4, 384),
    (Platform.PSERIES, 307, 4, 384), (Platform.PSERIES, 308, 4, 448), (Platform.POWERNV, 100, 4, 768),
    (Platform.PSERIES, 900, 4, None), (Platform.PSERIES, 900, 5, 1152),
])  # fmt: skip
def test_a_quarter_more_is_recommended(platform, need_mib, ram_gib, size_mib):
    found = recommended_bytes(platform, need_mib * MIB, ram_gib * GIB)
    assert found == (None if size_mib is None else size_mib * MIB)
