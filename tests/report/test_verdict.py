"""Verdicts on what real kernels have said, from their logs."""

import pytest

from fadump.report.verdict import Certainty, judge
from tests.report.stories import findings_of, kernel_that_said

OOPS = (
    "BUG: Kernel NULL pointer dereference on read at 0x00000018",
    "Faulting instruction address: 0xc0080000012a0040",
    "Oops: Kernel access of bad area, sig: 11 [#1]",
    "Modules linked in: badmod(OE) ext4",
    "CPU: 0 PID: 812 Comm: insmod Tainted: G           OE      6.1.0 #1",
    "NIP:  c0080000012a0040 LR: c0080000012a0038 CTR: c000000000161110",
    "NIP [c0080000012a0040] bad_init+0x40/0x70 [badmod]",
    "LR [c0080000012a0038] bad_init+0x38/0x70 [badmod]",
    "---[ end trace 0000000000000000 ]---",
    "Kernel panic - not syncing: Fatal exception",
)


def verdict(*texts, **registers):
    return judge(findings_of(kernel_that_said(*texts, **registers)))


def test_a_module_that_follows_a_null_pointer_is_to_blame():
    found = verdict(*OOPS)
    assert found.what == "The kernel followed a pointer that was NULL"
    assert found.blame == "the module badmod, in bad_init()" and found.certainty is Certainty.LIKELY
    assert "while insmod (PID 812) ran" in found.where


def test_spoilt_memory_makes_it_less_sure():
    found = verdict(
        "list_del corruption. prev->next should be 1, but was 2", *OOPS[:1], "Oops: list_del corruption", *OOPS[3:]
    )
    assert found.certainty is Certainty.UNSURE and "spoilt before" in found.because[-1]


@pytest.mark.parametrize(
    ("trap", "blame"), [(0x300, "inner()"), (0x380, "inner()"), (0x400, "outer()"), (0x700, "inner()")]
)
def test_a_fault_that_led_straight_to_the_dump_is_told_by_its_registers(trap, blame):
    found = verdict("calm", trap=trap)
    assert found.blame == blame and "by the registers of its fault" in found.because[-1]


@pytest.mark.parametrize(
    ("texts", "what", "blame", "certainty"),
    [
        (
            ["sysrq: Trigger a crash", "Kernel panic - not syncing: sysrq triggered crash",
             "CPU: 0 PID: 74 Comm: sh Not tainted 6.12.0"],
            "on purpose", "sh (PID 74)", Certainty.CERTAIN,
        ),
        (
            ["kernel BUG at mm/slub.c:440!", "NIP [c0000000003b0a10] __slab_free+0x10/0x500",
             "Kernel panic - not syncing: Fatal exception"],
            "check of its own, at mm/slub.c:440", "__slab_free()", Certainty.LIKELY,
        ),
        (
            ["INFO: task cat:123 blocked for more than 122 seconds.",
             "Kernel panic - not syncing: hung_task: blocked tasks"],
            "blocked for more than 122 seconds", None, Certainty.UNKNOWN,
        ),
        (
            ["watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [kworker/3:1:77]",
             "NIP [c00800000012a000] spin_here+0x20/0x40 [spinner]",
             "Kernel panic - not syncing: softlockup: hung tasks"],
            "for too long", "the module spinner, in spin_here()", Certainty.UNSURE,
        ),
        (
            ["rcu: INFO: rcu_sched self-detected stall on CPU", "Kernel panic - not syncing: RCU Stall"],
            "RCU waited", None, Certainty.UNKNOWN,
        ),
        (
            ["sh invoked oom-killer: gfp_mask=0x1, order=0",
             "Kernel panic - not syncing: System is deadlocked on memory"],
            "out of memory", None, Certainty.UNKNOWN,
        ),
        (
            ["Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100"],
            "init, ended", "init", Certainty.LIKELY,
        ),
        (
            ["Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"],
            "root file system", "the boot configuration", Certainty.LIKELY,
        ),
        (
            ["WARNING: CPU: 0 PID: 1 at kernel/fork.c:99 copy_process+0x10/0x20",
             "Kernel panic - not syncing: kernel: panic_on_warn set ..."],
            "warned at kernel/fork.c:99", "copy_process()", Certainty.LIKELY,
        ),
        (
            ["Severe Machine check interrupt [Not recovered]",
             "Kernel panic - not syncing: Unrecoverable Machine check"],
            "machine check", "the hardware", Certainty.LIKELY,
        ),
    ],
    ids=["sysrq", "bug", "hung", "lockup", "rcu", "oom", "init", "root", "warn", "mce"],
)  # fmt: skip
def test_what_happened_and_who_is_to_blame(texts, what, blame, certainty):
    found = verdict(*texts)
    assert what in found.what
    assert (found.blame, found.certainty) == (blame, certainty)


