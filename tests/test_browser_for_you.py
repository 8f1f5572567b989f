"""A list of one's own, in a real Chromium: ratings that stay in the browser, and
nothing that moves under a pointer."""

import csv
import io
import json
import re

import pytest
from conftest import (
    DESKTOP,
    PHONE,
    WATCH_SHIFTS,
    WAYS,
    distance_moved,
    find_faults,
    tab_to,
)
from playwright.sync_api import expect

from movierec.web import said_title


def stars_of(page, title, stars, within=".asked"):
    "The star to press."
    name = re.compile(rf"^Your rating of {re.escape(title)}(:|$)")
    group = page.locator(within).get_by_role("group", name=name)
    return group.get_by_label(f"{stars} of 5")


def give(page, title, stars, within=".asked"):
    "Rate a film as a person does."
    stars_of(page, title, stars, within).click()


def settle(page):
    "Wait until the list has followed."
    page.wait_for_timeout(300)  # longer than typing is waited for
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    page.wait_for_timeout(100)


def find(page, text):
    "Search for a film to rate."
    with page.expect_response("**/for-you/films"):
        page.get_by_label("Find a film to rate").fill(text)


def listed(page):
    "The titles in the list."
    return page.locator(".picks .name").all_inner_texts()


def asked(page):
    "The titles of the films to rate."
    return page.locator(".asked .caption .name").all_inner_texts()


def names(results):
    "What a list that the recommender makes looks like."
    return [said_title(item["title"])[0] for item in results.items]


def store(page, **kinds):
    "Put text into the browser's storage as if it had been there before, and reload."
    page.evaluate(
        "kinds => Object.entries(kinds)"
        ".forEach(([kind, text]) => localStorage.setItem('movierec.' + kind, text))",
        kinds,
    )
    page.reload()
    settle(page)


def stored(page, kind):
    "What the browser keeps."
    return json.loads(page.evaluate(f"localStorage.getItem('movierec.{kind}')"))


def kept(page, kind):
    "What the page says is kept."
    return page.locator(f"[data-kind={kind}] li:not(.gone) a").all_inner_texts()


def test_for_you(open_page, recommender):
    page = open_page("/movies/100")
    page.get_by_label("5 of 5 stars").click()
    said = page.get_by_text("Kept. For you now knows 1 of your ratings.")
    said.get_by_role("link", name="For you").click()
    settle(page)
    assert listed(page) == names(recommender.recommend({100: 5}, 12))
    why = page.locator(".picks .why").first
    assert why.text_content() == "because you loved Fargo"
    assert kept(page, "ratings") == ["Fargo"]
    assert page.get_by_role("link", name="For you (1)").is_visible()
    find(page, "star wars")
    give(page, "Star Wars", 1)
    settle(page)
    both = recommender.recommend({50: 1, 100: 5}, 12)
    assert listed(page) == names(both)
    page.get_by_label("Variety").focus()
    page.keyboard.press("End")
    settle(page)
    varied = recommender.recommend({50: 1, 100: 5}, 12, diversity=1)
    assert listed(page) == names(varied) != names(both)
    page.reload()
    settle(page)
    assert listed(page) == names(both)  # kept in the browser
    assert page.context.cookies() == []


# --- nothing moves


