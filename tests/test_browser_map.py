"The map of all films, in a real Chromium."

from itertools import combinations

import numpy as np
import pytest
from conftest import WAYS, find_faults, tab_to

# How many pixels of the map are not empty, and how many of the colour of a genre.
PIXELS = """genre => {
  const map = document.querySelector('canvas'), options = {willReadFrequently: true}
  const copy = (width, height) => Object.assign(
    document.createElement('canvas'), {width, height}
  ).getContext('2d', options)
  const context = copy(map.width, map.height), probe = copy(1, 1)
  context.drawImage(map, 0, 0)
  const sample = document.querySelector(`.legend [data-genre="${genre}"] i`)
  probe.fillStyle = getComputedStyle(sample).backgroundColor
  probe.fillRect(0, 0, 1, 1)
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data
  const {data} = context.getImageData(0, 0, map.width, map.height)
  let drawn = 0, coloured = 0
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3]) drawn++
    const off = [r, g, b].reduce((sum, c, j) => sum + Math.abs(data[i + j] - c), 0)
    if (data[i + 3] == 255 && off < 6) coloured++
  }
  return [drawn, coloured]
}"""


def settled(page):
    "Wait until the map is drawn."
    page.locator("[data-map][data-ready]").wait_for()
    page.evaluate(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def test_the_map(open_page):
    page = open_page("/map")
    settled(page)
    assert page.locator("[data-map]").get_attribute("data-ready") == "1682"
    drawn, westerns = page.evaluate(PIXELS, "Western")
    assert drawn > 10_000 and westerns > 50
    page.get_by_role("button", name="Drama").click()
    settled(page)
    assert (
        page.get_by_role("button", name="Drama").get_attribute("aria-pressed") == "true"
    )
    # the others are pale now
    assert page.evaluate(PIXELS, "Horror")[1] < 50 < page.evaluate(PIXELS, "Drama")[1]
    page.get_by_role("button", name="Drama").click()
    page.get_by_role("button", name="Zoom in").click()
    settled(page)
    assert page.evaluate(PIXELS, "Western")[0] > drawn * 1.2
    page.get_by_role("button", name="Show the whole map").click()
    settled(page)
    assert abs(page.evaluate(PIXELS, "Western")[0] - drawn) < drawn * 0.01
    canvas = page.locator("canvas")
    canvas.focus()
    for key in ("+", "ArrowLeft", "ArrowUp", "-", "0"):
        page.keyboard.press(key)
    settled(page)
    assert abs(page.evaluate(PIXELS, "Western")[0] - drawn) < drawn * 0.01


def test_the_map_leads_to_films_by_keyboard_alone(open_page):
    page = open_page("/map")
    settled(page)
    tab_to(page, page.locator("canvas"))
    first = page.locator(".pointed").inner_text()
    assert first
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    chosen = page.locator(".pointed").inner_text()
    assert chosen and chosen != first
    page.keyboard.press("Enter")
    page.wait_for_url("**/movies/*")
    assert (
        page.get_by_role("heading", level=1).inner_text()
        == chosen.split(" · ")[0].strip()
    )


def test_only_the_first_button_of_the_mouse_opens_a_film(open_page):
    page = open_page("/map?film=50")
    settled(page)
    box = page.locator("canvas").bounding_box()
    for x in range(20, int(box["width"]), 12):
        page.mouse.move(box["x"] + x, box["y"] + box["height"] / 2)
        if page.locator(".pointed").inner_text():
            break
    page.mouse.down(button="right")
    page.mouse.up(button="right")
    page.wait_for_timeout(200)
    assert page.url.endswith("/map?film=50")


def test_on_a_films_page_the_wheel_scrolls_the_page(open_page):
    page = open_page("/movies/50")
    page.locator("canvas").scroll_into_view_if_needed()
    settled(page)
    box, before = page.locator("canvas").bounding_box(), page.evaluate("scrollY")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.wheel(0, -200)
    page.wait_for_function("before => scrollY < before", arg=before)


def test_the_map_lights_up_a_film_and_its_neighbours_and_leads_on(
    open_page, recommender
):
    page = open_page("/movies/50")
    page.locator("canvas").scroll_into_view_if_needed()
    settled(page)
    for name, method in (("liked", "liked"), ("alike", "content")):
        near = page.locator("[data-map]").get_attribute(f"data-{name}").split()
        items = recommender.similar(50, 12, method).items
        assert near == [str(item["movie_id"]) for item in items]
    box = page.locator("canvas").bounding_box()
    page.locator("canvas").focus()
    wheel = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*wheel)
    page.mouse.wheel(0, -300)
    settled(page)
    for x in range(20, int(box["width"]), 12):  # wander until a film is pointed at
        page.mouse.move(box["x"] + x, wheel[1])
        if page.locator(".pointed").inner_text():
            break
    name = page.locator(".pointed").inner_text().split(" · ")[0]
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url(lambda url: "/movies/" in url and not url.endswith("/movies/50"))
    assert page.get_by_role("heading", level=1).inner_text() == name


