"The page in a real Chromium, against a real server: by keyboard, without JavaScript, on a phone, in the dark."

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PAGES = [
    "/",
    "/?q=sabrina",
    "/?q=terminater",
    "/?q=qqqqqqq",
    "/movies/1",
    "/movies/474",
    "/movies/268?genre=Drama&k=30",
]
FAILURES = ["/movies/99999", "/movies/1?year_from=1999&year_to=1990"]
SCREENS = {"phone": (390, 844), "small phone": (320, 568), "tablet": (768, 1024), "desktop": (1280, 900)}


@pytest.fixture(scope="module")
def browser():
    "Chromium, without a window."
    if BROWSER is None:
        message = (
            "no chromium, chromium-browser or google-chrome on the PATH; on Debian or Ubuntu: apt-get install chromium"
        )
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, headless=True, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def server(trained_root, tmp_path_factory):
    "The address of `flask --app movierec.web run`, which people type."
    home = tmp_path_factory.mktemp("server")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MOVIEREC_")}
    environment |= {"MOVIEREC_HOME": str(home), "MOVIEREC_MODEL__DIR": str(trained_root)}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flask = Path(sys.executable).with_name("flask")
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [flask, "--app", "movierec.web", "run", "--port", str(port)],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz", process, home / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)
    assert "Traceback" not in (home / "log").read_text()


def wait_until_ready(url, process, log):
    "Return when the server answers; fail if it ends before, or takes more than half a minute."
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    pytest.fail(f"the server doesn't answer:\n{log.read_text()}")


@pytest.fixture
def open_page(browser, server):
    "A function that opens a page; at the end nothing may stand in the console, or have been asked of another host."
    contexts, trouble, asked = [], [], []

    def opener(path="/", **options):
        contexts.append(browser.new_context(base_url=server, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path)
        return page

    yield opener
    for context in contexts:
        context.close()
    assert not trouble
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(server).netloc}


def expected(recommender, movie_id, **question):
    "The titles that the page should show."
    items = recommender.similar(movie_id, **question).frame.to_dicts()
    return [re.sub(r" \((\d{4})\)$", r" \1", item["title"]) for item in items]


def shown(page):
    "The titles that the page shows, in order."
    return page.locator(".ranking .title").all_inner_texts()


def tab_to(page, locator):
    "Press Tab until `locator` has the focus, as somebody without a mouse does."
    for _ in range(60):
        if locator.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{locator} can't be reached by Tab")


