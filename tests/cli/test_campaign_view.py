"""What is told of a campaign where no table moves, by a clock that only the test turns."""

import io

from fadump.campaign.outcome import Outcome
from fadump.cli.campaign_view import CampaignView
from fadump.look import Look
from tests.campaign.runs import job, run


def test_nothing_is_silent_for_long(clock):
    out = io.StringIO()
    view = CampaignView({1: "cpus=1", 2: "cpus=2"}, {}, Look(out), clock)
    view.started(job(1))
    clock.now += 1
    view.started(job(2))
    for _second in range(14):
        view.waiting()
        clock.now += 1
    view.ended(job(1), run(Outcome.SAVED))
    view.waiting()
    clock.now += 3
    view.waiting()
    assert out.getvalue().splitlines() == [
        "    2.00 s  0 of 2 runs; run 1: cpus=1: 2.0 s",
        "   12.00 s  0 of 2 runs; run 1: cpus=1: 12 s",
        "   15.00 s  1 of 2  saved  run 1: cpus=1",
        "   18.00 s  1 of 2 runs, about 18 s left; run 2: cpus=2: 17 s",
    ]