@pytest.mark.parametrize("way", WAYS)
def test_what_was_used_stays_where_it_is(open_page, way):
    options, press = WAYS[way]
    page = open_page("/for-you", **options)
    page.add_init_script(WATCH_SHIFTS)
    page.reload()
    settle(page)
    picks, moved = page.locator(".picks > li"), []

    def use(control, how=press):
        moved.append(distance_moved(control, how, lambda: settle(page)))

    use(stars_of(page, "Fargo", 5))
    use(stars_of(page, "Fargo", 4))
    use(page.locator('.asked [data-rate="100"] button'))
    use(stars_of(page, "Fargo", 5))
    for place in (0, 3, 11):
        item = picks.nth(place)
        use(item.get_by_label("4 of 5"))
        use(item.get_by_label("2 of 5"))
    for place in (1, 4):
        for name in ("Later", "Not interested", "Not interested"):
            use(picks.nth(place).get_by_role("button", name=name))
    use(picks.nth(2).locator("summary"))
    picks.nth(2).locator("td").first.wait_for()
    use(picks.nth(2).locator("summary"))
    use(page.get_by_role("button", name="Show others"))
    use(page.get_by_label("Find a film to rate"), lambda box: box.fill("kieslowski"))
    use(page.get_by_label("Find a film to rate"), lambda box: box.fill("qqqqqqqq"))
    use(page.get_by_role("button", name="Show others"))
    use(page.get_by_label("Genre", exact=True), lambda box: box.select_option("Horror"))
    use(page.get_by_label("Made"), lambda box: box.select_option("Before 1950"))
    use(page.get_by_label("Variety"), lambda slider: slider.press("End"))
    remove, forget = page.locator("[data-kind] button"), page.locator("[data-forget]")
    for control in (remove.first, remove.first, forget, forget):  # and back again
        use(control)
    assert max(moved) < 2, moved
    assert sum(page.evaluate("shifts")) < 0.05
    page.set_viewport_size({"width": 320, "height": 568})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("options", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_films_page_stays_where_it_is_when_its_film_is_rated(open_page, options):
    page = open_page("/movies/100", **options)
    page.add_init_script(WATCH_SHIFTS)
    page.reload()
    settle(page)
    start = sum(page.evaluate("shifts"))
    star = page.get_by_label("4 of 5 stars")
    before = star.bounding_box()
    star.click()
    settle(page)
    assert star.bounding_box() == before
    page.get_by_role("button", name="Clear your rating of Fargo").click()
    page.get_by_text("Taken back. For you now knows 0 of your ratings.").wait_for()
    assert star.bounding_box() == before
    assert sum(page.evaluate("shifts")) - start < 0.01


def test_the_list_follows_without_losing_its_place(open_page):
    page = open_page("/for-you")
    give(page, "Fargo", 5)
    settle(page)
    first, items = listed(page), page.locator(".picks > li")
    give(page, first[2], 4, ".picks")
    settle(page)
    assert listed(page) == first  # the rated film stays, and all others
    assert "Rated." in items.nth(2).locator(".why").inner_text()
    items.nth(5).get_by_role("button", name="Not interested").click()
    settle(page)
    second = listed(page)
    assert second[2] not in first  # a new film in its place
    assert second[:2] + second[3:] == first[:2] + first[3:]
    items.nth(5).get_by_role("button", name="Not interested").click()  # after all
    items.nth(6).get_by_role("button", name="Later").click()
    settle(page)
    assert listed(page) == second
    give(page, "Contact", 1)
    settle(page)
    assert not {first[2], first[6]} & set(listed(page)) and first[5] in listed(page)


def test_a_list_that_arrives_under_a_pointer_waits(open_page):
    page = open_page("/for-you")
    before, lists = listed(page), []
    page.route("**/for-you", lambda one: lists.append(one), times=1)  # held back
    with page.expect_request("**/for-you"):
        give(page, "Fargo", 5)
    page.locator(".picks li").nth(3).hover()
    lists[0].continue_()
    settle(page)
    assert listed(page) == before
    page.mouse.move(0, 0)
    settle(page)
    assert listed(page) != before


def test_by_keyboard_alone(open_page):
    page = open_page("/for-you")
    tab_to(page, stars_of(page, "Star Wars", 1))
    page.keyboard.press("Space")
    for _ in range(4):
        page.keyboard.press("ArrowRight")  # each star on the way is given, too
    settle(page)
    assert stored(page, "ratings")["50"]["stars"] == 5
    focus = "document.activeElement.matches('.asked [data-rate=\"50\"] input')"
    assert page.evaluate(focus)
    star = page.locator('.asked [data-rate="50"] input:checked + span')
    ring = star.evaluate(
        "star => [getComputedStyle(star).outlineStyle, star.offsetWidth]"
    )
    assert ring[0] == "solid" and ring[1] < 30  # on the star itself
    later = page.locator(".picks [data-put=later]").first
    tab_to(page, later)
    page.keyboard.press("Enter")
    settle(page)
    assert later.get_attribute("aria-pressed") == "true" and kept(page, "later")
    assert page.evaluate("document.activeElement.dataset.put") == "later"
    why = page.locator(".picks summary").first
    tab_to(page, why)
    page.keyboard.press("Enter")
    page.locator(".picks details[open] td").first.wait_for()
    page.keyboard.press("Escape")
    assert page.locator(".picks details[open]").count() == 0
    assert why.evaluate("summary => summary === document.activeElement")


# --- what is asked


def test_nobody_is_asked_the_same_twice(open_page):
    page = open_page("/for-you")
    seen = asked(page)
    assert len(seen) == 6
    give(page, "Fargo", 5)
    settle(page)
    for _ in range(4):
        with page.expect_response("**/for-you/films"):
            page.get_by_role("button", name="Show others").click()
        settle(page)
        now = asked(page)
        assert len(now) == 6 and not set(now) & {*seen, *listed(page)}
        seen += now
    page.reload()
    settle(page)
    assert set(asked(page)) == set(now)  # these were not passed over


def test_when_all_have_been_asked_it_begins_again(open_page):
    page = open_page("/for-you")
    page.get_by_label("Genre", exact=True).select_option("Film-Noir")
    settle(page)
    seen = set(asked(page))
    for _ in range(4):
        page.get_by_role("button", name="Show others").click()
        settle(page)
        assert asked(page)
        seen |= set(asked(page))
    assert len(seen) > 20 and len(stored(page, "asked")) < 12


def test_filters_and_search(open_page, recommender):
    page = open_page("/for-you")
    page.get_by_label("Genre", exact=True).select_option("Western")
    page.get_by_label("Made").select_option("1950-1969")
    settle(page)
    allowed = recommender.catalogue.allowed(["Western"], (1950, 1969)).nonzero()[0]
    films = [recommender.catalogue.record(row) for row in allowed]
    titles = {said_title(film["title"])[0] for film in films}
    assert len(asked(page)) == 6 and set(asked(page)) <= titles
    page.get_by_label("Genre", exact=True).select_option("Any")
    page.get_by_label("Made").select_option("Any year")
    find(page, "kieslowski")
    settle(page)
    assert "Three Colors: Red" in asked(page)
    find(page, "qqqqqqqqq")
    page.get_by_text("No film fits.").wait_for()


# --- what is kept


def test_later_and_not_interested(open_page):
    page = open_page("/for-you")
    first = listed(page)
    for place, name in ((0, "Later"), (1, "Not interested"), (2, "Later")):
        item = page.locator(".picks > li").nth(place)
        item.get_by_role("button", name=name).click()
    settle(page)
    assert kept(page, "later") == [first[0], first[2]]
    assert kept(page, "out") == [first[1]]
    page.reload()
    settle(page)
    assert not {*first[:3]} & {*listed(page), *asked(page)}
    page.locator("[data-kind=out] button").click()
    settle(page)
    assert kept(page, "out") == [] and first[1] in listed(page)
    find(page, first[0])
    give(page, first[0], 3)  # seen at last
    settle(page)
    assert kept(page, "later") == [first[2]] and kept(page, "ratings") == [first[0]]


def test_it_can_all_be_forgotten_and_brought_back(open_page):
    page = open_page("/for-you")
    give(page, "Fargo", 5)
    page.get_by_role("button", name="Forget it all").click()
    settle(page)
    assert stored(page, "ratings") == stored(page, "later") == {}
    assert page.get_by_role("heading", name="What most people like").is_visible()
    page.get_by_role("button", name="Bring it all back").click()
    settle(page)
    assert kept(page, "ratings") == ["Fargo"]


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[1]",
        '{"50": {"title": "<img src=x>", "stars": 9}, "x": 1}',
        '{"version": 7, "films": [{"id": 50, "stars": 5}]}',
        "null",
    ],
)
def test_what_another_version_kept_is_ignored_and_not_lost(open_page, text):
    page = open_page("/for-you")
    store(page, ratings=text, later=text, out=text, asked=text)
    assert len(listed(page)) == 12
    give(page, "Fargo", 4)
    settle(page)
    assert len(listed(page)) == 12 and kept(page, "ratings") == ["Fargo"]
    old = page.evaluate("localStorage.getItem('movierec.ratings.old')")
    assert old == text


