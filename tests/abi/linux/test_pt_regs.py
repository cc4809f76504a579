"""The words of pt_regs, by the numbers that Linux's ptrace.h gives them (PT_R0 to PT_RESULT)."""

from fadump.abi.linux.pt_regs import PT_REGS_BYTES, REGISTER_NAMES

PTRACE_H = {
    "nip": 32,
    "msr": 33,
    "orig_gpr3": 34,
    "ctr": 35,
    "link": 36,
    "xer": 37,
    "ccr": 38,
    "softe": 39,
    "trap": 40,
    "dar": 41,
    "dsisr": 42,
    "result": 43,
}


def test_each_register_is_the_word_that_linux_has_it_in():
    words = {name: number for number, name in enumerate(REGISTER_NAMES)}
    assert words == {f"gpr{number}": number for number in range(32)} | PTRACE_H
    assert PT_REGS_BYTES == 8 * 48
