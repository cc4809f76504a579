"""Another machine, by OpenSSH's own client: it asks nobody, waits for nothing without an end, and says what is wrong.

ssh takes no host whose key it doesn't know, and notices a network that is gone. What it can't notice, a machine that
answers but takes nothing or comes to no end, is noticed here.
"""

import errno
import hashlib
import os
import re
import select
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from fadump.capture.files import Bytes, HostFiles
from fadump.errors import SetupError, reason
from fadump.service.targets.contract import TargetError

_SSH_FAILED = 255
"""ssh's own exit status; any other is that of what it has started there."""
_TOLD_BYTES = 1 << 14
_QUESTIONS = 3
_REAP_SECONDS = 5

_CHANGED = "its host key is another than {known_hosts} has: find out why, then put the right one there"
_UNKNOWN = "its host key is not in {known_hosts}: compare it with the machine's own, and add it"
_REFUSED = "it doesn't take {key}: add its public half to that user's authorized_keys there"
_LOST = "the connection was lost"
_EXPLAINED = (
    (r"IDENTIFICATION HAS CHANGED", _CHANGED),
    (r"Host key verification failed", _UNKNOWN),
    (r'Load key "[^"]*": (?P<why>[^\r\n]*)', "{key} can't be used: {why}"),
    (r"Permission denied \(", _REFUSED),
    (r"Could not resolve hostname", "its name is not known here: give its address, or add it to /etc/hosts"),
    (r"Connection refused", "nobody listens there: start sshd, or give its port"),
    (r"No route to host|Network is unreachable", "there is no way to it: is the network up?"),
    (r"[Tt]imed out|Timeout", "it hasn't answered for {seconds} seconds"),
    (r"[Cc]losed by|Broken pipe|reset by|Connection closed|disconnect", _LOST),
)
"""What ssh says (ssh.c, sshconnect.c, clientloop.c, packet.c), and what it means here.

OpenSSH 10 says nothing of a connection that is lost.
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom to be on which machine, and how either side knows the other; None leaves it to ssh's own configuration.

    ``patience_seconds`` is how long it may be silent, or take nothing of what it is sent.
    """

    host: str
    user: str | None = None
    port: int | None = None
    key: Path | None = None
    known_hosts: Path | None = None
    patience_seconds: int = 60

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = "" if self.user is None else f"{self.user}@"
        return f"ssh://{user}{host}" + ("" if self.port is None else f":{self.port}")

    def command(self) -> list[str]:
        """The words that start ssh, up to what is to be done there.

        :raises SetupError: the key or the list of known hosts can't be read.
        """
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "ConnectTimeout": self.patience_seconds,
            "ServerAliveInterval": max(1, self.patience_seconds // _QUESTIONS),
            "ServerAliveCountMax": _QUESTIONS,
            "ControlMaster": "no",
            "ControlPath": "none",
            "ClearAllForwardings": "yes",
            "LogLevel": "ERROR",
        }
        words = ["ssh", "-T", "-a", "-x", "-e", "none"]
        if self.key is not None:
            options["IdentitiesOnly"] = "yes"
            words += ["-i", _readable(self.key, "key")]
        if self.known_hosts is not None:
            options["UserKnownHostsFile"] = f'"{_readable(self.known_hosts, "list of known hosts")}"'
            options["GlobalKnownHostsFile"] = "none"
        if self.port is not None:
            words += ["-p", str(self.port)]
        if self.user is not None:
            words += ["-l", self.user]
        for option, value in options.items():
            words += ["-o", f"{option}={value}"]
        return [*words, "--", self.host]


