"""A Debian with the capture service whose power is cut ten times between the capture kernel's first instruction and its
prompt, at random moments: after each the firmware still has the dump, or it is whole on the disk.

A boot after a crash has stages, each of which begins with what the firmware sees or the console shows. A first boot is
left alone, so that it is known how long each takes; the cuts are then spread over them.
"""

import itertools
import random
import time

from fadump.firmware.contract import State
from fadump.observer import Seen
from tests.real_linux.image_files import MASKED, copy_of, enabled
from tests.real_linux.server import PROMPT, server

SEED = 15
STAGES = (
    Seen.CAPTURE_BOOT,
    r"systemd\[1\]: systemd \d+",
    r"Starting fadump-capture.service",
    r"Saving to /var/crash",
    r"Proving what /var/crash has",
    Seen.INVALIDATED,
    Seen.REGISTERED,
    PROMPT,
)
"""How each stage begins."""
CUT_IN = (7, 0, 0, 1, 2, 2, 3, 3, 4, 5)
"""The stages in which the power is cut, one after the other."""
AT_PROMPT_SECONDS = 5.0


class CaptureBoot:
    """A boot after a crash, from where the machine is reset."""

    def __init__(self, system):
        self._system = system
        self._before = {stage: system.count(stage) for stage in STAGES if isinstance(stage, Seen)}

    def reach(self, number):
        """Serve the machine until a stage begins, or a later one: a dump that is there by now isn't saved again."""
        stages = STAGES[number:]
        self._system.until(lambda: any(map(self._has_begun, stages)), str(stages[0]), look_seconds=0.1)

    def _has_begun(self, stage):
        if isinstance(stage, Seen):
            return self._system.count(stage) > self._before[stage]
        return self._system.found(stage)

    def lengths(self):
        """How many seconds each stage takes if nothing goes wrong."""
        begun = []
        for number in range(len(STAGES)):
            self.reach(number)
            begun.append(time.monotonic())
        return [end - start for start, end in itertools.pairwise(begun)] + [AT_PROMPT_SECONDS]


def test_ten_power_cuts_at_random_moments_lose_nothing(tmp_path, packaged_debian, kernel):
    links = [enabled("fadump-capture.service", "basic.target"), MASKED]
    disk = copy_of(packaged_debian["path"], tmp_path / "server.img", {}, links=links)
    moments = random.Random(SEED)  # noqa: S311 - a test's
    seconds = []
    cuts = []
    with server(tmp_path, kernel.bootable, disk) as system:
        for stage in CUT_IN:
            if system.state is not State.ACTIVE:
                system.log_in()
                assert system.state is State.REGISTERED
                system.crash()
            boot = CaptureBoot(system)
            seconds = seconds or boot.lengths()
            boot.reach(stage)
            system.serve_for(moments.random() * seconds[stage])
            cuts.append((STAGES[stage], system.state))
            system.cut_power()
        system.log_in()
        assert system.state is State.REGISTERED
        system.power_off()
        crashes = len(system.crashes.verifiers)
        assert system.saved(tmp_path / "out") == list(range(crashes)), cuts
