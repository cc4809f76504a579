"""The dumps in a directory on another machine, as far as they are ours to remove: see :mod:`fadump.service.shelf`.

What is there is told by a shell and decided here; before anything is removed, the shell looks again.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from fadump.service.crash import NAME_FORMAT, Crash
from fadump.service.record import RECORD_NAME, decode_record
from fadump.service.shelf import OUR_FILES
from fadump.service.targets.contract import Kept

_BESIDE = [name for name in OUR_FILES if name != RECORD_NAME] + ["vmcore.sha256"]
_NAMES = " -o ".join(f"-name {name}{end}" for name in [*_BESIDE, RECORD_NAME] for end in ("", ".incomplete"))
_NOT_OURS = rf'find "$own" -mindepth 1 -not \( -type f \( {_NAMES} \) \)'

# For sh there, as in ssh.py. The first argument is the target's directory.
LIST = f"""
cd -- "$1" || exit;
for own in *; do
case "$own" in *[[:space:]]*) continue;; esac;
if test -L "./$own" || test -L "./$own/{RECORD_NAME}"; then continue; fi;
if test -O "./$own" && test -f "./$own/{RECORD_NAME}" && test -O "./$own/{RECORD_NAME}"; then
state=part; if test -f "./$own/vmcore"; then state=whole; fi;
printf "%s %s %s %s\\n" "$state" "$(du -sk "./$own" | cut -f 1)" "$own"
"$(head -c 65536 "./$own/{RECORD_NAME}" | tr -d "\\r\\n")";
fi;
done
"""
REMOVE = f"""
cd -- "$1" || exit; own=./$2;
if test -L "$own"; then echo "stays $2"; exit; fi;
{_NOT_OURS} >/dev/null || exit; other=$({_NOT_OURS} | head -n 1);
if test -n "$other"; then printf "stays %s\\n" "${{other##*/}}"; exit; fi;
cd "$own" || exit; rm -f {" ".join(f"{name} {name}.incomplete" for name in _BESIDE)} &&
rm -f {RECORD_NAME} {RECORD_NAME}.incomplete && cd .. && rmdir "$own" && sync .
"""
CLEAN = f"""
for own in *; do
if test -L "./$own"; then continue; fi;
case "$own" in {"[0-9]" * 8}T{"[0-9]" * 6}Z|{"[0-9]" * 8}T{"[0-9]" * 6}Z-[0-9]*)
case "$(ls -ld "./$own")" in drwx------*)
if test "$(ls -A "./$own")" = {RECORD_NAME}.incomplete; then rm -f "./$own/{RECORD_NAME}.incomplete"; fi;
rmdir "./$own" 2>/dev/null;;
esac;; esac;
done;
"""
"""A part of a script that is in the target's directory: remove what a lost connection has left empty."""

_LINE = re.compile(r"(whole|part) (\d+) ([\w.-]+) (\{.*\})")
_STAYS = re.compile(r"^stays (.*)$", re.MULTILINE)


class SshShelf:
    """Implements :class:`~fadump.service.targets.contract.Shelf`."""

    def __init__(self, name: str, ask: Callable[..., str], own: str) -> None:
        """``ask`` has a script run there, and ``own`` is the dump's directory that stays."""
        self.name = name
        self._ask = ask
        self._own = own

    def dumps(self) -> list[Kept]:
        found = [_LINE.fullmatch(line) for line in self._ask(LIST).splitlines()]
        return [dump for line in found if line is not None and (dump := self._kept(*line.groups())) is not None]

    def remove(self, dump: Kept) -> str | None:
        stays = _STAYS.search(self._ask(REMOVE, dump.directory))
        return None if stays is None else f"{stays[1]} in it is none of ours"

    def _kept(self, state: str, kib: str, directory: str, text: str) -> Kept | None:
        record = decode_record(text.encode())
        if record is None or record.is_of_another_machine:
            return None
        time = _time(directory, record.crash)
        return Kept(directory, record.crash, state == "whole", time, int(kib) << 10, directory == self._own)


def _time(directory: str, crash: Crash) -> float:
    """When it crashed, or else was saved, by its name; 0: nobody knows."""
    if crash.time is not None:
        return crash.time
    with suppress(ValueError):
        return datetime.strptime(f"{directory[:16]}+0000", f"{NAME_FORMAT}%z").timestamp()
    return 0
