"""drgn and crash on a dump, and whether they have the registers of each CPU."""

import re

import drgn
from drgn.helpers.linux.sched import cpu_curr


def program_of(path, kernel, monkeypatch):
    """drgn with a dump; of kdump-compressed ones libkdumpfile doesn't know today's page tables, drgn does."""
    monkeypatch.setenv("DRGN_PREFER_PGTABLE_READER", "1")
    program = drgn.Program()
    program.set_core_dump(path)
    program.load_debug_info([kernel.vmlinux])
    return program


def check_drgn(program, registers):
    """Each CPU's stack begins at its own registers, which are by its number."""
    for cpu, values in registers.items():
        frame = program.stack_trace(cpu_curr(program, cpu))[0]
        assert (frame.pc, frame.register("r1")) == (values["nip"], values["gpr1"])


def crash_environment(home):
    """What crash runs in: nobody's settings."""
    return {"HOME": str(home), "PATH": "/usr/bin:/bin"}


def check_crash(said, registers):
    """The same of what crash says to "help -r"; what it says of each CPU."""
    shown = dict(re.findall(r"^CPU (\d):\n(.*?)(?=^CPU \d|\Z)", said, re.MULTILINE | re.DOTALL))
    for cpu, values in registers.items():
        assert f" R1: {values['gpr1']:016x}" in shown[str(cpu)] and f"NIP: {values['nip']:016x}" in shown[str(cpu)]
    return shown
