"""``fadump shell``: a command in a mount namespace where the embedded machine's files are at their absolute paths.

Two processes share a namespace: ``python -m fadump.mount.shell`` mounts the machine's files
(:mod:`fadump.mount.mount`) over a directory that always exists, and the command bind-mounts them over /proc,
/sys/kernel and /sys/firmware in a copy of that namespace, with the host's own files under ``.host``. No mount is
visible outside, and all end with the processes; both processes are killed when this one is. Without root there is
also a user namespace, in which the user is root.
"""

import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from fadump.errors import FadumpError, SetupError
from fadump.mount.mount import check_mountable, mount
from fadump.observer import Unwatched
from fadump.run.options import RunOptions

_TREE = "/sys/fs"
"""Any directory would do, as it is mounted over in the first namespace only."""
_READY = b"mounted\n"
_SIGNALLED = 128
_DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"]
_BIND = """
set -e
for place in proc sys/kernel sys/firmware; do mount --rbind "/$place" "$1/$place/.host"; done
mount --rbind /proc/sys "$1/proc/sys"
for place in proc/sys sys/kernel/.host sys/firmware/.host; do mount -o remount,bind,ro "$1/$place"; done
for place in proc sys/kernel sys/firmware; do mount --rbind "$1/$place" "/$place"; done
umount -l "$1"
cd "$2"
shift 2
exec "$@"
"""
"""The script that binds the mounts. /proc/sys is read-only, as in a container: sysctl -w must not change the host.

Its arguments: its name in messages, the tree, the working directory, the command."""


def run_shell(options: RunOptions, command: Sequence[str], stdout: TextIO | None = None) -> int:
    """Run ``command`` to its end; return its exit status, as a shell has it.

    Its output goes to ``stdout``, None for our own.

    :raises SetupError: there is no FUSE, or namespaces can't be used.
    """
    check_mountable(options)
    here = _working_directory()
    user = _namespace_options()
    with _serving(options, user) as server:
        enter = [
            "nsenter",
            f"--target={server.pid}",
            "--mount",
            *(["--user", "--preserve-credentials"] if user else []),
        ]
        inner = [*enter, "--", "unshare", "--mount", "--propagation", "slave", "--", *_DIES_WITH_US]
        with _terminal_signals_handled():
            done = subprocess.run(
                [*inner, "sh", "-c", _BIND, "fadump shell", _TREE, here, *command], stdout=stdout, check=False
            )
    return done.returncode if done.returncode >= 0 else _SIGNALLED - done.returncode


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise SetupError("the working directory has been removed: change to another one") from error


@contextmanager
def _serving(options: RunOptions, user: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start the process with the machine and its mount."""
    serve = [*_DIES_WITH_US, sys.executable, "-P", "-m", "fadump.mount.shell"]
    server = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "slave", *user, "--", *serve],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the command
    )
    with server:
        try:
            assert server.stdin is not None and server.stdout is not None  # noqa: S101, PT018 - pipes
            pickle.dump(options, server.stdin)
            server.stdin.close()
            said = server.stdout.readline()
            if said != _READY:
                raise SetupError(said.decode().strip() or "the machine's files could not be mounted in a namespace")
            yield server
        finally:
            server.kill()


def _namespace_options() -> list[str]:
    """The options of unshare(1) that permit mounting.

    :raises SetupError: it isn't possible.
    """
    refusal = ""
    for user in ([], ["--user", "--map-root-user"]):
        tried = subprocess.run(["unshare", "--mount", *user, "true"], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return user
        refusal = tried.stderr.strip()
    raise SetupError(
        f"a shell of the machine's needs a mount namespace, and this machine allows none ({refusal}): run it as root "
        "or where user namespaces are allowed, or use fadump mount"
    )


@contextmanager
def _terminal_signals_handled() -> Iterator[None]:
    """Handle them without ignoring them, as the command would inherit that."""
    before = {number: signal.signal(number, lambda *_arguments: None) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _serve() -> int:
    """The other process: it reads options from stdin, and writes one line to stdout: that it is ready, or an error."""
    options = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own parent
    try:
        mount(
            options,
            Path(_TREE),
            Unwatched(),
            on_mounted=lambda: _say(_READY.decode(), sys.stdout),
            on_failure=lambda sentence: _say(f"fadump: {sentence}\n", sys.stderr),
            host=True,
        )
    except FadumpError as error:
        _say(f"{error}\n", sys.stdout)
        return 1
    return 0


def _say(text: str, stream: TextIO) -> None:
    stream.write(text)
    stream.flush()


if __name__ == "__main__":
    sys.exit(_serve())
