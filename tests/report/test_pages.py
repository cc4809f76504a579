"""A report as a page and as text: what a reader, or a browser, makes of it."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from fadump.linux.system import CrashedSystem
from fadump.linux.vmlinux.source_lines import SourceLine
from fadump.report.findings import find
from fadump.report.html import as_html
from fadump.report.redact import Words
from fadump.report.sections import tell
from fadump.report.text import as_text
from tests.linux.crashed_kernel import INNER, crashed_kernel
from tests.linux.kernel_builder import Message
from tests.report.stories import kernel_that_said, story_of

HOSTILE = "</pre><script>alert(1)</script><img src=http://x.example/y onerror=alert(2)>\x1b]0;x\x07 &amp; ' \""
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Tags, attributes and text, with what isn't closed in its order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.text, self.open = [], [], [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "action"):
                self.links.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def story():
    return story_of(crashed_kernel())


def test_the_page_is_whole_and_its_links_lead_somewhere(story):
    page = Page(as_html(story))
    assert page.open == [] and len(page.ids) == len(set(page.ids))
    assert page.links and all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert page.tags.count("h1") == 1 and page.tags.count("h2") == len(story.sections)
    assert page.tags.count("main") == 1 and "svg" in page.tags and "details" in page.tags


def test_the_page_needs_no_network_and_no_script(story):
    text = as_html(story)
    assert not {"script", "img", "link", "iframe", "object"} & set(Page(text).tags)
    assert re.findall(r"https?://[^\"' ]+", text) in ([], ["http://www.w3.org/2000/svg"] * text.count("<svg"))
    assert "url(http" not in text and "@import" not in text and "default-src 'none'" in text


def test_both_tell_the_same_story(story):
    page, text = Page(as_html(story)).text, as_text(story)
    for said in (
        "The system was crashed on purpose, by SysRq c",
        "inner+0x4/0x1000",
        "sysrq: Trigger a crash",
        "certain",
    ):
        assert said in page and said in text
    for section in story.sections:
        assert section.title in page and section.title.upper() in text


def test_text_has_100_columns_and_the_first_sign_is_marked():
    long = "word " * 80 + "x" * 400
    text = as_text(story_of(kernel_that_said(long, "BUG: " + long, "Kernel panic - not syncing: " + long)))
    assert max(map(len, text.splitlines())) <= 100
    assert len([line for line in text.splitlines() if line.startswith("> ") and "BUG:" in line]) == 1


def test_the_function_that_is_blamed_is_marked_on_the_stack_with_its_line():
    kernel = kernel_that_said("BUG: Unable to handle kernel data access at 0xdeadbeef", trap=0x300)
    with CrashedSystem(kernel.dump()) as system:
        findings = find(system)
    lines = {INNER + 4: [SourceLine("deepest", "mm/a.c", 7), SourceLine("inner", "mm/b.c", 8)]}
    text = as_text(tell(replace(findings, lines=lines), Words()))
    assert f"> {INNER + 4:016x} inner+0x4/0x1000  mm/b.c:8\n" in text
    assert "deepest() mm/a.c:7, inlined in\n" in text
    assert "Source        deepest() mm/a.c:7\n" in text and "To blame      inner()\n" in text
    assert "Made by fadump from the dump, and debug information of its kernel." in text


def test_the_cpu_that_crashed_is_where_the_blame_is_not_where_panic_led():
    with CrashedSystem(kernel_that_said("Kernel panic - not syncing: enough").dump()) as system:
        findings = find(system)
    (cpu,) = findings.summary.cpus
    innermost, *callers = cpu.backtrace.frames
    innermost = replace(innermost, symbol=replace(innermost.symbol, name="panic"))
    cpu = replace(cpu, backtrace=replace(cpu.backtrace, frames=[innermost, *callers]))
    text = as_text(tell(replace(findings, summary=replace(findings.summary, cpus=[cpu])), Words()))
    assert "To blame      outer()\n" in text and re.search(r"^ +0  crashed +\? +outer$", text, re.MULTILINE)


def test_what_a_dump_says_is_text_whatever_it_is():
    texts = [
        HOSTILE,
        f"BUG: {HOSTILE}",
        f"CPU: 0 PID: 7 Comm: {HOSTILE[:14]} Not tainted",
        f"Kernel panic - not syncing: {HOSTILE}",
    ]
    kernel = kernel_that_said(*texts, "Hardware name: " + HOSTILE)
    kernel.facts["OSRELEASE"] = "6.1</title><script>"
    page = Page(as_html(story_of(kernel)))
    assert not {"script", "img"} & set(page.tags) and page.open == []
    assert "<script>alert(1)</script>" in page.text and "\x1b" not in page.text and "\x07" not in page.text
    text = as_text(story_of(kernel))
    assert "\x1b" not in text and "\x07" not in text


@pytest.mark.parametrize(
    ("count", "title"), [(41, "All 41 messages"), (300, "All 300 messages"), (310, "The last 300 messages of 310")]
)
def test_of_a_long_log_it_is_said_how_much_is_there(count, title):
    page = as_html(story_of(kernel_that_said(*(f"message {number}" for number in range(count)))))
    assert re.findall(r"<summary>([^<]* messages[^<]*)</summary>", page) == [title]


def test_a_huge_log_makes_no_huge_page():
    kernel = kernel_that_said(*[Message(b"x" * 900) for _ in range(120)])
    assert len(as_html(story_of(kernel))) < 2 << 20


def test_what_is_missing_is_told():
    text = as_text(story_of(crashed_kernel(with_log=False, with_symbols=False)))
    assert "* log: the dump's VMCOREINFO doesn't have SYMBOL(prb)" in text
    assert "There is no log that can be read." in text and "tasks and their stacks" in text


def test_redacted_pages_say_so():
    story = story_of(
        kernel_that_said("Kernel command line: secret=1", "node7 at 10.1.2.3"), redacts=True, names=["node7"]
    )
    page = as_html(story)
    assert "secret=1" not in page and "node7" not in page and "10.1.2.3" not in page
    assert "command lines are hidden" in page
