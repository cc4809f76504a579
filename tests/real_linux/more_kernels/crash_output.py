"""What crash says of tasks, their stacks and modules: its commands ps, foreach bt and mod."""

import re

from fadump.abi.linux.page_table import PAGE_OFFSET

STATES = {"RU": "R", "IN": "S", "UN": "D", "ID": "I", "ZO": "Z", "ST": "T", "DE": "X", "PA": "P", "WA": "R", "NE": "R"}


def tasks_by_crash(said):
    """Of each task: its number, its parent's, its CPU, its task_struct, its state, its name, its memory in KiB.

    crash has a kernel thread's name in brackets.
    """
    line = r"^>? +(\d+) +(\d+) +(\d+)  ([0-9a-f]{16})  ([A-Z]{2}) +\d+\.\d +\d+ +(\d+)  (.*)$"
    for pid, parent, cpu, address, state, kib, name in re.findall(line, said, re.MULTILINE):
        yield int(pid), int(parent), int(cpu), int(address, 16), STATES[state], name.strip("[]"), int(kib)


def modules_by_crash(said):
    """Of each module: its struct module, its name, its text's address and its size in bytes."""
    line = r"^([0-9a-f]{16})  (\S+) +([0-9a-f]{16}) +(\d+)  "
    for at, name, text, size in re.findall(line, said, re.MULTILINE):
        yield int(at, 16), name, int(text, 16), int(size)


def stacks_by_crash(said):
    """The addresses of code on each stack, by the task_struct; without those that crash says are unreliable."""
    stacks = {}
    for trace in re.split(r"^PID: ", said, flags=re.MULTILINE)[1:]:
        (task,) = re.findall(r"TASK: ([0-9a-f]{16})", trace.splitlines()[0])
        frames = re.findall(r"^ *#\d+ \[[0-9a-f]{16}\] \S+ at ([0-9a-f]+)(?! .*unreliable)", trace, re.MULTILINE)
        stacks[int(task, 16)] = [pc for frame in frames if (pc := int(frame, 16)) >= PAGE_OFFSET]
    return stacks
