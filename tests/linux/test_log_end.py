from fadump.abi.linux.printk import LogFlags
from fadump.linux.log.end import MOST_KEPT, read_log_end
from fadump.linux.log.record import LogRecord


def log(*texts, facility=0):
    return [LogRecord(number, number * 1000, facility, 6, LogFlags(0), text) for number, text in enumerate(texts)]


PANIC = "Kernel panic - not syncing: Fatal exception"


def test_the_first_sign_is_the_cause():
    end = read_log_end(
        log("booted", "BUG: Kernel NULL pointer dereference\nmore", "Oops: Kernel access", PANIC, "last")
    )
    assert end.first_sign == 1 and end.ending.panic == "Fatal exception"
    assert len(end.records) == 5 and end.earlier == 0


def test_of_an_equal_message_the_last_before_the_panic_counts():
    end = read_log_end(log("sysrq: Trigger a crash", "x", "sysrq: Trigger a crash", PANIC, "sysrq: Trigger a crash"))
    assert end.first_sign == 2


def test_a_panic_without_a_cause_is_the_first_sign_itself():
    assert read_log_end(log("booted", PANIC, "last")).first_sign == 1


def test_a_program_can_give_no_sign():
    records = [*log("BUG: mine"), *log("BUG: mine", facility=1)]
    assert read_log_end(records).first_sign == 0


def test_without_trouble_there_is_no_sign():
    end = read_log_end(log("booted", None))
    assert end.first_sign is None and len(end.records) == 2
    assert read_log_end([]).records == ()


def test_of_a_long_log_the_end_is_kept():
    end = read_log_end(log("BUG: early", *(["x"] * MOST_KEPT)))
    assert end.ending.cause == "BUG: early" and end.first_sign is None
    assert len(end.records) == MOST_KEPT and end.earlier == 1 and end.records[0].sequence == 1
