"The map of all films, in a real Chromium."

from conftest import tab_to

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
    near = page.locator("[data-map]").get_attribute("data-alike").split()
    items = recommender.similar(50, 12, "content").items
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


def test_a_press_on_a_genre_says_what_it_holds_where_it_is_pressed(
    open_page, recommender
):
    page = open_page("/map", viewport={"width": 390, "height": 844})
    settled(page)
    button = page.get_by_role("button", name="Horror")
    button.scroll_into_view_if_needed()
    before, scrolled = button.bounding_box(), page.evaluate("scrollY")
    button.click()
    many = int(recommender.catalogue.has_genre["Horror"].sum())
    assert page.locator(".pointed").inner_text() == f"Horror: {many} films"
    assert abs(button.bounding_box()["y"] - before["y"]) < 2
    assert page.evaluate("scrollY") == scrolled


def test_by_keyboard_the_map_starts_at_its_film(open_page):
    page = open_page("/map?film=50")
    settled(page)
    tab_to(page, page.locator("canvas"))
    assert page.locator(".pointed").inner_text().startswith("Star Wars 1977")
    liked, alike = (
        page.locator("[data-map]").get_attribute(f"data-{name}").split()
        for name in ("liked", "alike")
    )
    assert len(liked) == len(alike) == 12 and liked != alike
