"""The questions to a kernel, real or model: files to read and to write, and its log.

For a real kernel, a shell script in its guest gets the answers (docs/guest-channel.md, ``run``), for the model its
files do. Answers are texts: a file's mode and contents, or the error as strerror(3) has it.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fadump.errors import FormatError
from fadump.kernel.files.sysfs import FADUMP, REGION

MESSAGES = r"Kernel command line: |fadump: |irmware-[aA]ssisted|for firmware-assisted|[cC]rash ?kernel[: ]|memory limit"
"""A regular expression for FADump's lines of the log, also valid for grep -E."""


@dataclass(frozen=True, slots=True)
class Read:
    """The contents of a file, and its mode."""

    path: str

    def __str__(self) -> str:
        return f"read {self.path}"


@dataclass(frozen=True, slots=True)
class Write:
    """The result of writing a text to a file at once."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"write {self.text!r} to {self.path}"


@dataclass(frozen=True, slots=True)
class Names:
    """The names in a directory."""

    path: str

    def __str__(self) -> str:
        return f"files in {self.path}"


@dataclass(frozen=True, slots=True)
class Messages:
    """The log's lines about FADump since boot, each with its level."""

    def __str__(self) -> str:
        return "messages"


Question = Read | Write | Names | Messages

_FILES = ("enabled", "registered", "mem_reserved", "hotplug_ready", "bootargs_append", "release_mem")
_LOOK: tuple[Question, ...] = (
    Names(FADUMP),
    *(Read(f"{FADUMP}/{name}") for name in _FILES),
    *(Read(f"/sys/kernel/fadump_{name}") for name in ("enabled", "registered", "release_mem")),
    Read(REGION),
)
_WRONG = ("2\n", "-1\n", "one\n", "1x\n", " 1\n", "\n", "0x2\n", "1 0\n")


def _wrong(name: str) -> tuple[Question, ...]:
    return tuple(Write(f"{FADUMP}/{name}", text) for text in _WRONG)


FIRST_BOOT: tuple[Question, ...] = (
    *_LOOK,
    *(Write(f"{FADUMP}/{name}", "1\n") for name in ("enabled", "mem_reserved", "hotplug_ready", "release_mem")),
    *_wrong("registered"),
    Write(REGION, "1\n"),
    Write(f"{FADUMP}/bootargs_append", "quiet nosmt\n"),
    Read(f"{FADUMP}/bootargs_append"),
    Write(f"{FADUMP}/bootargs_append", "fadump_compare=1"),
    Write(f"{FADUMP}/registered", "0\n"),
    Read(f"{FADUMP}/registered"),
    Read(REGION),
    Write(f"{FADUMP}/registered", "0\n"),
    Write(f"{FADUMP}/registered", "+1"),
    Read(f"{FADUMP}/registered"),
    Write(f"{FADUMP}/registered", "0x1\n"),
    Write(f"{FADUMP}/registered", "0\n"),
    Write(f"{FADUMP}/registered", "1\n"),
    *_LOOK,
    Messages(),
)
"""The questions to a first kernel; after them it is registered, if it can be."""

CAPTURE_BOOT: tuple[Question, ...] = (
    *_LOOK,
    *(Write(f"{FADUMP}/registered", text) for text in ("0\n", "1\n")),
    Write(f"{FADUMP}/bootargs_append", "quiet\n"),
    Write(f"{FADUMP}/enabled", "1\n"),
    *_wrong("release_mem"),
    Write(f"{FADUMP}/release_mem", "0\n"),
    Messages(),
)
"""The questions to a capture kernel."""

RELEASED: tuple[Question, ...] = (
    Write(f"{FADUMP}/release_mem", "1\n"),
    *_LOOK,
    Write(f"{FADUMP}/release_mem", "1\n"),
    Write(f"{FADUMP}/registered", "1\n"),
    *_LOOK,
    Messages(),
)
"""The questions to the same kernel, which releases the memory and registers again."""

DONE = "done"
ABSENT = "absent"
_FAILED = "@failed"
_FUNCTIONS = f"""
ask_read() {{
    if ! [ -e "$1" ]; then printf {ABSENT}
    else
        printf '%s\n' "$(stat -L -c %a "$1")"
        cat "$1" 2>&1 || printf '\n{_FAILED}'
    fi
}}
ask_write() {{
    if ! [ -e "$1" ]; then printf {ABSENT}
    elif error=$({{ echo -ne "$2" >"$1"; }} 2>&1); then printf {DONE}
    else printf '%s' "${{error##*: }}"; fi
}}
ask_names() {{ (cd "$1" 2>/dev/null && ls); }}
ask_messages() {{ dmesg -r | grep -E '{MESSAGES}' | sed 's/\\[[^]]*\\] //'; }}
"""


def script(questions: Sequence[Question]) -> str:
    """A shell script that prints a mark and the answer for each. It rarely forks, which is slow in an emulator."""
    asked = (f"printf '{_mark(number)}'\n{_command(question)}\n" for number, question in enumerate(questions))
    return f"{_FUNCTIONS}{''.join(asked)}printf '{_mark(len(questions))}'\n"


def _mark(number: int) -> str:
    return f"\n@answer {number}@"


def _command(question: Question) -> str:
    match question:
        case Read(path):
            return f"ask_read {shlex.quote(path)}"
        case Write(path, text):
            octal = "".join(f"\\0{byte:03o}" for byte in text.encode())
            return f"ask_write {shlex.quote(path)} '{octal}'"
        case Names(path):
            return f"ask_names {shlex.quote(path)}"
        case Messages():
            return "ask_messages"


def numbered(questions: Sequence[Question]) -> Iterator[tuple[Question, str]]:
    """Each question with its name; a repeated one has a count after it."""
    asked: dict[Question, int] = {}
    for question in questions:
        asked[question] = asked.get(question, 0) + 1
        again = f" ({asked[question]})" if asked[question] > 1 else ""
        yield question, f"{question}{again}"


def parse(questions: Sequence[Question], output: str) -> dict[str, str]:
    """The script's output as answers by the questions' names.

    :raises FormatError: it is not what the script prints.
    """
    answers: dict[str, str] = {}
    at = 0
    for number, (question, name) in enumerate(numbered(questions)):
        mark, next_mark = _mark(number), _mark(number + 1)
        end = output.find(next_mark, at)
        if not output.startswith(mark, at) or end < 0:
            raise FormatError(
                "a mark is missing in the guest's answers", offset=at, expected=mark, found=output[at:][:40]
            )
        answers[name] = _answer(question, output[at + len(mark) : end])
        at = end
    return answers


def _answer(question: Question, text: str) -> str:
    if not isinstance(question, Read):
        return text.strip("\n")
    mode, _line_feed, text = text.partition("\n")
    if mode == ABSENT:
        return ABSENT
    if text.endswith(f"\n{_FAILED}"):
        return refused(int(mode, 8), text.removesuffix(f"\n{_FAILED}").rstrip("\n").rpartition(": ")[2])
    return content(int(mode, 8), text)


def content(mode: int, text: str) -> str:
    """The answer to :class:`Read` if the file could be read."""
    return f"{mode:03o} {text}"


def refused(mode: int, error: str) -> str:
    """The answer to :class:`Read` if it could not."""
    return f"{mode:03o}, can't be read: {error}"