def test_the_map_can_be_dragged_without_leading_away(open_page):
    page = open_page("/map?film=1")
    settled(page)
    before = page.locator("canvas").screenshot()
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 260, steps=5)
    page.mouse.up()
    settled(page)
    assert page.locator("canvas").screenshot() != before and page.url.endswith(
        "/map?film=1"
    )


def test_the_map_follows_the_colour_scheme(open_page):
    page = open_page("/map")
    settled(page)
    light = page.evaluate(PIXELS, "Drama")
    page.emulate_media(color_scheme="dark")
    settled(page)
    assert page.evaluate(PIXELS, "Drama")[1] > 50 and light[1] > 50


def test_a_map_that_cant_be_loaded_says_so(browser, server):
    with browser.new_context(base_url=server) as context:
        page = context.new_page()
        page.route("**/api/v1/map", lambda route: route.fulfill(status=503, body="{}"))
        page.goto("/map")
        assert page.get_by_role("alert").get_by_text("be loaded just now").is_visible()
        assert not page.locator(".legend").is_visible()


def rings(page, name):
    "The films of one of the lists that the map marks."
    return page.locator("[data-map]").get_attribute(f"data-{name}").split()


def test_the_map_of_a_film_tells_two_kinds_of_neighbours_apart(open_page, recommender):
    page = open_page("/map?film=50")
    settled(page)
    kind = "content" if "content" in recommender.neighbours else "cosine"
    for name, method in (("liked", "liked"), ("alike", kind)):
        items = recommender.similar(50, 12, method).items
        assert rings(page, name) == [str(item["movie_id"]) for item in items]
    key = page.locator(".key").inner_text()
    assert "liked by the same people" in key and "of the same kind" in key
    assert open_page("/map").locator(".key").count() == 0


@pytest.mark.parametrize("path", ["/map?film=50", "/movies/50"])
def test_a_keyboard_begins_at_the_film_and_goes_from_there(open_page, path):
    page = open_page(path)
    settled(page)
    page.locator(".legend button").last.focus()
    page.keyboard.press("Tab")
    pointed = page.locator(".pointed")
    assert pointed.inner_text().startswith("Star Wars 1977")
    page.keyboard.press("ArrowRight")
    beside = pointed.inner_text()
    assert beside and not beside.startswith("Star Wars")
    page.keyboard.press("ArrowDown")
    assert pointed.inner_text() not in ("", beside)


@pytest.mark.parametrize("screen", [(390, 844), (1280, 900)])
@pytest.mark.parametrize("path", ["/map", "/movies/50"])
def test_what_a_press_does_is_seen_and_nothing_moves(open_page, screen, path):
    page = open_page(path, viewport=dict(zip(("width", "height"), screen, strict=True)))
    settled(page)
    for control, said in (
        (page.get_by_role("button", name="Horror"), "Horror: 92 films"),
        (page.get_by_role("button", name="Zoom in"), "Horror: 92 films"),
        (page.get_by_role("button", name="Horror"), "All 1,682 films"),
    ):
        control.scroll_into_view_if_needed()
        before = control.bounding_box()
        control.click()
        settled(page)
        after, status = control.bounding_box(), page.locator(".pointed")
        assert abs(after["x"] - before["x"]) < 2 and abs(after["y"] - before["y"]) < 2
        assert status.inner_text() == said
    legend = page.locator(".legend").bounding_box()
    sheet = page.locator(".sheet").bounding_box()
    assert sheet["y"] + sheet["height"] - legend["y"] < screen[1]  # both in one view


