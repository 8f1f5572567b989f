"""The page in a real Chromium, against a real server: by keyboard, without JavaScript,
on a phone, in the dark."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import (
    WATCH_SHIFTS,
    WAYS,
    distance_moved,
    find_faults,
    follow,
    open_quietly,
    tab_to,
)

from movierec import web
from movierec.config import load_config
from movierec.web import create_app

STATIC = Path(web.__file__).with_name("static")

PAGES = [
    "/",
    "/?q=sabrina",
    "/?q=terminater",
    "/?q=qqqqqqq",
    "/movies/1",
    "/movies/474",
    "/movies/268?genre=Drama&k=30",
    "/?genre=Western&year_to=1960",
    "/for-you",
    "/map",
    "/map?film=50",
    "/api",
]
FAILURES = ["/movies/99999", "/movies/1?year_from=1999&year_to=1990", "/?genre=Opera"]
SCREENS = {
    "phone": (390, 844),
    "small phone": (320, 568),
    "tablet": (768, 1024),
    "desktop": (1280, 900),
}


def test_it_works_without_javascript(open_page):
    page = open_page(java_script_enabled=False)
    page.get_by_label("Film, person or genre").fill("sabrina")
    follow(page.get_by_role("button", name="Search"))
    follow(page.get_by_role("link", name="Sabrina 1954"))
    assert page.get_by_role("heading", level=1).inner_text() == "Sabrina 1954"
    follow(page.get_by_role("link", name="movierec"))
    assert not page.locator(".legend").is_visible()
    page.get_by_text("Filter by genre and year").click()
    page.get_by_label("Western", exact=True).check()
    follow(page.get_by_role("button", name="Show"))
    assert page.get_by_text("27 films, the most rated first").is_visible()
    follow(page.get_by_role("link", name="More films"))
    assert page.locator(".shelf li").count() == 3
    follow(page.get_by_role("link", name="For you"))
    assert page.get_by_text("This page needs JavaScript").is_visible()
    follow(page.get_by_role("link", name="Map", exact=True))
    assert page.get_by_text("The map is drawn by JavaScript").is_visible()


def test_a_typing_error_leads_to_the_film(open_page):
    page = open_page("/?q=terminater")
    follow(page.locator(".film-link").first)
    assert page.get_by_role("heading", level=1).inner_text() == "The Terminator 1984"


def test_the_first_tab_skips_to_the_content(open_page):
    page = open_page("/movies/1")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    assert skip.evaluate(
        "element => element === document.activeElement"
        " && element.getBoundingClientRect().width > 50"
    )
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_what_has_the_focus_can_be_seen(open_page):
    page = open_page("/movies/1")
    tab_to(page, page.get_by_role("link", name="John Lasseter"))
    assert (
        page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        == "solid"
    )


def test_the_parts_of_a_page_have_names(open_page):
    page = open_page("/movies/1")
    for role in ("banner", "search", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1
    for path in PAGES:
        page.goto(path)
        assert page.locator("h1").count() == 1
        assert page.evaluate(
            "[...document.querySelectorAll('input:not([type=hidden])')]"
            ".every(input => input.labels.length == 1)"
        ), path
        assert (
            page.evaluate(
                "new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size"
            )
            == page.locator("[id]").count()
        )


def test_no_screen_has_to_be_scrolled_sideways(open_page):
    page = open_page()
    for path in PAGES:
        page.goto(path)
        page.evaluate(OPEN_DETAILS)
        for width, height in SCREENS.values():  # a phone is turned, a window is moved
            page.set_viewport_size({"width": width, "height": height})
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, (path, width)


OPEN_DETAILS = "document.querySelectorAll('details').forEach(d => { d.open = true })"

# The lowest contrast between a text and what is behind it. A canvas turns any CSS
# colour into red, green and blue.
CONTRAST = """() => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1})
  const context = canvas.getContext('2d', {willReadFrequently: true})
  const rgba = colour => {
    context.clearRect(0, 0, 1, 1)
    context.fillStyle = colour
    context.fillRect(0, 0, 1, 1)
    return [...context.getImageData(0, 0, 1, 1).data]
  }
  const linear = c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4
  const luminance = ([r, g, b]) =>
    .2126 * linear(r / 255) + .7152 * linear(g / 255) + .0722 * linear(b / 255)
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = rgba(getComputedStyle(element).backgroundColor)
      if (colour[3] == 255) return colour
    }
    return [255, 255, 255, 255]
  }
  return [...document.querySelectorAll('body *')].filter(element =>
    element.matches('input:not([type=range], [type=radio], [type=checkbox])') ||
    [...element.childNodes].some(node => node.nodeType == 3 && node.data.trim())
  ).map(element => {
    const text = luminance(rgba(getComputedStyle(element).color))
    const ground = luminance(behind(element))
    const contrast = (Math.max(text, ground) + .05) / (Math.min(text, ground) + .05)
    return [contrast, element.outerHTML.slice(0, 80)]
  }).sort((one, other) => one[0] - other[0])[0]
}"""


def test_light_and_dark_are_both_readable(open_page):
    page = open_page()
    for path in PAGES:
        page.goto(path)
        page.evaluate(OPEN_DETAILS)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            brightness = sum(int(part) for part in paper.strip("rgb()").split(",")) / 3
            assert brightness > 200 if scheme == "light" else brightness < 60
            ratio, element = page.evaluate(CONTRAST)
            assert ratio >= 4.5, (path, scheme, element)  # WCAG AA


def test_failures_fit_the_screen_too(browser, server):
    with browser.new_context(
        base_url=server, viewport={"width": 320, "height": 568}
    ) as context:
        page = context.new_page()
        for path in FAILURES:
            assert page.goto(path).status >= 400
            assert page.evaluate("document.documentElement.scrollWidth") <= 320
            assert page.evaluate(CONTRAST)[0] >= 4.5


def test_a_page_is_small(browser, server):
    for path in PAGES:
        with browser.new_context(base_url=server) as context:
            page, responses = context.new_page(), []
            page.on(
                "response",
                lambda response, responses=responses: responses.append(response),
            )
            open_quietly(page, path)
            sizes = {
                urlsplit(response.url).path: len(response.body())
                for response in responses
            }
            sizes.pop("/api/v1/map", None)  # the map's data
            assert {"/static/style.css", "/static/script.js"} <= sizes.keys() and sum(
                sizes.values()
            ) < 100_000, (
                path,
                sizes,
            )


# --- what the script adds


def test_suggestions_by_keyboard(open_page):
    page = open_page()
    box = page.get_by_role("combobox", name="Film, person or genre")
    tab_to(page, box)
    assert box.get_attribute("aria-expanded") == "false"
    page.keyboard.type("star")
    options = page.get_by_role("listbox", name="Films").get_by_role("option")
    options.first.wait_for()
    assert (
        box.get_attribute("aria-expanded") == "true"
        and options.first.inner_text() == "Star Wars 1977"
    )
    assert box.get_attribute("aria-activedescendant") is None
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert options.first.get_attribute("aria-selected") == "true"
    assert box.get_attribute("aria-activedescendant") == options.first.get_attribute(
        "id"
    )
    page.keyboard.press("ArrowUp")  # around to the last
    assert options.last.get_attribute("aria-selected") == "true"
    page.keyboard.press("Escape")
    assert box.get_attribute("aria-expanded") == "false" and box.input_value() == "star"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/movies/50")


def test_suggestions_by_pointer_and_without_a_choice(open_page):
    page = open_page()
    page.get_by_role("combobox").fill("terminater")
    page.get_by_role("option", name="The Terminator").click()
    page.wait_for_url("**/movies/195")
    page.get_by_role("combobox").fill("the godfather")
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("Enter")  # nothing chosen: the form is sent
    page.wait_for_url("**/movies/127")


def test_what_is_typed_after_a_choice_counts(open_page):
    page = open_page()
    box = page.get_by_role("combobox")
    box.press_sequentially("star")
    page.get_by_role("option").first.wait_for()
    for key in ("Home", "ArrowLeft", "ArrowRight", "End"):
        page.keyboard.press("ArrowDown")
        assert box.get_attribute("aria-activedescendant")
        page.keyboard.press(key)
        assert box.get_attribute("aria-activedescendant") is None
    page.keyboard.press("ArrowDown")
    page.keyboard.type(" trek: generations")
    page.keyboard.press("Enter")  # before there are new suggestions
    page.wait_for_url("**/movies/*")
    assert (
        page.get_by_role("heading", level=1).inner_text()
        == "Star Trek: Generations 1994"
    )


def test_no_suggestion_outlives_its_question(open_page):
    page = open_page()
    box, options = page.get_by_role("combobox"), page.get_by_role("option")
    box.fill("star")
    options.first.wait_for()
    page.route("**/api/v1/movies?*", lambda route: route.fulfill(status=503, body="{}"))
    with page.expect_response("**/api/v1/movies?*"):
        box.fill("star trek")
    page.wait_for_function(
        "document.querySelector('[role=combobox]').ariaExpanded == 'false'"
    )
    assert options.count() == 0
    page.unroute("**/api/v1/movies?*")
    open_page.trouble.clear()  # Chromium reports the 503
    box.fill("star wars")
    options.first.wait_for()
    assert (
        page.get_by_role("search")
        .get_by_role("status")
        .inner_text()
        .startswith(f"{options.count()} film")
    )
    box.fill("")
    page.wait_for_function(
        "() => document.querySelector('.search [role=status]').textContent == ''"
    )


def test_suggestions_fail_quietly(open_page):
    page = open_page()
    page.context.set_offline(True)
    page.get_by_role("combobox").fill("fargo")
    page.wait_for_timeout(400)
    assert page.get_by_role("option").count() == 0
    page.context.set_offline(False)
    open_page.trouble.clear()  # Chromium reports what could not be reached
    page.keyboard.press("Enter")
    page.wait_for_url("**/movies/100")


# --- nothing moves


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", ["/", "/?q=star", "/?q=hichcock", "/?genre=Western"])
def test_what_was_used_stays_where_it_is(open_page, way, path):
    options, press = WAYS[way]
    page = open_page(path, **options)
    page.add_init_script(WATCH_SHIFTS)
    open_quietly(page, path)
    moved, box = [], page.get_by_role("combobox")
    listed = page.locator(".suggestions")

    def use(control, how=press, seen=lambda: None):
        moved.append(distance_moved(control, how, seen))

    use(box, lambda box: box.fill("star"), listed.wait_for)
    use(box, lambda box: box.fill("qqqq"), lambda: listed.wait_for(state="hidden"))
    use(box, lambda box: box.fill("hichcock"), listed.wait_for)
    use(box, lambda box: box.press("Escape"))
    if page.locator(".filters summary").count():
        summary = page.locator(".filters summary")
        for _ in range(3):
            use(summary)
        war = page.get_by_role("checkbox", name="War", exact=True)
        use(war)
        use(war)
        use(page.get_by_label("From year"), lambda field: field.fill("1960"))
    page.wait_for_timeout(100)
    assert max(moved) < 2, moved
    assert sum(page.evaluate("shifts")) < 0.05


def test_the_next_page_of_films_begins_where_they_begin(open_page):
    for path in ("/", "/?q=the", "/?genre=Drama"):
        page = open_page(path)
        start = page.locator(".shelf").first.bounding_box()["x"]
        page.get_by_role("link", name="More films").click()
        page.wait_for_url("**offset=24**")
        assert page.locator(".shelf").first.bounding_box()["x"] == start
        page.get_by_role("link", name="Previous films").click()
        page.wait_for_url(lambda url: "offset=0" in url or "offset" not in url)
        assert page.locator(".shelf li").count() == 24


# --- for everybody


@pytest.mark.parametrize("path", [*PAGES, *FAILURES, "/nothing"])
def test_axe_finds_nothing(browser, server, path):
    with browser.new_context(
        base_url=server, viewport={"width": 1280, "height": 900}
    ) as context:
        context.add_init_script(
            "localStorage.setItem('movierec.ratings', "
            """'{"50": {"title": "Star Wars", "stars": 5}}')"""
        )
        page = context.new_page()
        open_quietly(page, path)
        page.evaluate(OPEN_DETAILS)
        if page.locator("[data-suggest]").count():
            page.locator("[data-suggest]").fill("star")
            page.get_by_role("option").first.wait_for()
        assert find_faults(page) == ""
        page.emulate_media(color_scheme="dark")
        assert find_faults(page, "cat.color") == ""


@pytest.mark.parametrize(
    "path", ["/", "/movies/1", "/for-you", "/map", "/api", "/movies/99999"]
)
def test_axe_finds_nothing_on_a_phone(browser, server, path):
    with browser.new_context(
        base_url=server, viewport={"width": 390, "height": 844}, has_touch=True
    ) as context:
        page = context.new_page()
        open_quietly(page, path)
        assert find_faults(page) == ""


def test_axe_finds_nothing_where_there_is_no_model_or_all_went_wrong(
    browser, tmp_path, monkeypatch
):
    client = create_app(
        load_config(model={"dir": tmp_path / "artifacts"})
    ).test_client()
    untrained = client.get("/")
    monkeypatch.setattr(web, "current_model", lambda: 1 / 0)
    failed = client.get("/")
    assert (untrained.status_code, failed.status_code) == (503, 500)
    with browser.new_context() as context:
        page = context.new_page()
        page.route(
            "**/static/*",
            lambda route: route.fulfill(
                path=STATIC / urlsplit(route.request.url).path[8:]
            ),
        )
        page.route(
            "**/untrained",
            lambda route: route.fulfill(body=untrained.text, content_type="text/html"),
        )
        page.route(
            "**/failed",
            lambda route: route.fulfill(body=failed.text, content_type="text/html"),
        )
        for path, heading in {
            "untrained": "No trained model yet",
            "failed": "Internal Server Error",
        }.items():
            page.goto(f"http://127.0.0.1:9/{path}")
            assert page.get_by_role("heading", level=1).inner_text() == heading
            assert find_faults(page) == ""
