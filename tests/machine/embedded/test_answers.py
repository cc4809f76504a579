"""Each answer of the firmware, and what Linux makes of it."""

import pytest

from fadump.abi.platform import Platform
from fadump.abi.powernv.mpipl import MpiplOperation, MpiplTag
from fadump.abi.powernv.opal import OpalStatus, OpalToken
from fadump.firmware.contract import State
from fadump.machine.channel import (
    Crash,
    Crashing,
    Hello,
    Register,
    Registered,
    Release,
    Released,
    Reregister,
    Save,
    Saved,
    Unregister,
    Unregistered,
)
from tests.machine.embedded.bench import bench

SUCCESS = "rtas fadump: Registration is successful!"


@pytest.mark.parametrize(
    ("status", "said", "registered"),
    [
        (-1, "rtas fadump: Failed to register. Hardware Error(-1).", False),
        (-3, "rtas fadump: Failed to register. Parameter Error(-3).", False),
        (-9, "rtas fadump: Already registered!", True),
        (-10, "rtas fadump: Failed to register. Unknown Error(-10).", False),
    ],
)
def test_a_registration_that_rtas_refuses(status, said, registered):
    with bench() as guest:
        guest.statuses.append(status)
        hello = guest.until(Hello)
        assert said in guest.log and SUCCESS not in guest.log
        assert hello.registered is registered


@pytest.mark.parametrize("statuses", [(-2, -2), (9900, 9901, 9902), (-2, 9903)])
def test_a_busy_firmware_is_asked_again_and_the_kernel_waits_as_long_as_it_says(statuses):
    with bench() as guest:
        guest.statuses.extend(statuses)
        assert guest.until(Hello).registered is True
        waited_ms = sum(1 if status == -2 else 10 ** (status - 9900) for status in statuses)
        (line,) = [line for line in guest.log.splitlines() if SUCCESS in line]
        assert f"{waited_ms / 1000:.3f}" in line
        assert len(guest.calls) == len(statuses) + 1


@pytest.mark.parametrize(("status", "calls"), [(9905, 2), (9904, 7)])
def test_a_firmware_that_stays_busy_for_a_minute_is_given_up(status, calls):
    with bench() as guest:
        guest.statuses.extend([status] * 100)
        assert guest.until(Hello).registered is False
        assert "rtas fadump: Timed out waiting for firmware to complete fadump register" in guest.log
        assert len(guest.calls) == calls


def test_a_failed_registration_says_why_and_can_be_tried_again():
    with bench() as guest:
        guest.statuses.extend([-1, -3])
        guest.until(Hello)
        refused = guest.ask(Register(), Registered)
        assert refused.reason.startswith("writing to /sys/kernel/fadump/registered: Invalid argument; the")
        assert "Parameter Error(-3)" in refused.reason
        assert guest.ask(Register(), Registered).word == "registered"
        assert guest.firmware.state is State.REGISTERED


def test_unregistering_and_its_failure():
    with bench() as guest:
        guest.to_registered()
        guest.statuses.append(-1)
        assert guest.ask(Unregister(), Unregistered).word == "failed"
        assert "rtas fadump: Failed to un-register - unexpected error(-1)." in guest.log
        assert guest.ask(Unregister(), Unregistered).word == "unregistered"
        assert guest.firmware.state is State.IDLE
        guest.ask(Crash(0), Crashing)
        guest.until(Hello)
        assert guest.resets == 1 and guest.dump is None


def test_os_term_is_repeated_while_the_firmware_is_busy():
    with bench() as guest:
        guest.to_registered()
        guest.statuses.extend([-2, 9900])
        guest.ask(Crash(1), Crashing)
        assert guest.until(Hello).is_capture
        assert [call.cpu_id for call in guest.calls[-3:]] == [1, 1, 1]


def test_os_term_that_fails_ends_in_the_panic_timeout():
    with bench() as guest:
        guest.to_registered()
        guest.statuses.extend([-1, -1])  # crash_fadump() tries it, then the platform's own panic handler
        guest.ask(Crash(0), Crashing)
        assert guest.until(Hello).is_capture is False
        assert guest.log.count("ibm,os-term call failed -1") == 2
        assert "Rebooting in 5 seconds.." in guest.log


def test_memory_is_given_back_even_if_the_firmware_keeps_its_dump():
    with bench() as guest:
        guest.to_capture()
        guest.statuses.append(-1)
        assert guest.ask(Release(), Released).released_bytes > 0
        assert "rtas fadump: Failed to invalidate - unexpected error (-1)." in guest.log
        assert guest.firmware.state is State.ACTIVE
        refused = guest.ask(Reregister(), Registered)
        assert "Operation not permitted" in refused.reason


def test_nothing_is_released_twice():
    with bench() as guest:
        guest.to_capture()
        guest.ask(Release(), Released)
        calls = len(guest.calls)
        assert "release_mem: Operation not permitted" in guest.ask(Release(), Released).reason
        assert "no /proc/vmcore" in guest.ask(Save(), Saved).reason
        assert len(guest.calls) == calls


@pytest.mark.parametrize(
    ("status", "said", "enabled"),
    [
        (OpalStatus.PARAMETER, "opal fadump: Failed to register. Parameter Error(-1).", True),
        (OpalStatus.HARDWARE, "opal fadump: Support not available.", False),
        (OpalStatus.BUSY, "opal fadump: Failed to register. Unknown Error(-2).", True),
    ],
)
def test_a_range_that_opal_refuses(status, said, enabled):
    with bench(Platform.POWERNV) as guest:
        guest.statuses.extend([0, 0, status])
        hello = guest.until(Hello)
        assert said in guest.log
        assert (hello.enabled, hello.registered) == (enabled, False)


def test_ranges_beyond_opals_limit_are_left_out():
    with bench(Platform.POWERNV) as guest:
        guest.statuses.extend([0, 0, OpalStatus.RESOURCE])
        assert guest.until(Hello).registered is True
        assert "opal fadump: 1 regions could not be registered for MPIPL as MAX limit is reached!" in guest.log


@pytest.mark.parametrize("refused", [0, 1])
def test_without_its_tags_a_kernel_does_without_fadump(refused):
    with bench(Platform.POWERNV) as guest:
        guest.statuses.extend([0] * refused + [OpalStatus.PARAMETER])
        assert guest.until(Hello).enabled is False
        assert f"Failed to set {('kernel metadata', 'boot memory')[refused]} tag!" in guest.log


def test_tags_come_before_ranges():
    with bench(Platform.POWERNV) as guest:
        guest.to_registered()
        assert [(call.token, call.args[0]) for call in guest.calls] == [
            (OpalToken.MPIPL_REGISTER_TAG, MpiplTag.KERNEL),
            (OpalToken.MPIPL_REGISTER_TAG, MpiplTag.BOOT_MEM),
            (OpalToken.MPIPL_UPDATE, MpiplOperation.ADD_RANGE),
        ]


@pytest.mark.parametrize(
    ("status", "said"), [(-7, "Reboot type 3 not supported."), (-6, "No backend support for MPIPL!")]
)
def test_a_machine_without_mpipl_reboots(status, said):
    with bench(Platform.POWERNV) as guest:
        guest.to_registered()
        guest.statuses.append(status)
        guest.ask(Crash(0), Crashing)
        assert guest.until(Hello).is_capture is False
        assert said in guest.log
