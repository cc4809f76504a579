import pytest

from fadump.abi.powernv.mpipl import MpiplOperation
from fadump.firmware.contract import Answer, PassThrough, Trigger
from tests.firmware.powernv.guest import call, firmware_in, update
from tests.firmware.powernv.status_table import PASSED_THROUGH, ROWS, TRIGGERS_A_DUMP
from tests.firmware.pseries.guest import guest_memory


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.state.value}: {row.description}")
def test_a_call_is_answered_as_the_table_says(row):
    with guest_memory() as memory:
        firmware = firmware_in(row.state, memory)
        for range_ in row.ranges:
            assert update(firmware, memory, MpiplOperation.ADD_RANGE, *range_) == Answer(0)
        before = firmware.registration
        outcome = call(firmware, memory, row.token, *row.args)
    match outcome:
        case Answer(status=status, reason=reason):
            assert status == row.expected, reason
            assert bool(reason) == (status != 0)
            if status != 0:
                assert firmware.registration == before
        case PassThrough():
            assert row.expected == PASSED_THROUGH
        case Trigger():
            assert row.expected == TRIGGERS_A_DUMP
    assert firmware.state is row.after


def test_every_row_has_its_own_description():
    assert len({(row.state, row.description) for row in ROWS}) == len(ROWS)
