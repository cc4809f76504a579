"""How long each step of a rehearsal may take."""

import re
from dataclasses import astuple
from pathlib import Path

from fadump.systems.rehearsal import Patience

DOCUMENT = Path(__file__).parents[2] / "docs/your-disk-image.md"


def test_the_document_has_the_time_of_each_step():
    steps = re.findall(r"^\| `(\w+)` \| .* \| (\d+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    patience = Patience()
    assert [float(seconds) for _phase, seconds in steps] == [
        *(patience.production, patience.registration, patience.preserving, patience.capture_boot, patience.saving),
        *(patience.production, patience.idle, patience.registration),
    ]


def test_patience_makes_every_step_longer():
    assert astuple(Patience().scaled(2)) == tuple(2 * seconds for seconds in astuple(Patience()))
