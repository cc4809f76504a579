"""The tests' own archive leaves no process behind, however the tests end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.archive import signing_key
from tests.kit.conftest import is_alive, wait_until

ROOT = Path(__file__).parent.parent.parent
SIGNING = """\
import pathlib, sys
from tests.kit.archive import signing_key
with signing_key(pathlib.Path(sys.argv[1])):
    print("signing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path_factory):
    """A name that fits into a socket's address."""
    return tmp_path_factory.mktemp("g")


def processes_of(home):
    """All that have ``home`` in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.fsencode(home) in words and is_alive(int(path.parent.name)):
            found.append(words)
    return found


def test_the_agent_ends_with_the_key(home):
    with signing_key(home) as gpg:
        assert gpg("--clearsign", text=b"text").startswith(b"-----BEGIN PGP SIGNED MESSAGE-----")
        assert len(processes_of(home)) == 1
    wait_until(lambda: not processes_of(home))


def test_the_agent_ends_with_a_test_that_fails(home):
    with pytest.raises(ZeroDivisionError), signing_key(home):
        raise ZeroDivisionError
    wait_until(lambda: not processes_of(home))


def test_the_agent_ends_if_the_tests_are_killed(home):
    command = [sys.executable, "-c", SIGNING, home]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout.readline() == "signing\n"
        assert len(processes_of(home)) == 2  # the tests and the agent
        tests.send_signal(signal.SIGKILL)
    wait_until(lambda: not processes_of(home))
