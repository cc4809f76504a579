"""JUnit's XML as Jenkins and GitLab read it.

There is no standard. Jenkins's is the schema junit-10.xsd of its xunit plugin. GitLab shows of a case that has failed
the text of its ``failure`` or ``error``, and of others their ``system-out``.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from xml.etree import ElementTree as ET

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Outcome(StrEnum):
    """How a case has ended; its value is the name of the element that says so."""

    PASSED = ""
    FAILED = "failure"
    ERROR = "error"
    """There is no verdict: it could not be tried, or somebody has ended it."""
    SKIPPED = "skipped"
    """Its turn has not come."""


@dataclass(frozen=True, slots=True)
class Case:
    """One test case; ``sentence`` says why it hasn't passed, ``kind`` is what has failed, in a word.

    ``said`` is what was printed meanwhile.
    """

    name: str
    seconds: float = 0.0
    outcome: Outcome = Outcome.PASSED
    sentence: str = ""
    kind: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """The cases of one run of ``name``, which began at ``timestamp``, as ISO 8601 has it, in UTC and without a zone."""

    name: str
    cases: Sequence[Case]
    timestamp: str
    properties: Sequence[tuple[str, str]] = ()

    def count(self, outcome: Outcome) -> int:
        """How many cases have ended so."""
        return sum(case.outcome is outcome for case in self.cases)


def encode(suite: Suite) -> bytes:
    """The suite as a file."""
    counts = {
        "tests": str(len(suite.cases)),
        "failures": str(suite.count(Outcome.FAILED)),
        "errors": str(suite.count(Outcome.ERROR)),
    }
    seconds = _time(sum(case.seconds for case in suite.cases))
    root = ET.Element("testsuites", {"name": suite.name, **counts, "time": seconds})
    skipped = str(suite.count(Outcome.SKIPPED))
    about = {"name": suite.name, **counts, "skipped": skipped, "time": seconds, "timestamp": suite.timestamp}
    element = ET.SubElement(root, "testsuite", about)
    properties = ET.SubElement(element, "properties")
    for name, value in suite.properties:
        ET.SubElement(properties, "property", {"name": name, "value": _allowed(value)})
    for case in suite.cases:
        _add(element, suite.name, case)
    ET.indent(root)
    file = io.BytesIO()
    ET.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
    return file.getvalue() + b"\n"


def _add(parent: ET.Element, suite: str, case: Case) -> None:
    about = {"classname": suite, "name": _allowed(case.name), "time": _time(case.seconds)}
    element = ET.SubElement(parent, "testcase", about)
    if case.outcome is not Outcome.PASSED:
        first_line = case.sentence.partition("\n")[0]
        why = ET.SubElement(element, case.outcome, {"message": _allowed(first_line), "type": _allowed(case.kind)})
        why.text = _allowed(case.sentence)
    if case.said:
        ET.SubElement(element, "system-out").text = _allowed(case.said)


def _time(seconds: float) -> str:
    return f"{seconds:.3f}"


def _allowed(text: str) -> str:
    """The text with what no XML can have, escaped or not, as Python writes it."""
    return _NOT_IN_XML.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
