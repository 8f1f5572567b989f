"The page of a film, in a real Chromium."

import pytest
from conftest import find_faults, follow, tab_to

from movierec.web import said_title

OPEN_DETAILS = "document.querySelectorAll('details').forEach(d => { d.open = true })"
FILMS = (1, 11, 50, 104, 267, 268, 1682)


def names(items):
    "The titles of the items of a list, as the page says them."
    return [said_title(item["title"])[0] for item in items]


def expected(recommender, movie_id, k=12, method="content", **question):
    "The titles that the shelf of the same kind of film should show."
    return names(recommender.similar(movie_id, k, method, **question).items)


def shown(page, shelf="similar"):
    "The titles that a shelf shows, in order."
    return page.locator(f".{shelf} .caption .name").all_inner_texts()


def test_from_a_search_to_a_filtered_list_by_keyboard(open_page, recommender):
    page = open_page()
    tab_to(page, page.get_by_label("Film, person or genre"))
    page.keyboard.type("toy story")
    page.keyboard.press("Enter")
    page.wait_for_url("**/movies/1")
    assert page.get_by_role("heading", level=1).inner_text() == "Toy Story 1995"
    assert shown(page) == expected(recommender, 1)
    assert shown(page, "liked") == names(recommender.similar(1, 12, "liked").items)
    why = page.locator(".similar .why").first.text_content()
    assert "both Animation, Children's and Comedy" in why

    how = page.get_by_text("How this is computed")
    how.focus()
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("link", name="Jaccard"))
    page.keyboard.press("Enter")
    page.wait_for_url("**method=jaccard#similar")
    jaccard = page.get_by_role("link", name="Jaccard")
    assert jaccard.get_attribute("aria-current") == "true"
    content = page.get_by_role("link", name="Content", exact=True)
    assert content.get_attribute("aria-current") is None
    by_genres = expected(recommender, 1, method="jaccard")
    assert shown(page) == by_genres != expected(recommender, 1)

    page.get_by_text("Filters and variety").focus()
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("Musical", exact=True))
    page.keyboard.press("Space")
    tab_to(page, page.get_by_label("To year"))
    page.keyboard.type("1960")
    tab_to(page, page.get_by_label("Variety"))
    tab_to(page, page.get_by_role("button", name="Show", exact=True))
    page.keyboard.press("Enter")
    page.wait_for_url("**year_to=1960**")
    filters = {"genres": ["Musical"], "years": (None, 1960)}
    assert shown(page) == expected(recommender, 1, method="jaccard", **filters)
    assert page.get_by_label("Musical", exact=True).is_checked()

    first = page.locator(".similar .film-link").first
    first.focus()
    name = page.locator(".similar .caption").first.inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/movies/1?" not in url)
    assert page.get_by_role("heading", level=1).inner_text() == name


def test_the_keyboard_reaches_every_control(open_page):
    page = open_page("/movies/1682")
    page.locator(".film h1").scroll_into_view_if_needed()
    for control in (
        page.locator(".facts").get_by_role("link", name="On the map"),
        page.locator(".liked .film-link").first,
        page.get_by_role("link", name="More of these, and filters"),
        page.get_by_text("How this is computed"),
        page.get_by_text("Filters and variety"),
        page.locator(".similar .film-link").first,
    ):
        tab_to(page, control)


def test_a_films_page_works_without_javascript(open_page, recommender):
    page = open_page("/movies/486", java_script_enabled=False)
    assert shown(page) == expected(recommender, 486)
    page.get_by_text("Filters and variety").click()
    page.get_by_label("War", exact=True).check()
    follow(page.get_by_role("button", name="Show"))
    assert shown(page) == expected(recommender, 486, genres=["War"])
    follow(page.get_by_role("link", name="No filters"))
    follow(page.get_by_role("link", name="Show more films"))
    assert shown(page) == expected(recommender, 486, k=24)
    follow(page.get_by_role("link", name="More of these, and filters"))
    liked = expected(recommender, 486, method="liked")
    assert shown(page) == liked and shown(page, "liked") == []


def test_the_variety_slider(open_page, recommender):
    page = open_page("/movies/1")
    page.get_by_text("Filters and variety").click()
    page.get_by_label("Variety").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url("**diversity=0.5**")
    varied = expected(recommender, 1, diversity=0.5)
    assert shown(page) == varied != expected(recommender, 1)


@pytest.mark.parametrize("width", [390, 1280])
def test_a_control_stays_where_it_was_used(open_page, width):
    page = open_page("/movies/50", viewport={"width": width, "height": 844})
    for text in ("How this is computed", "Filters and variety"):
        control = page.get_by_text(text)
        control.scroll_into_view_if_needed()
        for _ in range(2):  # to open it, and to close it
            before = control.bounding_box()
            control.click()
            after = control.bounding_box()
            assert abs(before["y"] - after["y"]) < 2
            assert abs(before["x"] - after["x"]) < 2
    star = page.locator(".film .stars label").nth(3)
    star.scroll_into_view_if_needed()
    before, heading = star.bounding_box(), page.locator("#similar").bounding_box()
    star.click()
    assert star.bounding_box() == before
    assert page.locator("#similar").bounding_box() == heading


SHIFT = """() => new Promise(resolve => {
  let shift = 0
  new PerformanceObserver(list => list.getEntries().forEach(e => { shift += e.value }))
    .observe({type: 'layout-shift', buffered: true})
  setTimeout(() => resolve(shift), 500)
})"""


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_moves_while_the_page_loads(open_page, width):
    page = open_page("/movies/50", viewport={"width": width, "height": 844})
    assert page.evaluate(SHIFT) < 0.01


def test_the_first_shelf_begins_on_the_first_screen(open_page):
    for size in ({"width": 390, "height": 844}, {"width": 1280, "height": 900}):
        page = open_page("/movies/50", viewport=size)
        box = page.locator("#liked").bounding_box()
        assert box["y"] + box["height"] < size["height"]


@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_on_a_films_page(browser, server, width):
    with browser.new_context(
        base_url=server, viewport={"width": width, "height": 844}
    ) as context:
        page = context.new_page()
        for path in (*(f"/movies/{n}" for n in FILMS), "/movies/50?method=liked"):
            page.goto(path)
            page.evaluate(OPEN_DETAILS)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.emulate_media(color_scheme="light")
            assert find_faults(page) == ""
            page.emulate_media(color_scheme="dark")
            assert find_faults(page, "cat.color") == ""
