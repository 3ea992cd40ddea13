"""Opens pages in a browser, as a reader would: those of a model that conforms and of one that does not, or `--page FILE.html`.

Each is looked at wide, narrow, dark, on paper and without scripts: no error on the console, no request, nothing wider than the
window, nothing serious to an accessibility checker, and the verdict on the first screen. Where there is no browser, or nothing
to drive it with, nothing is looked at.
"""

import pathlib
import shutil

import pytest

SIZES = {"wide": (1280, 800), "narrow": (390, 844)}
SERIOUS = ("serious", "critical")
PAGES = ("conforming/report.html", "conforming/report.zh.html", "failing/report.html", "failing/report.zh.html")

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed; nothing was looked at")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; nothing was looked at")

HEADINGS = "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(one => +one.tagName[1])"
WIDER = """[...document.querySelectorAll('body *')].filter(one => !one.closest('.wide') && !one.closest('.hidden') &&
    !one.matches('.skip') && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 120))"""
CUT = """[...document.querySelectorAll('svg.chart')].flatMap(svg => { const box = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter(one => { const own = one.getBoundingClientRect();
        return own.width && (own.left < box.left - 1 || own.right > box.right + 1 || own.top < box.top - 1 || own.bottom > box.bottom + 1) })
        .map(one => one.textContent) })"""


class Look:
    """What is wrong with one page."""

    def __init__(self, browser, path):
        self.browser, self.path, self.wrong = browser, path, []

    def says(self, how, what):
        self.wrong.append(f"{self.path.name}, {how}: {what}")

    def open(self, how, size=SIZES["wide"], **options):
        page = self.browser.new_context(viewport={"width": size[0], "height": size[1]}, **options).new_page()
        own = self.path.as_uri()
        page.on("console", lambda message: self.says(how, f"the console says {message.text}"))
        page.on("pageerror", lambda error: self.says(how, f"a script failed: {error}"))
        page.on("request", lambda request: request.url.split("#")[0] == own or self.says(how, f"it asked for {request.url}"))
        page.goto(own)
        return page

    def layout(self, page, how):
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            self.says(how, f"it is wider than the window: {page.evaluate(WIDER)[:3]}")
        if cut := page.evaluate(CUT):
            self.says(how, f"labels stand outside of their picture: {cut[:3]}")

    def first_screen(self, page, how):
        height = page.viewport_size["height"]
        ends = "one => one.getBoundingClientRect().bottom"
        if page.locator("h1").count() != 1 or page.eval_on_selector("h1", ends) > height:
            self.says(how, "the first screen does not hold the verdict")
        wanted = [".identity", ".counts"] + ([".where .stage"] if page.locator(".where .stage").count() else [])
        told = page.locator("h1#verdict")
        if not told.count() or len(told.inner_text()) > 250 or (page.locator(".notice, .waivers").count() and page.viewport_size["width"] < 1000):
            return  # there is more to say than such a screen holds
        for one in wanted:
            if page.eval_on_selector(one, ends) > height:
                self.says(how, f"the first screen does not hold {one}")

    def accessibility(self, page, how):
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        for violation in axe.Axe().run(page).response["violations"]:
            if violation["impact"] in SERIOUS:
                self.says(how, f"{violation['id']}: {violation['help']}: {[node['html'][:160] for node in violation['nodes'][:3]]}")
        levels = page.evaluate(HEADINGS)
        if levels[:1] != [1] or any(after > before + 1 for before, after in zip(levels, levels[1:])):
            self.says(how, f"headings are out of order: {levels[:20]}")

    def filter(self, page, how):
        rows = page.locator("[data-verdict]")
        if not page.locator("form.filter:visible").count():
            return self.says(how, "there is no filter")
        page.locator("form.filter input[type=search]").first.fill("no requirement says this")
        if rows.count() and page.evaluate("[...document.querySelectorAll('[data-verdict]')].some(one => !one.hidden)"):
            self.says(how, "the filter leaves what does not match")
        page.locator("form.filter input[type=search]").first.fill("")
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = false })")
        target = page.evaluate("(document.querySelector('.marks a') || {hash: ''}).hash")
        if target:
            page.locator(".marks a").first.click()
            if not page.eval_on_selector(target, "one => one.open"):
                self.says(how, "a mark does not open its requirement")

    def keyboard(self, page, how):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") != "skip" or page.evaluate("document.activeElement.getBoundingClientRect().left") < 0:
            self.says(how, "the first key does not show the link that skips to the requirements")

    def without_scripts(self):
        how = "without scripts"
        page = self.open(how, java_script_enabled=False)
        if page.locator("form.filter:visible").count():
            self.says(how, "a filter is shown that does nothing")
        rows = page.locator(".requirements details:not([open]) > summary")
        if rows.count():
            rows.first.click()
            if not page.locator(".requirements details[open] .evidence").first.is_visible():
                self.says(how, "a requirement does not open")
        page.context.close()

    def parses(self):
        try:
            import html5lib
        except ImportError:
            print("html5lib is not installed; whether the HTML is valid was not looked at")
            return
        parser = html5lib.HTMLParser()
        parser.parse(self.path.read_text(encoding="utf-8"))
        for place, code, data in parser.errors[:3]:
            self.says("parsed", f"{code} {data} at line {place[0]}, column {place[1]}")

    def everything(self):
        for name, size in SIZES.items():
            for scheme in ("light", "dark"):
                how = f"{name}, {scheme}"
                page = self.open(how, size, color_scheme=scheme)
                self.layout(page, how)
                self.first_screen(page, how)
                self.keyboard(page, how)
                if (name, scheme) in (("wide", "light"), ("narrow", "dark")):
                    self.accessibility(page, how)
                    self.layout(page, how)
                    self.filter(page, how)
                page.context.close()
        page = self.open("on paper")
        page.emulate_media(media="print")
        if page.locator("form.filter:visible").count():
            self.says("on paper", "a filter is shown")
        page.context.close()
        self.without_scripts()
        self.parses()
        return self.wrong


def pytest_generate_tests(metafunc):
    metafunc.parametrize("page", metafunc.config.getoption("--page") or PAGES, indirect=True)


@pytest.fixture
def page(request):
    if request.param not in PAGES:
        return pathlib.Path(request.param).resolve()
    of, name = request.param.split("/")
    return dict(zip(("conforming", "failing"), request.getfixturevalue("made_bundles")))[of] / name


@pytest.fixture(scope="module")
def browser():
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium is installed; nothing was looked at")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


def test_a_page_is_fit_to_read(browser, page):
    assert Look(browser, page).everything() == []
