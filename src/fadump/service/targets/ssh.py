"""A directory on another machine, reached by ssh, which needs nothing there but a shell and sha256sum.

Each dump has a directory there, as on a disk of this system (:mod:`~fadump.service.targets.directory`). Its ``vmcore``
is flattened, and beside it is ``vmcore.sha256``, for ``sha256sum -c`` at any time.

The dump is sent as ``vmcore.incomplete``. When all of it has been taken and is durable, the machine compares its
checksum with that of what was sent, and looks at it with ``fadump check`` where it has that; only then it gets its
name. To the machine a lost connection looks like the end of its input, so it never decides that by itself.
"""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fadump.capture.files import write_all
from fadump.capture.target import pieces
from fadump.service.crash import Crash
from fadump.service.record import RECORD_NAME, Record
from fadump.service.root import Root
from fadump.service.settings import ABSOLUTE_PATH, either, number, word
from fadump.service.targets.contract import VMCORE_NAME, DumpStream, Kept, Stored, TargetError, Tell
from fadump.service.targets.ssh_client import Account, Sink, Ssh, ask
from fadump.service.targets.ssh_shelf import CLEAN, SshShelf
from fadump.service.targets.urls import RemotePlace, remote_place

CHECKED = "its checksum and, by fadump check, every page"
SUMMED = "its checksum"
_SLOWEST_BYTES_PER_SECOND = 4 << 20
"""So fast at least can a machine make durable, and read, what it has been sent."""
_MOST_SECONDS = 3600
_FILE_OR_NONE = either(word(""), ABSOLUTE_PATH)

# What sh is told on the other machine; see Ssh. The first argument is the target's directory, the second one the
# directory of the dump in it.
_LOOK = f"""
umask 077; test -d "$1" || mkdir -- "$1" || exit; cd -- "$1" || exit;
test -w . || {{ echo "$1 is not writable" >&2; exit 1; }};
command -v sha256sum >/dev/null || {{ echo "there is no sha256sum" >&2; exit 1; }};
{CLEAN}
df -kP .
"""
_OPEN = """
umask 077; cd -- "$1" || exit; own=$2; number=1;
if test "$3" = again; then rm -f "./$own/vmcore" "./$own/vmcore.incomplete" "./$own/vmcore.sha256" || exit;
else until mkdir "./$own" 2>/dev/null; do test -e "./$own" || { mkdir "./$own"; exit 1; };
number=$((number + 1)); own=$2-$number; done;
fi;
sync . && echo "$own"
"""
_TEXT = """
umask 077; cd -- "$1/$2" && cat >"./$3.incomplete" && test "$(wc -c <"./$3.incomplete")" -eq "$4" &&
sync "./$3.incomplete" && mv -f "./$3.incomplete" "./$3" && sync .
"""
_FILE = f"""
if test -f "$1/$2/$3"; then cat >/dev/null; exit; fi;
{_TEXT}
"""
_TAKE = 'umask 077; set -C; cd -- "$1/$2" && cat >vmcore.incomplete && sync vmcore.incomplete'
_PROVE = """
umask 077; cd -- "$1/$2" || exit; file=vmcore; sum=$3; proof=sum;
if test -n "$sum"; then file=vmcore.incomplete; else read -r sum name <vmcore.sha256 || exit; fi;
test "$(sha256sum <"$file")" = "$sum  -" || { echo "$2/$file is not what was sent" >&2; exit 1; };
if test "$4" = whole && command -v fadump >/dev/null; then
said=$(fadump check "$file" 2>&1); case $? in 0) proof=check;; 1) printf "%s\\n" "$said" >&2; exit 1;; esac;
fi;
if test -n "$3"; then printf "%s  vmcore\\n" "$sum" >vmcore.sha256 && sync vmcore.sha256 && mv "$file" vmcore || exit;
fi;
sync . && echo "$proof"
"""

_ROOM = re.compile(r"\s\d+\s+\d+\s+(\d+)\s+\d+%")