def test_ratings_of_films_that_are_gone_are_left_out_and_titles_are_text(open_page):
    page = open_page("/for-you")
    gone = {"title": "<img src=x onerror=alert(1)>", "stars": 5}
    ours = {"title": "Star Wars", "stars": 5}  # as the first version kept it
    ratings = json.dumps({"99999": gone, "50": ours})
    store(page, ratings=ratings, out=json.dumps({"99998": {"title": "Gone"}}))
    assert len(listed(page)) == 12
    assert page.get_by_text("1 rating of films that this catalogue").is_visible()
    assert page.locator("img").count() == 0
    assert kept(page, "ratings") == ["Star Wars", gone["title"]]


def test_half_stars_are_shown_and_survive(open_page):
    page = open_page("/for-you")
    store(page, ratings='{"100": {"title": "Fargo", "stars": 3.5}}')
    find(page, "fargo")
    group = page.get_by_role("group", name="Your rating of Fargo: 3.5 of 5 stars")
    assert group.get_by_label("4 of 5").is_checked()
    assert page.locator("[data-kind=ratings] .given").inner_text().endswith("★★★½")
    group.get_by_label("4 of 5").click()
    settle(page)
    assert stored(page, "ratings")["100"]["stars"] == 4


def test_a_list_that_cant_be_had_says_so(open_page):
    page = open_page("/for-you")
    page.context.set_offline(True)
    give(page, "Fargo", 4)
    page.get_by_text("be had just now. Your ratings are safe").wait_for()
    page.get_by_role("button", name="Show others").click()
    page.get_by_text("No other films can be had just now").wait_for()
    page.locator(".picks summary").first.click()
    page.get_by_text("The sum can").wait_for()
    page.context.set_offline(False)
    open_page.trouble.clear()  # Chromium reports what could not be reached
    give(page, "Fargo", 5)
    page.get_by_text("12 films, from 1 rating.").wait_for()