class Ssh:
    """A script that sh runs on the other machine. What is written to ``stdin``, which doesn't block, is its input."""

    def __init__(self, account: Account, script: str, *arguments: str) -> None:
        """Start it. The script is handed on as one line without "!", so that any login shell takes it as it is.

        :raises SetupError: there is no ssh on this system, or no key.
        """
        self.account = account
        """Where it runs."""
        remote = shlex.join(["exec", "sh", "-c", " ".join(script.split("\n")), "sh", *arguments])
        command = [*account.command(), remote]
        self.active_at = time.monotonic()
        """When it has last taken something."""
        self._told = os.memfd_create("ssh", os.MFD_CLOEXEC)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._told,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._told)
            raise SetupError(f"{account} needs OpenSSH's client, and ssh can't be started: {reason(error)}") from error
        assert self._process.stdin is not None  # noqa: S101  (a pipe)
        self.stdin = self._process.stdin.fileno()
        os.set_blocking(self.stdin, False)

    def end(self, seconds: int, text: bytes | None = None) -> str:
        """End its input, with ``text`` before that, wait for its end, and return what it has said.

        :raises TargetError: it has failed, or hasn't come to its end within ``seconds``.
        """
        try:
            said, _ = self._process.communicate(text, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise TargetError(f"{self.account} has come to no end in {seconds} seconds") from None
        if self._process.returncode:
            raise TargetError(f"{self.account}: {self._why()}")
        return said.decode(errors="replace")

    def close(self) -> None:
        """End it, if it hasn't ended. May be called twice."""
        if self._told >= 0:
            with self._process:
                self._process.kill()
            os.close(self._told)
            self._told = -1

    def _why(self) -> str:
        text = os.pread(self._told, _TOLD_BYTES, max(0, os.fstat(self._told).st_size - _TOLD_BYTES))
        told = text.decode(errors="replace").strip()
        status = self._process.returncode
        last = told.splitlines()[-1].strip() if told else ""
        if status == _SSH_FAILED:
            return _explained(told, self.account) or last or self._ended_in_silence()
        return f"it says: {last}" if last else f"sh has ended with exit status {status}"

    def _ended_in_silence(self) -> str:
        patience = self.account.patience_seconds
        if time.monotonic() - self.active_at < patience / 2:
            return _LOST
        return f"{_LOST}, or it hasn't answered for {patience} seconds"


class Sink(HostFiles):
    """What a writer writes its stream with: it is counted and summed on its way to ssh, and never waits for ever."""

    def __init__(self, ssh: Ssh, seconds: int) -> None:
        """``seconds`` is how long nothing may be taken; ssh's own patience has to end before that."""
        self.sha256 = hashlib.sha256()
        self.sent_bytes = 0
        self._ssh = ssh
        self._seconds = seconds

    def write(self, fd: int, data: Bytes) -> int:
        """As :meth:`HostFiles.write`; an error's text is what the other machine or ssh says."""
        while True:
            try:
                written = os.write(fd, data)
            except BlockingIOError:
                self._wait(fd)
                continue
            except BrokenPipeError as error:
                raise OSError(error.errno, self._why()) from error
            self.sha256.update(memoryview(data)[:written])
            self.sent_bytes += written
            self._ssh.active_at = time.monotonic()
            return written

    def _wait(self, fd: int) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        if not poll.poll(self._seconds * 1000):
            raise OSError(errno.ETIMEDOUT, f"{self._ssh.account} has taken nothing for {self._seconds} seconds")

    def _why(self) -> str:
        try:
            self._ssh.end(_REAP_SECONDS)
        except TargetError as error:
            return str(error)
        return "it has ended before all was sent"


def ask(account: Account, script: str, *arguments: str, text: bytes | None = None, seconds: int) -> str:
    """What sh says on the other machine when it runs ``script`` with ``text`` as its input, in ``seconds`` at most.

    :raises TargetError: the machine can't be reached, the script fails or doesn't come to an end.
    :raises SetupError: there is no ssh on this system, or no key.
    """
    ssh = Ssh(account, script, *arguments)
    try:
        return ssh.end(seconds, text)
    finally:
        ssh.close()


def _explained(told: str, account: Account) -> str | None:
    for pattern, explanation in _EXPLAINED:
        if found := re.search(pattern, told):
            return explanation.format(
                known_hosts=account.known_hosts or "root's known_hosts",
                key=f"the key {account.key}" if account.key else "any key of this system's",
                seconds=account.patience_seconds,
                **found.groupdict(),
            )
    return None


def _readable(path: Path, what: str) -> str:
    try:
        with path.open("rb"):
            return str(path)
    except OSError as error:
        raise SetupError(f"the {what} {path} can't be read: {reason(error)}") from error