@dataclass(frozen=True, slots=True)
class SshSettings:
    """A directory on another machine; its parent has to be there."""

    url: Annotated[RemotePlace, remote_place("ssh", has_user=True)]
    key: Annotated[Path | None, _FILE_OR_NONE] = None
    known_hosts: Annotated[Path | None, _FILE_OR_NONE] = None
    timeout: Annotated[int, number(1, _MOST_SECONDS, f"seconds from 1 to {_MOST_SECONDS}")] = 60

    def target(self, root: Root) -> "SshTarget":
        """See :class:`~fadump.service.targets.contract.TargetSettings`."""
        place = self.url
        account = Account(place.host, place.user, place.port, self.key, self.known_hosts, self.timeout)
        return SshTarget(account, place.path)


class SshTarget:
    """Implements :class:`~fadump.service.targets.contract.Target`."""

    def __init__(self, account: Account, path: str) -> None:
        self.name = f"{account}{path}"
        self._account = account
        self._path = path
        self._room_bytes: int | None = None
        self._own = ""
        self._bytes = 0
        self._sum = ""
        """What was sent; nothing of what was found."""
        self._ssh: Ssh | None = None
        self._sink: Sink | None = None

    def prepare(self) -> None:
        found = _ROOM.search(self._ask(_LOOK))
        self._room_bytes = None if found is None else int(found[1]) << 10

    def in_memory(self, root: Root) -> None:
        """That machine goes on."""

    def room(self) -> int | None:
        return self._room_bytes

    def find(self, crash: Crash) -> Stored | None:
        for dump in self._of(crash):
            if dump.whole:
                self._own, self._bytes = dump.directory, dump.size_bytes
                return self._stored()
        return None

    def open(self, crash: Crash) -> DumpStream:
        begun = sorted(self._of(crash), key=lambda dump: not dump.whole)
        wanted = begun[0].directory if begun else crash.name(time.time())
        self._own = _answer(self._ask(_OPEN, wanted, "again" if begun else "new"))
        self.add_text(RECORD_NAME, Record(crash).encode())
        self._ssh = Ssh(self._account, _TAKE, self._path, self._own)
        self._sink = Sink(self._ssh, self._seconds)
        return DumpStream(self._ssh.stdin, self._sink)

    def add_text(self, name: str, text: bytes) -> None:
        self._ask(_TEXT, self._own, name, str(len(text)), text=text)

    def add_file(self, name: str, source: Path) -> None:
        size_bytes = source.stat().st_size
        ssh = Ssh(self._account, _FILE, self._path, self._own, name, str(size_bytes))
        try:
            sink = Sink(ssh, self._seconds)
            with source.open("rb", buffering=0) as file:
                for piece in pieces(file):
                    write_all(sink, ssh.stdin, piece)
            ssh.end(self._seconds + size_bytes // _SLOWEST_BYTES_PER_SECOND)
        finally:
            ssh.close()

    def settle(self) -> Stored:
        """Have it taken, and made durable. It has no name before it is proven."""
        if self._ssh is None or self._sink is None:
            raise TargetError(f"no dump has been begun in {self.name}")
        self._bytes, self._sum = self._sink.sent_bytes, self._sink.sha256.hexdigest()
        self._ssh.end(self._seconds)
        return self._stored()

    def prove(self, tell: Tell, *, complete: bool) -> str:
        proof = _answer(self._ask(_PROVE, self._own, self._sum, "whole" if complete else "gaps"))
        tell(self._bytes, self._bytes)
        return CHECKED if proof == "check" else SUMMED

    def shelf(self) -> SshShelf:
        self.close()
        return SshShelf(self.name, self._ask, self._own)

    def close(self) -> None:
        if self._ssh is not None:
            self._ssh.close()

    def _of(self, crash: Crash) -> list[Kept]:
        """The dumps of a crash that are there."""
        shelf = SshShelf(self.name, self._ask, self._own)
        return [dump for dump in shelf.dumps() if dump.crash.identity == crash.identity]

    def _ask(self, script: str, *arguments: str, text: bytes | None = None) -> str:
        return ask(self._account, script, self._path, *arguments, text=text, seconds=self._seconds)

    @property
    def _seconds(self) -> int:
        """How long the machine may take: to be reached, to answer, and to read what it has been sent."""
        return 2 * self._account.patience_seconds + self._bytes // _SLOWEST_BYTES_PER_SECOND

    def _stored(self) -> Stored:
        return Stored(f"{self.name}/{self._own}/{VMCORE_NAME}")


def _answer(said: str) -> str:
    """The last line: a login shell may have said something before."""
    return said.splitlines()[-1] if said else ""