REFUSALS = {
    "full": "Storage.prototype.setItem = () => { throw new Error('full') }",
    "forbidden": "Object.defineProperty(window, 'localStorage', "
    "{ get() { throw new Error('forbidden') } })",
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_browser_that_keeps_nothing_says_so_and_serves_until_one_leaves(
    browser, server, refusal
):
    with browser.new_context(base_url=server) as context:
        context.add_init_script(refusal)
        page = context.new_page()
        page.goto("/movies/50")
        page.get_by_label("5 of 5 stars").click()
        assert page.get_by_label("5 of 5 stars").is_checked()
        assert page.get_by_text("This browser keeps nothing for this site").is_visible()
        page.goto("/for-you")
        give(page, "Fargo", 5)
        page.get_by_text("12 films, from 1 rating.").wait_for()
        page.locator("[data-put=later]").first.click()
        assert kept(page, "ratings") == ["Fargo"] and len(kept(page, "later")) == 1


# --- files

LETTERBOXD = (
    "\ufeffDate,Name,Year,Letterboxd URI,Rating\r\n"
    "2020-01-01,Fargo,1996,https://boxd.it/x,4.5\r\n"
    '2020-01-02,"The Good, the Bad and the Ugly",1966,https://boxd.it/y,5\r\n'
    "2020-01-03,The Matrix,1999,https://boxd.it/z,4\r\n"
    "2020-01-04,Sabrina,,https://boxd.it/s,3\r\n"
    "2020-01-05,Heat,1995,https://boxd.it/h,\r\n"
)
IMDB = (
    "Const,Your Rating,Date Rated,Title,Original Title,URL,Type,IMDb Rating,Year\n"
    'tt0116282,9,2020-01-01,Fargo,Fargo,https://x,Movie,"8,1",1996\n'
    'tt0068646,10,2020-01-01,"The ""Godfather""",x,https://x,Movie,9.2,1972\n'
    "tt0133093,8,2020-01-01,The Matrix,x,https://x,Movie,8.7,1999\n"
)


def read_file(page, text, name="ratings.csv"):
    "Give the page a file, and wait until it has said what it found."
    file = {"name": name, "mimeType": "text/csv", "buffer": text.encode()}
    page.locator("[type=file]").set_input_files(file)
    page.locator(".read").get_by_text("found and kept").wait_for()
    settle(page)


def stars_kept(page):
    "Stars by title."
    return {one["title"]: one["stars"] for one in stored(page, "ratings").values()}


def test_ratings_from_letterboxd(open_page):
    page = open_page("/for-you")
    read_file(page, LETTERBOXD)
    assert stars_kept(page) == {"Fargo": 4.5, "The Good, The Bad and The Ugly": 5}
    said = page.locator(".read").inner_text()
    assert "2 of 4 films found and kept." in said and "The Matrix (1999)" in said
    assert "Sabrina: which, Sabrina 1995 or Sabrina 1954?" in said
    assert page.get_by_text("12 films, from 2 ratings.").is_visible()


def test_ratings_from_imdb(open_page):
    page = open_page("/for-you")
    read_file(page, IMDB)
    assert stars_kept(page) == {"Fargo": 4.5, "The Godfather": 5}
    assert "2 of 3 films found" in page.locator(".read").inner_text()


def test_many_ratings_are_matched_in_parts(open_page, recommender):
    page, calls = open_page("/for-you"), []
    page.on("request", lambda one: calls.append(one.url.endswith("/api/v1/matches")))
    films = recommender.movies.sort("n_ratings", descending=True).head(450)
    rows = films.select("title", "year").iter_rows()
    lines = [(said_title(title)[0], year, 4) for title, year in rows]
    file = io.StringIO()
    csv.writer(file).writerows([("Name", "Year", "Rating"), *lines])
    read_file(page, file.getvalue())
    assert sum(calls) == 3 and len(stored(page, "ratings")) > 440
    page.get_by_text("12 films, from").wait_for()


def test_what_is_written_can_be_read_back(open_page):
    page = open_page("/for-you")
    odd = {"title": 'A "quoted", film', "year": 1990, "stars": 0.5}
    fargo = {"title": "Fargo", "year": 1996, "stars": 4.5}
    ratings, later = {"100": fargo, "1600": odd}, {"7": {"title": "Twelve Monkeys"}}
    out = {"50": {"title": "Star Wars", "year": 1977}}
    kinds = {"ratings": ratings, "later": later, "out": out}
    store(page, **{kind: json.dumps(all) for kind, all in kinds.items()})
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    text = download.value.path().read_text("utf-8")
    head, *_ = csv.reader(io.StringIO(text))
    assert head == ["Name", "Year", "Rating", "Id", "Kind"]  # Letterboxd reads it too
    page.get_by_role("button", name="Forget it all").click()
    read_file(page, text)
    assert {kind: stored(page, kind) for kind in kinds} == kinds


@pytest.mark.parametrize("text", ["", "no table", "a,b\n1,2\n", "\x00\xff,\n"])
def test_a_file_that_is_none_of_these_changes_nothing(open_page, text):
    page = open_page("/for-you")
    give(page, "Fargo", 5)
    file = {"name": "x.csv", "mimeType": "text/csv", "buffer": text.encode()}
    page.locator("[type=file]").set_input_files(file)
    page.get_by_text("be read: it has no columns").wait_for()
    assert stars_kept(page) == {"Fargo": 5}


# --- reasons


def test_the_whole_sum_is_there_on_demand(open_page, recommender):
    page = open_page("/for-you")
    ratings = {50: 5, 100: 4, 7: 2, 258: 3, 286: 4, 288: 1, 294: 5, 1: 4}
    titles = recommender.movies.select("movie_id", "title").rows()
    names_of = {i: said_title(t)[0] for i, t in titles if i in ratings}
    entries = {i: {"title": names_of[i], "stars": n} for i, n in ratings.items()}
    store(page, ratings=json.dumps(entries))
    first = page.locator(".picks > li").first
    first.locator("summary").click()
    first.locator("td").first.wait_for()
    *parts, total = map(float, first.locator("td").all_inner_texts())
    assert abs(sum(parts) - total) < 1e-9
    movie = int(first.get_attribute("data-film"))
    assert abs(recommender.explain(movie, ratings).score - total) < 0.0006
    assert "3 more" in first.locator("table").inner_text()


# --- without a script, and for everybody


def test_without_a_script_it_shows_films_and_says_what_it_needs(open_page):
    page = open_page("/for-you", java_script_enabled=False)
    assert page.get_by_text("This page needs JavaScript").is_visible()
    assert len(asked(page)) == 6 and len(listed(page)) == 12
    for control in page.locator("main").locator("button, input, select").all():
        assert not control.is_visible()


@pytest.mark.parametrize("way", ["mouse", "keyboard", "touch", "touch in the dark"])
def test_axe_finds_nothing_in_any_state(browser, server, way):
    with browser.new_context(base_url=server, **WAYS[way][0]) as context:
        page = context.new_page()
        page.goto("/for-you")

        def check(state):
            assert find_faults(page) == "", state

        give(page, "Fargo", 5)
        page.locator("[data-put=later]").nth(1).click()
        page.locator("[data-put=out]").nth(2).click()
        settle(page)
        page.locator(".picks summary").first.click()
        page.locator(".picks td").first.wait_for()
        check("a sum is open")
        page.locator(".picks summary").first.click()
        page.get_by_role("button", name="Remove Fargo").click()
        read_file(page, LETTERBOXD)
        check("a file was read")
        find(page, "qqqqqq")
        settle(page)
        check("nothing was found")


# --- five tastes: five answers each, and what they should lead to

EUROPE = {
    *("Austria", "Belgium", "Denmark", "France", "Germany", "Ireland", "Italy"),
    *("Netherlands", "Poland", "Spain", "Sweden", "Switzerland", "United Kingdom"),
}
# What is loved, then the genres or countries that fit. Its directors fit, too.
TASTES = {
    "noir": (
        [
            "The Big Sleep",
            "The Third Man",
            "Touch of Evil",
            "L.A. Confidential",
            "The Maltese Falcon",
        ],
        {"Film-Noir", "Mystery", "Crime"},
    ),
    "animation": (
        [
            "Snow White and the Seven Dwarfs",
            "The Lion King",
            "Toy Story",
            "Fantasia",
            "The Nightmare Before Christmas",
        ],
        {"Animation"},
    ),
    "horror": (
        ["A Nightmare on Elm Street", "Psycho", "Scream", "The Shining", "Alien"],
        {"Horror"},
    ),
    "romance": (
        [
            "Casablanca",
            "Sleepless in Seattle",
            "Sense and Sensibility",
            "When Harry Met Sally...",
            "The Philadelphia Story",
        ],
        {"Romance"},
    ),
    "European": (
        [
            "Three Colors: Red",
            "Cinema Paradiso",
            "Il Postino",
            "Three Colors: Blue",
            "Das Boot",
        ],
        EUROPE,
    ),
}


@pytest.mark.parametrize("taste", TASTES)
def test_a_taste_is_met(open_page, recommender, taste):
    loved, fitting = TASTES[taste]
    page, films = open_page("/for-you"), recommender.catalogue
    for title in loved:
        find(page, title)
        stars_of(page, title, 5).first.wait_for()
        stars_of(page, title, 5).first.click()  # 'Alien: Resurrection' follows 'Alien'
        settle(page)
        assert title not in listed(page)  # seen
    assert set(kept(page, "ratings")) == set(loved)
    ids = page.locator(".picks > li").evaluate_all(
        "all => all.map(li => li.dataset.film)"
    )
    rows = [films.row_of[int(movie_id)] for movie_id in ids[:10]]
    seen = [films.title_index.find(title)[0] for title in loved]
    makers = {name for row in seen for name in films.credits(row)["directors"]}
    about = [
        {*films.record(row)["genres"], *credits["directors"], *credits["countries"]}
        for row, credits in ((row, films.credits(row)) for row in rows)
    ]
    assert sum(bool((fitting | makers) & each) for each in about) >= 6
    assert len(set(rows) & set(films.order[:20].tolist())) <= 4
    whys = page.locator(".picks .why").all_inner_texts()
    assert all(any(title in why for title in loved) for why in whys)