@pytest.mark.parametrize("path", ["/map", "/map?film=50", "/movies/50"])
@pytest.mark.parametrize("screen", [(390, 844), (1280, 900)])
def test_nothing_moves_when_the_map_comes(open_page, path, screen):
    page = open_page(viewport=dict(zip(("width", "height"), screen, strict=True)))
    page.add_init_script(
        """window.shifted = 0
        new PerformanceObserver(list => list.getEntries().forEach(entry => {
          shifted += entry.value
        })).observe({type: 'layout-shift', buffered: true})"""
    )
    page.goto(path)
    settled(page)
    for name in ("Horror", "Zoom in", "Show the whole map"):
        page.get_by_role("button", name=name).click()
    settled(page)
    assert page.evaluate("shifted") < 0.05


def test_the_largest_discs_are_named_at_once(open_page):
    for screen in ((390, 844), (1280, 900)):
        page = open_page(viewport=dict(zip(("width", "height"), screen, strict=True)))
        page.add_init_script(
            """window.written = new Set()
            const fill = CanvasRenderingContext2D.prototype.fillText
            CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
              written.add(text)
              return fill.call(this, text, ...rest)
            }"""
        )
        page.goto("/map")
        settled(page)
        assert {"Drama", "Comedy", "Horror", "Romance"} <= set(
            page.evaluate("[...written]")
        )


# The colours of the legend as they reach the screen, and how apart they look: distances
# in OKLab (Ottosson 2020), for eyes without green cones too (Machado et al. 2009).
COLOURS = """() => Object.fromEntries([...document.querySelectorAll('.legend button')]
.map(button => {
  const context = new OffscreenCanvas(1, 1).getContext('2d')
  context.fillStyle = getComputedStyle(button.querySelector('i')).backgroundColor
  context.fillRect(0, 0, 1, 1)
  return [button.dataset.genre, [...context.getImageData(0, 0, 1, 1).data].slice(0, 3)]
}))"""
CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
NO_GREEN = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
FREQUENT = ("Drama", "Comedy", "Action", "Thriller", "Romance", "Horror", "Crime")


def least_distance(colours, eyes):
    "How apart the two most similar of some colours are, seen so."
    rgb = np.array(list(colours)) / 255
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    seen = np.cbrt(np.clip(linear @ eyes.T, 0, 1) @ CONES.T) @ LAB.T
    return min(np.linalg.norm(a - b) for a, b in combinations(seen, 2))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_genres_can_be_told_apart_by_their_colours(open_page, scheme):
    page = open_page("/map", color_scheme=scheme)
    settled(page)
    colours = page.evaluate(COLOURS)
    frequent = [colours[genre] for genre in FREQUENT]
    found = [
        round(float(least_distance(some, eyes)), 3)
        for some in (colours.values(), frequent)
        for eyes in (np.eye(3), NO_GREEN)
    ]
    assert all(a >= b for a, b in zip(found, (0.09, 0.04, 0.13, 0.06), strict=True)), (
        found
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", ["/map?film=50", "/movies/50"])
def test_axe_finds_nothing_on_a_map_that_is_used(browser, server, way, path):
    options, press = WAYS[way]
    with browser.new_context(base_url=server, **options) as context:
        page = context.new_page()
        page.goto(path)
        page.locator(".map").scroll_into_view_if_needed()
        settled(page)
        press(page.locator(".legend").get_by_role("button", name="Western"))
        page.locator("canvas").focus()
        page.keyboard.press("ArrowRight")
        settled(page)
        assert find_faults(page) == ""
