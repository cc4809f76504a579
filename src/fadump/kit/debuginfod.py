"""Debug information from servers, by build id: only if a user asks for it, from those in $DEBUGINFOD_URLS.

Specification: debuginfod(8), "WEBAPI". elfutils' debuginfod-find asks if it is installed, so that its settings hold;
else each server is asked here. What comes is kept in the cache, as

    <cache>/debuginfod/BUILDID/debuginfo

readable by its owner only, once it has proved to have that build id.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from fadump.errors import FadumpError, SetupError, UsageError
from fadump.kit.cache import cache_directory, lock, new_entry
from fadump.limits import MOST_DEBUG_FILE_BYTES
from fadump.progress import Progress, binary_size

_BUILD_ID = re.compile(r"(?:[0-9a-f]{2}){8,32}")
_SERVERS = "DEBUGINFOD_URLS"
_ANSWER_SECONDS = 60
_PIECE_BYTES = 1 << 20
_NOT_FOUND = 404

IsOf = Callable[[Path, str], bool]
"""Whether a file has a build id."""


def check_servers() -> None:
    """See that there are servers to ask.

    :raises UsageError: there are none, or one isn't named by an address of http or https.
    """
    if not _servers():
        raise UsageError(f"--debuginfod asks the servers in ${_SERVERS}, and none is set there")
    for server in _servers():
        if urlsplit(server).scheme not in ("http", "https"):
            raise UsageError(f"${_SERVERS} has {server!r}: give addresses that begin with http:// or https://")


def fetch_debug_file(build_id: str, is_of: IsOf, *, most_bytes: int = MOST_DEBUG_FILE_BYTES) -> Path | None:
    """The file with debug information of a build id, from the cache or a server; None: no server has it.

    :raises FadumpError: a server's answer is not that file, or too large.
    :raises SetupError: no server can be reached, or the cache can't be written to.
    """
    if not _BUILD_ID.fullmatch(build_id):
        return None
    entry = cache_directory() / "debuginfod" / build_id
    with lock(f"debuginfod-{build_id}"):
        if not entry.exists():
            with suppress(_NobodyHasItError), new_entry(entry) as new:
                _fetch(build_id, new / "debuginfo", most_bytes)
                if not is_of(new / "debuginfo", build_id):
                    raise FadumpError(f"debuginfod's file for the build id {build_id} has another one: it isn't used")
    return entry / "debuginfo" if entry.exists() else None


class _NobodyHasItError(Exception):
    pass


def _fetch(build_id: str, target: Path, most_bytes: int) -> None:
    client = shutil.which("debuginfod-find")
    with Progress.step(f"Fetching debug information of {build_id[:12]}", unit="bytes") as step:
        if client is not None:
            _by_client(client, build_id, target, most_bytes)
            return
        errors = []
        for server in _servers():
            try:
                _from_server(server, build_id, target, most_bytes, lambda done: step.update(done, total=None))
            except HTTPError as error:
                if error.code != _NOT_FOUND:
                    errors.append(f"{server}: {error}")
            except (OSError, URLError, HTTPException) as error:
                errors.append(f"{server}: {error}")
            else:
                return
    if errors:
        raise SetupError(f"no debug information from {errors[0]}: see ${_SERVERS}")
    raise _NobodyHasItError


def _by_client(client: str, build_id: str, target: Path, most_bytes: int) -> None:
    """elfutils' own program; it keeps a copy in a cache of its own, which goes again."""
    own = target.parent / "client"
    settings = {"DEBUGINFOD_CACHE_PATH": str(own), "DEBUGINFOD_MAXSIZE": str(most_bytes)}
    done = subprocess.run(
        [client, "debuginfo", build_id], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    try:
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            if "No such file" in said:
                raise _NobodyHasItError
            raise SetupError(f"debuginfod-find has no debug information of {build_id}: {said}")
        shutil.move(done.stdout.strip(), target)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _from_server(server: str, build_id: str, target: Path, most_bytes: int, tell: Callable[[int], None]) -> None:
    address = f"{server.rstrip('/')}/buildid/{build_id}/debuginfo"
    with _opener().open(address, timeout=_ANSWER_SECONDS) as answer, target.open("wb") as file:
        done = 0
        while piece := answer.read(_PIECE_BYTES):
            done += len(piece)
            if done > most_bytes:
                raise FadumpError(f"{address} is larger than {binary_size(most_bytes)}: it isn't used")
            file.write(piece)
            tell(done)
        if answer.length:
            raise URLError(f"{answer.length} bytes of {address} didn't come")


def _opener() -> request.OpenerDirector:
    """Without the handlers that would follow a redirection to a local file or to FTP."""
    opener = request.OpenerDirector()
    for handler in (
        *(request.ProxyHandler, request.HTTPHandler, request.HTTPSHandler),
        *(request.HTTPDefaultErrorHandler, request.HTTPRedirectHandler, request.HTTPErrorProcessor),
    ):
        opener.add_handler(handler())
    return opener


def _servers() -> list[str]:
    return os.environ.get(_SERVERS, "").split()