def test_from_a_search_to_a_filtered_list_by_keyboard(open_page, recommender):
    page = open_page()
    tab_to(page, page.get_by_label("Film title"))
    page.keyboard.type("toy story")
    page.keyboard.press("Enter")
    page.wait_for_url("**/movies/1")
    assert page.get_by_role("heading", level=1).inner_text() == "Toy Story 1995"
    assert shown(page) == expected(recommender, 1)
    assert "Both Animation, Children's and Comedy" in page.locator(".why").first.inner_text()

    tab_to(page, page.get_by_role("link", name="Jaccard"))
    page.keyboard.press("Enter")
    page.wait_for_url("**method=jaccard")
    assert page.get_by_role("link", name="Jaccard").get_attribute("aria-current") == "true"
    assert page.get_by_role("link", name="Cosine").get_attribute("aria-current") is None
    assert shown(page) == expected(recommender, 1, method="jaccard") != expected(recommender, 1)

    tab_to(page, page.locator("summary"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("Musical", exact=True))
    page.keyboard.press("Space")
    tab_to(page, page.get_by_label("To year"))
    page.keyboard.type("1960")
    page.keyboard.press("Enter")
    page.wait_for_url("**year_to=1960**")
    assert shown(page) == expected(recommender, 1, method="jaccard", genres=["Musical"], years=(None, 1960))
    assert page.get_by_label("Musical", exact=True).is_checked()

    tab_to(page, page.locator(".ranking .title").first)
    name = page.locator(".ranking .title").first.inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url("**/movies/*")
    assert page.get_by_role("heading", level=1).inner_text() == name


def test_it_works_without_javascript(open_page, recommender):
    page = open_page(java_script_enabled=False)
    page.get_by_label("Film title").fill("sabrina")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Sabrina 1954").click()
    assert shown(page) == expected(recommender, 486)
    page.get_by_text("Filter by genre and year").click()
    page.get_by_label("War", exact=True).check()
    page.get_by_role("button", name="Show").click()
    assert shown(page) == expected(recommender, 486, genres=["War"])
    page.get_by_role("link", name="No filters").click()
    page.get_by_role("link", name="Show more films").click()
    assert shown(page) == expected(recommender, 486, k=30)


def test_a_typing_error_leads_to_the_film(open_page):
    page = open_page("/?q=terminater")
    page.locator(".cards .title").first.click()
    assert page.get_by_role("heading", level=1).inner_text() == "Terminator, The 1984"


def test_the_first_tab_skips_to_the_content(open_page):
    page = open_page("/movies/1")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    assert skip.evaluate("element => element === document.activeElement && element.getBoundingClientRect().width > 50")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_what_has_the_focus_can_be_seen(open_page):
    page = open_page("/movies/1")
    tab_to(page, page.get_by_role("link", name="Jaccard"))
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_parts_of_a_page_have_names(open_page):
    page = open_page("/movies/1")
    for role in ("banner", "search", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1
    for path in PAGES:
        page.goto(path)
        assert page.locator("h1").count() == 1
        assert page.evaluate(
            "[...document.querySelectorAll('input:not([type=hidden])')].every(i => i.labels.length == 1)"
        )
        assert (
            page.evaluate("new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size")
            == page.locator("[id]").count()
        )


@pytest.mark.parametrize("screen", SCREENS.values(), ids=SCREENS)
def test_no_screen_has_to_be_scrolled_sideways(open_page, screen):
    page = open_page(viewport={"width": screen[0], "height": screen[1]})
    for path in PAGES:
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") <= screen[0], path


# The lowest contrast between a text and what is behind it. A canvas turns any CSS colour into red, green and blue.
CONTRAST = """() => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1})
  const context = canvas.getContext('2d', {willReadFrequently: true})
  const rgba = colour => {
    context.clearRect(0, 0, 1, 1); context.fillStyle = colour; context.fillRect(0, 0, 1, 1)
    return [...context.getImageData(0, 0, 1, 1).data]
  }
  const luminance = ([r, g, b]) => [[r, .2126], [g, .7152], [b, .0722]].reduce((sum, [c, w]) => {
    c /= 255; return sum + w * (c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
  }, 0)
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = rgba(getComputedStyle(element).backgroundColor)
      if (colour[3] == 255) return colour
    }
    return [255, 255, 255, 255]
  }
  document.querySelectorAll('details').forEach(details => { details.open = true })
  return [...document.querySelectorAll('body *')].filter(element =>
    element.matches('input') || [...element.childNodes].some(node => node.nodeType == 3 && node.data.trim())
  ).map(element => {
    const [a, b] = [luminance(rgba(getComputedStyle(element).color)), luminance(behind(element))]
    return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), element.outerHTML.slice(0, 80)]
  }).sort((one, other) => one[0] - other[0])[0]
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_both_readable(open_page, scheme):
    page = open_page(color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in paper.strip("rgb()").split(",")) / 3
    assert brightness > 200 if scheme == "light" else brightness < 60
    for path in PAGES:
        page.goto(path)
        ratio, element = page.evaluate(CONTRAST)
        assert ratio >= 4.5, (path, element)  # WCAG AA


def test_failures_fit_the_screen_too(browser, server):
    with browser.new_context(base_url=server, viewport={"width": 320, "height": 568}) as context:
        page = context.new_page()
        for path in FAILURES:
            assert page.goto(path).status >= 400
            assert page.evaluate("document.documentElement.scrollWidth") <= 320
            assert page.evaluate(CONTRAST)[0] >= 4.5


def test_a_page_is_small(browser, server):
    for path in PAGES:
        with browser.new_context(base_url=server) as context:
            page, responses = context.new_page(), []
            page.on("response", lambda response, responses=responses: responses.append(response))
            page.goto(path)
            sizes = {urlsplit(response.url).path: len(response.body()) for response in responses}
            assert "/static/style.css" in sizes and sum(sizes.values()) < 100_000, (path, sizes)
