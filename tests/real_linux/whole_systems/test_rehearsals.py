"""``fadump rehearse`` of systems that lose their dumps, each in a way of its own."""

from tests.real_linux import mini_system


def test_a_system_that_saves_nothing_has_lost_its_dump(rehearse):
    status, result, said = rehearse(save="true", then=mini_system.REBOOT)
    assert (status, result["result"], result["phase"]) == (1, "lost", "saved"), said
    assert "has rebooted out of its capture boot, and there is no new dump in its /var/crash" in result["error"]
    assert (result["service"], result["resets"]) == ("rebooted", 2)


def test_a_system_that_does_not_register_is_named(rehearse):
    status, result, said = rehearse("--patience", "0.5", extra="echo 0 >/sys/kernel/fadump/registered")
    assert (status, result["result"], result["phase"]) == (1, "not-registered", "registered"), said


def test_a_capture_kernel_that_crashes_has_lost_its_dump(rehearse):
    status, result, said = rehearse(save="echo c >/proc/sysrq-trigger")
    assert (status, result["result"]) == (1, "lost"), said
    assert result["error"].startswith("the capture kernel has ")


def test_a_dump_that_was_cut_short_is_not_saved(rehearse):
    status, result, said = rehearse(save="head -c 300000000 /proc/vmcore >/var/crash/today/vmcore")
    assert (status, result["result"], result["dump"]["check"]) == (1, "lost", "damaged"), said
    assert "/var/crash/today/vmcore is not whole" in result["error"]
