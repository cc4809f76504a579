"""A report in headless Chromium, at three widths, light and dark: ``make test-report``.

axe-core judges contrast, headings, names and landmarks. Chromium is Debian's.
"""

import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from fadump.report.html import as_html
from tests.report.stories import kernel_that_said, story_of

OPEN = "document.querySelectorAll('details').forEach(details => details.open = true)"
OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"


@pytest.fixture(scope="module")
def chromium():
    program = shutil.which("chromium")
    assert program, "apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    long = "x" * 3000
    texts = [f"early {number}" for number in range(90)]
    texts += ["Modules linked in: badmod(OE) ext4", "CPU: 0 PID: 7 Comm: sh Tainted: G           OE      6.12 #1"]
    texts += [f"BUG: {long}", "<b>bold</b>", f"Kernel panic - not syncing: {long}"]
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(as_html(story_of(kernel_that_said(*texts))))
    return file.as_uri()


@pytest.fixture
def opened(chromium, address):
    """Opens the report; a page, and all that the browser complained of or tried to load."""
    contexts = []

    def run(**settings):
        context = chromium.new_context(offline=True, **settings)
        contexts.append(context)
        page, complaints = context.new_page(), []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if request.url != address else None)
        page.goto(address)
        return page, complaints

    yield run
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 820, 1280])
def test_it_is_legible_and_fits_the_window(opened, scheme, width):
    page, complaints = opened(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    assert page.evaluate(OVERFLOW) <= 0
    page.evaluate(OPEN)
    assert page.evaluate(OVERFLOW) <= 0
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found] == []
    assert complaints == []


def test_links_and_details_work_without_script(opened):
    page, complaints = opened(java_script_enabled=False)
    page.get_by_role("link", name="The dump", exact=True).click()
    assert page.url.endswith("#dump")
    assert page.get_by_role("heading", name="The dump", exact=True).is_visible()
    hidden = page.get_by_text("TRAP", exact=False).first
    assert not hidden.is_visible()
    page.get_by_text("Registers", exact=True).first.click()
    assert hidden.is_visible()
    assert complaints == []


def test_it_prints_with_its_details(opened):
    page, _complaints = opened()
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.get_by_text("TRAP", exact=False).first.is_visible()
    assert page.pdf()[:5] == b"%PDF-"
