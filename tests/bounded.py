"""Runs a reader in a process of its own that has so much memory, and so many steps, and no more.

A step is a line of ``src/fadump`` that is executed, so the bound is the same on every computer. The process ends when a
bound is crossed, so that a reader that would take hours fails its test at once.
"""

import json
import os
import resource
import sys
import traceback
import warnings
from pathlib import Path

import fadump

SOURCES = str(Path(fadump.__file__).parent)
MIB = 1 << 20


class TooManyStepsError(BaseException):
    """No error that a reader handles."""


def bounded(function, *arguments, most_bytes=256 * MIB, most_steps=1_000_000):
    """What ``function`` returns, as JSON has it, within these bounds; AssertionError: it crosses one."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy has threads, which the child doesn't use
        child = os.fork()
    if not child:
        os.close(read_end)
        try:
            answer = {"result": _run(function, arguments, most_bytes, most_steps)}
        except BaseException:  # noqa: BLE001 - whatever it is, the parent says it
            answer = {"error": traceback.format_exc()}
        os.write(write_end, json.dumps(answer).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    answer = json.loads(text or b'{"error": "it has ended without an answer"}')
    assert "error" not in answer, answer["error"]
    return answer["result"]


def _run(function, arguments, most_bytes, most_steps):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + most_bytes
    _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    sys.settrace(_counter(most_steps))
    try:
        return function(*arguments)
    finally:
        sys.settrace(None)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _counter(most_steps):
    steps = 0

    def line(_frame, event, _argument):
        nonlocal steps
        steps += event == "line"
        if steps > most_steps:
            raise TooManyStepsError(most_steps)
        return line

    return lambda frame, _event, _argument: line if frame.f_code.co_filename.startswith(SOURCES) else None
