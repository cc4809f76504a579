from fadump.kernel.plan.plan import make_plan
from fadump.kernel.plan.recommended import recommendations
from fadump.kernel.traits import GIB, LINUX_6_12, MIB
from tests.kernel.systems import powernv, pseries


def test_a_plan_has_both_kernels_and_a_reason_for_each_number():
    plan = make_plan(pseries(), LINUX_6_12, "fadump=on crashkernel=512M")
    assert (plan.refusal, plan.kdump) == (None, None)
    numbers = {reason.name: reason.number for reason in plan.reasons}
    assert numbers == {
        "system_ram": 2 * GIB,
        "boot_memory_bytes": 512 * MIB,
        "boot_memory_top": 512 * MIB,
        "cpu_state_bytes": 0x2980,
        "hpte_bytes": 0,
        "boot_memory_copy": 0x20010000,
        "crash_info_header_bytes": 0x1B0,
        "reserved_bytes": 0x200101B0,
        "reserved_base": 0x20000000,
        "cma_bytes": 512 * MIB,
        "parameter_area": 0x7FFFF800,
        "capture_boot_memory_top": 512 * MIB,
        "capture_reserved_bytes": 1536 * MIB,
        "capture_usable_bytes": 512 * MIB,
    }
    for reason in plan.reasons:
        file, _colon, function = reason.source.rpartition(":")
        assert file.endswith(".c")
        assert function.isidentifier()
        assert reason.sentence


def test_a_powernv_plan_has_metadata_and_no_firmware_sizes():
    names = {reason.name for reason in make_plan(powernv(), LINUX_6_12, "fadump=on").reasons}
    assert "metadata_bytes" in names
    assert not names & {"cpu_state_bytes", "hpte_bytes", "parameter_area"}


def test_a_refusal_comes_with_kdump():
    plan = make_plan(pseries((0, 1024)), LINUX_6_12, "fadump=on crashkernel=256M")
    assert (plan.reservation, plan.capture) == (None, None)
    assert "less than 320 MiB" in plan.refusal.sentence
    assert plan.kdump.area.size_bytes == 256 * MIB
    assert [reason.name for reason in plan.reasons] == ["kdump_base"]
    assert plan.warnings == ()


def test_warnings_are_the_reservations():
    plan = make_plan(pseries((0, 100), (200, 4096)), LINUX_6_12, "fadump=on crashkernel=600M")
    assert plan.warnings == plan.reservation.warnings != ()


def test_recommendations_by_ram():
    def sizes(ram_bytes):
        return [recommendation.size_bytes for recommendation in recommendations(ram_bytes)]

    assert sizes(2 * GIB) == [None, 320 * MIB, 102 * MIB]
    assert sizes(4 * GIB) == [768 * MIB, 512 * MIB, 204 * MIB]
    assert sizes(64 << 40) == [180 * GIB, 4 * GIB, (64 << 40) // 20 // MIB * MIB]
    assert sizes(GIB) == [None, None, 64 * MIB]
