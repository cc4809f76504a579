"""A directory that a CI job uploads as it is: what a command said and left, with an index for people and programs.

    DIR/index.html         the result, the milestones with their times, the console's last lines, and what the files are
    DIR/index.json         the command's JSON object, exit code, words and versions, and the files
    DIR/console.log        and what else the command has left in its --out
    DIR/device-tree.N.dtb  what the kernel of boot N was entered with
    DIR/dmesg.txt          the crashed kernel's log, out of the dump

A dump holds what was in memory, so it is only here if it was asked for. All files are their owner's only.
"""

import json
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path

from fadump.ci.cases import tail
from fadump.ci.junit import Case, Outcome
from fadump.ci.record import Ending, Record
from fadump.errors import SetupError
from fadump.given import writing
from fadump.printable import as_utf8
from fadump.progress import binary_size

OPTION = "--artifacts"
_INDEX, _PAGE = "index.json", "index.html"
_LEFT = {
    "console.log": "the machine's console",
    "firmware.log": "each call of the firmware, and its answer",
    "timeline.json": "the milestones",
}
"""What a command may leave that has nothing of a dump."""
_DUMPS = ("vmcore*", "opalcore*", "hpte*")
_SHOWN = {Outcome.PASSED: "passed", Outcome.FAILED: "failed", Outcome.ERROR: "no verdict", Outcome.SKIPPED: "-"}
_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
body{color:#1a1a1a;background:#fff}
pre{overflow-x:auto;background:#f2f2f2;padding:.7rem}table{border-collapse:collapse}
td,th{text-align:left;vertical-align:top;padding:.2rem 1rem .2rem 0;overflow-wrap:anywhere}
.failed{color:#a40000;font-weight:bold}"""


@dataclass(frozen=True, slots=True)
class Text:
    """A file of the directory that is made for it; ``what`` says what it is."""

    name: str
    what: str
    content: str


def check_artifacts(directory: Path) -> None:
    """See that a directory can be made, or is one that this has made; what is in that is replaced.

    :raises SetupError: it has somebody's files, or can't be made.
    """
    with writing(OPTION, directory):
        if directory.exists() and any(directory.iterdir()) and _earlier(directory) is None:
            raise SetupError(
                f"{OPTION} {directory} has files of others: name a directory that is empty, or isn't there"
            )
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_artifacts(
    directory: Path,
    record: Record,
    ending: Ending,
    cases: Sequence[Case],
    texts: Iterable[Text],
    versions: Mapping[str, object],
    *,
    with_dump: bool,
) -> None:
    """Fill the directory; where that fails, with nothing.

    :raises SetupError: it can't be written.
    :raises DiskError: its disk is full or has failed.
    """
    with writing(OPTION, directory), _whole(directory):
        files = dict(_copied(directory, record, ending, with_dump=with_dump))
        for boot, tree in record.trees.items():
            name = f"device-tree.{boot}.dtb"
            _write(directory / name, tree)
            files[name] = f"the device tree that the kernel of boot {boot} was entered with"
        for text in texts:
            _write(directory / text.name, as_utf8(text.content).encode())
            files[text.name] = text.what
        listed = [
            {"name": name, "what": what, "bytes": (directory / name).stat().st_size} for name, what in files.items()
        ]
        index = {
            "command": list(record.words),
            "exit_code": ending.exit_code,
            "seconds": round(ending.seconds, 3),
            "started": record.started_at.isoformat(timespec="seconds"),
            "versions": dict(versions),
            "object": dict(ending.told),
            "files": listed,
        }
        page = "\n".join(_page(record, ending, cases, files, directory, versions))
        _write(directory / _PAGE, as_utf8(page).encode())
        _write(directory / _INDEX, json.dumps(index, indent=1).encode() + b"\n")


@contextmanager
def _whole(directory: Path) -> Iterator[None]:
    """What an earlier command has put there goes first, what is put there within the block if that fails."""
    _remove_earlier(directory)
    others = {*directory.iterdir()}
    try:
        yield
    except BaseException:
        for path in {*directory.iterdir()} - others:
            path.unlink()
        raise


def _remove_earlier(directory: Path) -> None:
    """What an earlier command has put there; nothing else."""
    names = _earlier(directory)
    if names is None:
        return
    for name in (*names, _PAGE, _INDEX):
        if Path(name).name == name:
            (directory / name).unlink(missing_ok=True)


def _earlier(directory: Path) -> Sequence[str] | None:
    """The files that an earlier command has put there, by its index; None: there is no such index.

    :raises OSError: it can't be read.
    """
    with suppress(FileNotFoundError, IsADirectoryError, ValueError, TypeError, KeyError, RecursionError):
        index = json.loads((directory / _INDEX).read_text(encoding="utf-8"))
        if index["versions"]["fadump"]:
            return [str(file["name"]) for file in index["files"]]
    return None


def _copied(directory: Path, record: Record, ending: Ending, *, with_dump: bool) -> Iterator[tuple[str, str]]:
    """Copy what this command has left, not what an earlier one has."""
    for name, what in _LEFT.items():
        if record.has_left(record.out / name):
            _copy(record.out / name, directory)
            yield name, what
    if with_dump:
        for path in dumps_of(record, ending, _DUMPS):
            _copy(path, directory)
            yield path.name, "a dump: it holds what was in memory"


def dumps_of(record: Record, ending: Ending, patterns: Iterable[str] = _DUMPS[:1]) -> list[Path]:
    """The whole dumps that the command has left: those of ours, or the one that a system of its own has saved."""
    match ending.told.get("dump"):
        case {"copy": str(copy)}:
            return [Path(copy)]
    found = (path for pattern in patterns for path in record.out.glob(pattern))
    return sorted(path for path in found if path.suffix not in (".incomplete", ".txt") and record.has_left(path))


def _copy(path: Path, directory: Path) -> None:
    target = directory / path.name
    target.unlink(missing_ok=True)
    target.touch(mode=0o600)
    shutil.copyfile(path, target)


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)


def _page(
    record: Record,
    ending: Ending,
    cases: Sequence[Case],
    files: Mapping[str, str],
    directory: Path,
    versions: Mapping[str, object],
) -> Iterator[str]:
    good = ending.exit_code == 0
    verdict = str(ending.told.get("result", "failed")) if ending.error is None else ending.error
    title = f"fadump {record.name}: {verdict.partition(chr(10))[0]}"
    yield f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    yield f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
    yield f"<h1>fadump {escape(record.name)}: {'passed' if good else 'failed'}</h1>"
    yield f'<pre class="{"passed" if good else "failed"}">{escape(verdict)}</pre>'
    yield f"<p>Exit code {ending.exit_code}, after {ending.seconds:.1f} s.</p>"
    yield f"<pre>{escape(shlex.join(record.words))}</pre>"
    yield "<h2>Steps</h2><table><tr><th>step</th><th>seconds</th><th></th></tr>"
    for case in cases:
        shown = _SHOWN[case.outcome]
        mark = "failed" if case.outcome in (Outcome.FAILED, Outcome.ERROR) else "passed"
        yield f'<tr><td>{escape(case.name)}</td><td>{case.seconds:.2f}</td><td class="{mark}">{shown}</td></tr>'
    yield "</table><h2>Files</h2><table>"
    for name, what in files.items():
        size = binary_size((directory / name).stat().st_size)
        yield f'<tr><td><a href="{escape(name)}">{escape(name)}</a></td><td>{size}</td><td>{escape(what)}</td></tr>'
    yield f'<tr><td><a href="{_INDEX}">{_INDEX}</a></td><td></td><td>all of this, for programs</td></tr></table>'
    if lines := tail(ending.console):
        yield f"<h2>The end of the console</h2><pre>{escape(chr(10).join(lines))}</pre>"
    about = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield f"<p>{escape(about)}</p></body></html>"