def test_a_reset_from_outside_is_nobodys_fault_in_the_kernel():
    found = verdict("calm", trap=0x100)
    assert found.blame == "an operator, or the platform"


def test_without_any_word_nothing_is_made_up():
    found = verdict("calm")
    assert found.blame is None and found.certainty is Certainty.UNKNOWN


@pytest.mark.parametrize(
    ("nip", "lr", "blame", "through"),
    [
        ("memcpy+0x10/0x40", "copy_it+0x20/0x40 [mine]", "the module mine, in copy_it()", "memcpy(), called by"),
        ("_raw_spin_lock+0x10/0x40", "locks+0x20/0x40", "locks()", "_raw_spin_lock(), called by"),
        ("copy_it+0x10/0x40 [mine]", "caller+0x20/0x40", "the module mine, in copy_it()", "in copy_it()"),
        ("memcpy+0x10/0x40", "strlen+0x20/0x40", "memcpy()", "in memcpy()"),
        ("queued_spin_lock_slowpath+0x10/0x40", "uses+0x20/0x40", "uses()", "called by uses()"),
        ("kvfree+0x10/0x40", "___slab_alloc+0x20/0x40", "kvfree()", "in kvfree()"),
        (
            "read_block_for_search+0x10/0x40",
            "caller+0x20/0x40",
            "read_block_for_search()",
            "in read_block_for_search()",
        ),
        ("0x0", "calls+0x20/0x40 [mine]", "the module mine, in calls()", "at an address where no code is, called by"),
    ],
)
def test_who_has_called_a_helper_is_to_blame_by_the_registers_in_the_log(nip, lr, blame, through):
    found = verdict(
        "BUG: Unable to handle kernel data access at 0xc0080000deadbeef",
        f"NIP [c0080000012a0040] {nip}",
        f"LR [c0080000012a0038] {lr}",
        "Kernel panic - not syncing: Fatal exception",
    )
    assert found.blame == blame and through in found.because[-1]


def test_a_variable_that_was_jumped_to_is_not_to_blame():
    found = verdict(
        "BUG: Unable to handle kernel instruction fetch",
        "NIP [c0080000012a0040] data_area+0x0/0x40 [mine]",
        "LR [c0080000012a0038] jumps+0x38/0x70 [mine]",
        "Kernel panic - not syncing: Fatal exception",
    )
    assert found.blame == "the module mine, in jumps()"


def test_a_check_that_found_spoilt_memory_says_what_it_found():
    found = verdict(
        "list_add corruption. next->prev should be prev (1), but was 2.",
        "------------[ cut here ]------------",
        "kernel BUG at lib/list_debug.c:29!",
        "NIP [c0000000003b0a10] __list_add_valid_or_report+0x10/0x500",
        "LR [c0080000012a0038] adds+0x38/0x70 [mine]",
        "Kernel panic - not syncing: Fatal exception",
    )
    assert found.blame == "the module mine, in adds()" and found.certainty is Certainty.UNSURE
    assert any("next->prev should be prev (1)" in text for text in found.because)


def test_a_broken_stack_protector_is_its_functions_own_fault():
    found = verdict(
        "Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: spill+0x58/0x60 [mine]",
        "NIP [c0080000012a0038] spill+0x58/0x60 [mine]",
    )
    assert found.what == "A function wrote behind its variables on the stack"
    assert found.certainty is Certainty.LIKELY


def test_who_holds_what_a_hung_task_waits_for_is_named_by_the_log():
    found = verdict(
        "INFO: task cat:123 blocked for more than 122 seconds.",
        "INFO: task cat:123 is blocked on a mutex likely owned by task writer:77.",
        "Kernel panic - not syncing: hung_task: blocked tasks",
    )
    assert found.what.startswith("A task was blocked for more than 122 seconds")
    assert (found.blame, found.certainty) == ("writer (PID 77)", Certainty.UNSURE)


def test_a_warning_as_newer_kernels_print_it():
    found = verdict(
        "WARNING: kernel/fork.c:99 at copy_process+0x10/0x20 [mine], CPU#0: sh/100",
        "Kernel panic - not syncing: kernel: panic_on_warn set ...",
    )
    assert "warned at kernel/fork.c:99" in found.what and found.blame == "the module mine, in copy_process()"
