import pytest

from fadump.firmware.contract import Answer, PassThrough, Trigger
from fadump.memory.ranges import Range
from tests.firmware.pseries.guest import call, firmware_in, guest_memory
from tests.firmware.pseries.status_table import PASSED_THROUGH, ROWS, TRIGGERS_A_DUMP


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.state.value}: {row.description}")
def test_a_call_is_answered_as_the_table_says(row):
    with guest_memory() as memory:
        firmware = firmware_in(row.state, memory)
        if row.buffer and memory.ram.contains(Range.sized(row.args[1], len(row.buffer))):
            memory.write(row.args[1], row.buffer)
        outcome = call(firmware, memory, row.token, row.args, row.returns)
    match outcome:
        case Answer(status=status, reason=reason):
            assert status == row.expected, reason
            assert bool(reason) == (status != 0)
        case PassThrough():
            assert row.expected == PASSED_THROUGH
        case Trigger():
            assert row.expected == TRIGGERS_A_DUMP
    assert firmware.state is row.after


def test_every_row_has_its_own_description():
    assert len({(row.state, row.description) for row in ROWS}) == len(ROWS)
