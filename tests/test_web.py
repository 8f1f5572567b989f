"""The web application: what it answers, what it refuses, and what it does while models
come, go and break."""

import html
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import polars as pl
import pytest
from conftest import save_version

from movierec import api, serving, web
from movierec.artifacts import set_latest
from movierec.config import load_config
from movierec.data import release_terms
from movierec.recommender import Recommender
from movierec.titles import MovieNotFound
from movierec.web import create_app, said_title

STATIC_FILES = (
    "style.css",
    "script.js",
    "ratings.js",
    "for_you.js",
    "map.js",
    "posters.svg",
    "favicon.svg",
)
SCRIPT = r'<script src="/static/\w+\.js" defer></script>'


def client_for(root):
    "A test client of an application that serves the versions under `root`."
    return create_app(load_config(model={"dir": root})).test_client()


@pytest.fixture(scope="module")
def client(trained_root):
    "A client of an application with MovieLens 100k, v1.0.0."
    return client_for(trained_root)


@pytest.fixture
def root(trained_root, tmp_path):
    "A copy of the trained versions, to be changed."
    return shutil.copytree(trained_root, tmp_path / "artifacts")


def problem(response, status):
    "The problem details of a response that must be one."
    assert (response.status_code, response.mimetype) == (
        status,
        "application/problem+json",
    ), response.data
    body = response.json
    assert body.keys() >= {
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "request_id",
    }
    assert body["status"] == status
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert body["detail"] and "Traceback" not in response.text
    return body


# --- the API


@pytest.mark.parametrize("method", ["cosine", "jaccard"])
@pytest.mark.parametrize("movie_id", [1, 50, 246, 267, 1682])
def test_the_api_answers_what_the_recommender_answers(
    client, recommender, movie_id, method
):
    got = client.get(f"/api/v1/movies/{movie_id}/similar?k=25&method={method}").json
    assert got == recommender.similar(movie_id, 25, method).to_dict() | {
        "model_version": "v1.0.0"
    }


def test_filters_and_defaults(client, recommender):
    got = client.get(
        "/api/v1/movies/50/similar?genre=Comedy&genre=War&year_from=1970&year_to=1985"
    ).json
    assert (
        got["items"]
        == recommender.similar(
            50, genres=["Comedy", "War"], years=(1970, 1985)
        ).to_dict()["items"]
    )
    assert all(
        1970 <= item["year"] <= 1985 and {"Comedy", "War"} & set(item["genres"])
        for item in got["items"]
    )
    assert len(client.get("/api/v1/movies/50/similar").json["items"]) == 10
    assert client.get("/api/v1/movies/50/similar?year_to=1900").json["items"] == []
    only_from = client.get("/api/v1/movies/50/similar?year_from=1997").json["items"]
    assert only_from == recommender.similar(50, years=(1997, None)).to_dict()["items"]


WRONG = [
    ("k=0", "k"),
    ("k=-1", "k"),
    ("k=101", "k"),
    ("k=ten", "k"),
    ("k=", "k"),
    ("k=1.5", "k"),
    ("k=10.0", "k"),
    ("k=1_0", "k"),
    ("k=+1", "k"),
    ("k=%2010", "k"),
    ("k=1e1", "k"),
    ("k=NaN", "k"),
    ("k=Infinity", "k"),
    ("k=true", "k"),
    ("k=%D9%A1", "k"),  # an Arabic 1
    ("k=1%00", "k"),
    ("k=" + "9" * 20, "k"),
    ("k=" + "9" * 5000, "k"),
    ("k=5&k=5", "k"),
    ("method=euclid", "method"),
    ("method=", "method"),
    ("method=cosine&method=jaccard", "method"),
    ("genre=", "genre"),
    ("genre=" + "x" * 51, "genre"),
    ("&".join(["genre=War"] * 51), "genre"),
    ("year_from=x", "year_from"),
    ("year_from=-1", "year_from"),
    ("year_from=10000", "year_from"),
    ("year_to=19e2", "year_to"),
    ("year_from=1999&year_to=1990", "year_to"),
    ("year_to=1990&year_from=1999", "year_to"),
    ("K=5", "K"),
    ("genres=War", "genres"),
    ("<script>=1", "<script>"),
    ("=1", ""),
]


@pytest.mark.parametrize(
    ("query", "parameter"), WRONG, ids=[query[:30] for query, _ in WRONG]
)
def test_a_wrong_parameter_is_refused_by_name(client, query, parameter):
    body = problem(client.get(f"/api/v1/movies/1/similar?{query}"), 400)
    assert {error["parameter"] for error in body["errors"]} == {parameter}
    assert len(body["detail"]) < 500


def test_every_mistake_is_named_but_the_answer_stays_small(client):
    body = problem(
        client.get("/api/v1/movies/1/similar?k=0&method=&year_from=y&z=1"), 400
    )
    assert [error["parameter"] for error in body["errors"]] == ["k", "year_from", "z"]
    many = client.get(
        "/api/v1/movies/1/similar?" + "&".join(f"{'p' * 500}{i}=1" for i in range(500))
    )
    assert len(problem(many, 400)["errors"]) == 10
    assert len(many.data) < 5000


def test_an_unknown_genre_says_which_are_known(client):
    body = problem(client.get("/api/v1/movies/1/similar?genre=Comdy"), 400)
    assert "did you mean Comedy?" in body["detail"]


@pytest.mark.parametrize(
    "movie_id", ["0", "1683", "99999", "9" * 18, "9" * 19, "9" * 5000]
)
def test_an_unknown_movie_is_not_found(client, movie_id):
    assert problem(client.get(f"/api/v1/movies/{movie_id}/similar"), 404)[
        "type"
    ].endswith("unknown-movie")
    page = client.get(f"/movies/{movie_id}")
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "No such film" in page.text


@pytest.mark.parametrize(
    "name",
    [
        "abc",
        "-1",
        "1.0",
        "%20",
        "1%00",
        "%EF%BC%91",
        "%F0%9F%92%A5",
        "%ff",
        "..",
        "%0d%0a",
        "title:",
        "id:x",
        "sabrina",
    ],
)
def test_what_names_no_film_or_several_is_not_found(client, name):
    body = problem(client.get(f"/api/v1/movies/{name}/similar"), 404)
    assert body["errors"][0]["parameter"] == "movie_id"
    assert body["instance"].isascii()
    assert client.get(f"/movies/{name}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/api/",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v1/movies/1/2/similar",
        "/api/<b>",
        "/api//v1/movies/1",
        "/api/v1//movies/1//similar",
        "/api/v1/movies/",
    ],
)
def test_an_unknown_path_under_api_is_a_problem(client, path):
    assert problem(client.get(path), 404)["title"] == "Not Found"


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_a_wrong_method_names_the_right_ones(client, method):
    response = getattr(client, method)("/api/v1/movies/1/similar", data=b"{" * 1000)
    assert problem(response, 405)["title"] == "Method Not Allowed"
    assert "GET" in response.headers["Allow"]


def test_unforeseen_errors_are_logged_and_not_shown(client, monkeypatch):
    def fail(*arguments):
        raise ZeroDivisionError("a secret")

    records, logger = [], logging.getLogger("movierec")
    catcher = logging.Handler()
    catcher.emit = records.append
    monkeypatch.setattr(web, "find_similar", fail)
    monkeypatch.setattr(api, "find_similar", fail)
    monkeypatch.setattr(logger, "handlers", [catcher])
    monkeypatch.setattr(logger, "propagate", False)
    for path in ("/api/v1/movies/1/similar", "/movies/1"):
        response = client.get(path, headers={"X-Request-Id": "the-id"})
        assert response.status_code == 500
        assert (
            "secret" not in response.text
            and "Traceback" not in response.text
            and "web.py" not in response.text
        )
        assert "the-id" in response.text
    records = [record for record in records if record.levelname == "ERROR"]
    assert [record.exc_info[0] for record in records] == [ZeroDivisionError] * 2
    assert all(record.request_id == "the-id" for record in records)
    problem(client.get("/api/v1/movies/1/similar"), 500)


# --- headers

PATHS = [
    "/",
    "/movies/1",
    "/api/v1/movies/1/similar",
    "/healthz",
    "/readyz",
    "/metrics",
    "/for-you",
    "/map",
    "/api",
    "/static/style.css",
    "/nothing",
    "/api/nothing",
]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_headers(client, path):
    with client.get(path) as response:
        headers = response.headers
    policy = dict(
        part.strip().split(" ", 1)
        for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == policy["img-src"] == policy["form-action"] == "'self'"
    assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert (
        policy["script-src"] == policy["connect-src"] == "'self'"
        and "unsafe" not in headers["Content-Security-Policy"]
    )
    assert (
        headers["X-Content-Type-Options"] == "nosniff"
        and headers["X-Frame-Options"] == "DENY"
    )
    assert headers["Referrer-Policy"] == "same-origin"
    assert re.fullmatch("[0-9a-f]{32}", headers["X-Request-Id"])


@pytest.mark.parametrize(
    ("given", "kept"),
    [("proxy-1.2_3", True), ("x" * 64, True), ("x" * 65, False), ("a b", False)],
)
def test_a_sane_request_id_is_kept(client, given, kept):
    assert (
        client.get("/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"]
        == given
    ) is kept


def test_request_ids_differ(client):
    assert (
        len({client.get("/healthz").headers["X-Request-Id"] for _ in range(20)}) == 20
    )


@pytest.mark.parametrize(
    "path",
    [
        "/static/../web.py",
        "/static/%2e%2e/web.py",
        "/static/..%2fweb.py",
        "/templates/base.html",
    ],
)
def test_no_other_file_is_served(client, path):
    response = client.get(path)
    assert response.status_code == 404 and "import" not in response.text


# --- the page


def titles(text):
    "The names of the films that a page links to, in order."
    return [
        html.unescape(name)
        for name in re.findall(r'class="caption"><bdi class="name">(.*?)</bdi>', text)
    ]


def shelf(page, name):
    "The HTML of a section of a page, or nothing."
    found = re.search(rf'<section class="{name}".*?</section>', page.text, re.DOTALL)
    return found[0] if found else ""


def test_the_first_page_has_somewhere_to_begin(client):
    page = client.get("/")
    assert page.status_code == 200
    assert titles(page.text)[:3] == ["Star Wars", "Contact", "Fargo"]
    assert titles(client.get("/?q=%20%20").text) == titles(page.text)


@pytest.mark.parametrize(
    ("text", "movie_id"),
    [
        ("toy story", 1),
        ("THE GODFATHER", 127),
        ("Sabrina 1954", 486),
        ("50", 50),
        ("187", 330),
        ("id:187", 187),
        ("title:187", 330),
        ("Chasing Amy", 268),
        ("les miserables", 543),
    ],
)
def test_a_search_for_one_film_leads_to_it(client, recommender, text, movie_id):
    assert recommender.movies["movie_id"][recommender.find(text)[0]] == movie_id
    response = client.get("/", query_string={"q": text})
    assert (response.status_code, response.headers["Location"]) == (
        303,
        f"/movies/{movie_id}",
    )


@pytest.mark.parametrize(
    ("text", "said", "first"),
    [
        ("sabrina", "2 films with", "Sabrina"),
        ("star", "18 films with", "Star Wars"),
        ("terminater", "Did you mean", "The Terminator"),
        ("qqqqqqq", "Nothing by that name", "Star Wars"),
        ("inception", "Nothing by that name", "Star Wars"),
        ("x" * 5000, "Nothing by that name", "Star Wars"),
        ("1984", "Nothing by that name", "Star Wars"),
        ("9" * 5000, "Nothing by that name", "Star Wars"),
        ("\u202e\U0001f4a5\x00", "Nothing by that name", "Star Wars"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;", ""),
        ("a\r\nSet-Cookie: b=c", "Set-Cookie", ""),
    ],
)
def test_other_searches_say_what_was_found(client, text, said, first):
    response = client.get("/", query_string={"q": text})
    assert response.status_code == 200
    assert said in response.text
    assert titles(response.text)[0].startswith(first)
    assert (
        "<script" not in re.sub(SCRIPT, "", response.text)
        and "Set-Cookie" not in response.headers
    )
    assert len(response.data) < 50_000
    assert "x" * 201 not in response.text and "9" * 201 not in response.text


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?method=jaccard",
        "?genre=Comedy&genre=War&year_from=1990",
        "?k=20",
        "?genre=&year_from=",
    ],
)
def test_a_films_page_shows_what_the_api_answers(client, query):
    page = client.get(f"/movies/50{query}")
    asked = "?k=12&" + query.removeprefix("?").replace("genre=&year_from=", "")
    asked = asked if "k=20" not in query else query
    asked += "" if "method" in query else "&method=content"
    items = client.get(f"/api/v1/movies/50/similar{asked}").json["items"]
    assert page.status_code == 200
    assert titles(shelf(page, "similar")) == [
        said_title(item["title"])[0] for item in items
    ]
    assert all(item["why"].replace("'", "&#39;") in page.text for item in items)


def test_the_switch_keeps_the_filters(client):
    text = client.get("/movies/50?genre=Comedy&genre=War&year_from=1990").text.replace(
        "&amp;", "&"
    )
    assert (
        'href="/movies/50?genre=Comedy&genre=War&year_from=1990&method=jaccard#similar"'
        in text
    )
    assert text.count(" checked") == 2 and 'value="1990"' in text


def test_filters_that_make_no_sense_leave_the_film_in_place(client):
    for query in (
        "year_from=1999&year_to=1990",
        "genre=Opera",
        "k=ten",
        "method=euclid",
        "year_from=soon",
    ):
        page = client.get(f"/movies/1?{query}")
        assert page.status_code == 400
        assert (
            "Toy Story" in page.text
            and 'role="alert"' in page.text
            and not titles(page.text)
        )


def test_what_is_wrong_with_a_filter_is_said_as_the_form_says_it(client):
    for path in ("/", "/movies/1"):
        page = client.get(f"{path}?year_from=1999&year_to=1990")
        said = html.unescape(page.text)
        wrong = "The range of years is (1999, 1990): the first year is after the last"
        assert page.status_code == 400 and f"{wrong} one." in said
        assert re.search(
            r'id="year_to"[^>]*aria-invalid="true" aria-describedby="problem"',
            page.text,
        )
        assert not re.search(r'id="year_from"[^>]*aria-invalid', page.text)
        assert "Genre 'Opera' is not known" in html.unescape(
            client.get(f"{path}?genre=Opera").text
        )
    assert "The number of films is '0': input should be" in html.unescape(
        client.get("/movies/1?k=0").text
    )
    assert "offset is '-1': input should be" in html.unescape(
        client.get("/?offset=-1").text
    )


@pytest.mark.parametrize(
    "path",
    ["/?utm_source=x&fbclid=1", "/movies/1?utm_source=x", "/map?x=1", "/api?x=1"],
)
def test_parameters_that_others_add_to_a_link_are_let_pass(client, path):
    page = client.get(path)
    assert page.status_code == 200 and "utm_source" not in page.text


def test_no_page_grows_beyond_all_bounds(client, recommender):
    static, scripts = {}, {}
    for name in STATIC_FILES:
        with client.get(f"/static/{name}") as response:
            kept = scripts if name.endswith(".js") else static
            kept[name] = len(response.data)
    assert sum(scripts[n] for n in ("script.js", "ratings.js", "for_you.js")) < 22_000
    static = sum(static.values()) + sum(scripts.values()) - scripts["for_you.js"]
    for_you = static - scripts["map.js"] + scripts["for_you.js"]
    assert for_you + len(client.get("/for-you").data) < 100_000
    many = sorted(
        range(len(recommender.movies)),
        key=lambda row: -len(recommender.movies["genres"][row]),
    )[:40]
    paths = [f"/movies/{recommender.movies['movie_id'][row]}?k=100" for row in many]
    paths += [
        "/?k=100",
        *(f"/?genre={genre}&offset=24" for genre in ("Documentary", "Drama", "Sci-Fi")),
    ]
    sizes = {path: static + len(client.get(path).data) for path in paths}
    assert max(sizes.values()) < 100_000, max(sizes.items(), key=lambda item: item[1])
    for k, shown in ((12, 12), (100, web.MOST_PER_FILM)):
        page = client.get(f"/movies/50?k={k}")
        assert len(titles(shelf(page, "similar"))) == shown
        assert len(titles(shelf(page, "liked"))) == web.PER_FILM


def test_no_film_passes_the_filters(client):
    page = client.get("/movies/1?year_to=1900")
    assert page.status_code == 200 and "No film that passes the filters" in page.text


def test_a_film_that_stands_twice_says_so(client):
    assert (
        "it is also" in client.get("/movies/268").text
        and 'href="/movies/246"' in client.get("/movies/268").text
    )
    assert "it is also" not in client.get("/movies/1").text


def test_the_first_shelf_counts_who_loved_both(client, recommender, dataset):
    page = client.get("/movies/50?genre=Western")  # which is for the second shelf
    items = recommender.similar(50, 12, "liked").items
    first = shelf(page, "liked")
    assert titles(first) == [said_title(i["title"])[0] for i in items]
    loved = dataset.ratings.filter(pl.col("rating") >= 4)
    people = loved.group_by("movie_id").agg("user_id")
    people = {movie_id: set(users) for movie_id, users in people.rows()}
    rated = dataset.ratings.filter(pl.col("movie_id") == 50)
    assert f"{len(people[50])} of the {len(rated)} people who rated it" in first
    for item in items:
        both = len(people[50] & people[item["movie_id"]])
        assert f"loved by {both} of these {len(people[50])}" in first


def test_what_people_loved_can_be_filtered_too(client, recommender):
    page = client.get("/movies/50?method=liked&genre=Western&k=5")
    items = recommender.similar(50, 5, "liked", genres=["Western"]).items
    names = [said_title(item["title"])[0] for item in items]
    assert titles(shelf(page, "similar")) == names
    assert "People who loved this also loved" in shelf(page, "similar")
    assert not shelf(page, "liked")


@pytest.mark.parametrize(
    ("movie_id", "heading", "said"),
    [
        (50, "People who loved this also loved", "501 of the 583 people"),
        (1682, "Films for the same people", "Only 1 person rated it, so this list"),
        (267, "People who loved this", "9 people rated it and 5 gave it 4 stars"),
        (104, "Films for the same people", "Only 5 people rated it, so this list"),
        (1407, "Films for the same people", "None of the 20 who rated it"),
    ],
)
def test_how_many_people_a_shelf_rests_on(client, movie_id, heading, said):
    first = shelf(client.get(f"/movies/{movie_id}"), "liked")
    assert heading in first and said in first


def test_a_films_page_tells_what_people_gave(client, dataset):
    stars = dataset.ratings.filter(pl.col("movie_id") == 1)["rating"]
    facts = client.get("/movies/1").text
    said = [
        f"{n} star{'s' * (n > 1)}: {(stars == n).sum()} of 452" for n in range(1, 6)
    ]
    assert f'aria-label="{", ".join(said[::-1])}"' in facts
    assert f'"average">{stars.mean():.1f}</b> of 5 stars on average, 452' in facts


def test_bars_are_shown_where_they_tell_something(client):
    assert client.get("/movies/50?method=content").text.count('class="score"') == 12
    assert 'class="score"' not in client.get("/movies/1?method=content&k=3").text
    assert 'class="score"' not in shelf(client.get("/movies/50"), "liked")


def test_a_films_page_leads_to_its_makers_and_its_series(client):
    text = html.unescape(client.get("/movies/11").text)
    assert "Also known as <bdi>Se7en</bdi>" in text
    for name in ("David+Fincher", "Morgan+Freeman"):
        assert f'href="/?q=by:{name}"' in text
    series = client.get("/movies/183").text  # Alien
    names = re.search(r"See also (.*?)</p>", series)[1]
    assert re.findall(r"/movies/(\d+)", names)[:1] == ["176"]
    assert "See also" not in client.get("/movies/1").text


def films_of_one(tmp_path, ratings=None):
    "A client for three films, of which one has no genre."
    movies = pl.DataFrame(
        {
            "movie_id": [1, 2, 3],
            "title": ["One (1990)", "Two (1991)", "Three (1992)"],
            "year": [1990, 1991, None],
            "genres": [["x"], ["x", "y"], []],
        },
        schema_overrides={"genres": pl.List(pl.String)},
    )
    rec = Recommender.from_tables(movies, ratings)
    save_version(tmp_path / "artifacts", "v1.0.0", rec)
    return client_for(tmp_path / "artifacts")


def test_a_films_page_without_ratings_or_makers(tmp_path):
    client = films_of_one(tmp_path)
    page, alone = client.get("/movies/1"), client.get("/movies/3")
    assert titles(shelf(page, "similar")) == ["Two"]
    for each in (page, alone):
        assert each.status_code == 200 and not shelf(each, "liked")
        assert "no ratings" in each.text and "histogram" not in each.text
        assert 'class="makers"' not in each.text
    assert "No other film has anything in common" in alone.text
    wrong = client.get("/movies/1?method=liked")
    assert wrong.status_code == 400 and "has learned from no ratings" in wrong.text


def test_half_stars_are_counted_apart_and_a_film_may_have_no_rating(tmp_path):
    ratings = pl.DataFrame(
        {"user_id": [1, 2, 1], "movie_id": [1, 1, 2], "rating": [3.5, 5, 4]}
    )
    client = films_of_one(tmp_path, ratings)
    page, unrated = client.get("/movies/1"), client.get("/movies/3")
    assert "5 stars: 1 of 2, 4.5 stars: 0 of 2" in page.text
    assert "0.5 stars: 0 of 2" in page.text and ">4.2</b> of 5 stars" in page.text
    assert "Only 2 people rated it and 1 gave it 4 stars or more, so this" in page.text
    assert unrated.status_code == 200 and "histogram" not in unrated.text
    assert not shelf(unrated, "liked") and "no ratings" in unrated.text


def test_the_footer_names_source_licence_and_model(client, root, recommender):
    title, terms = release_terms("ml-100k")
    known = (
        "F. Maxwell Harper and Joseph A. Konstan. 2015",
        "doi.org/10.1145/2827872",
        "Model v1.1.0",
    )
    for path in ("/", "/movies/1", "/nothing"):
        text = client.get(path).text  # this version doesn't say what it was trained on
        assert "Model v1.0.0" in text and "MovieLens" not in text
    about = {"name": "ml-100k", "licence": "for research", "free": False}
    about |= {"title": title, "terms": terms, "counted": "ratings"}
    save_version(root, "v1.1.0", recommender, data=about)
    newer = client_for(root)
    for path in ("/", "/movies/1", "/nothing"):
        text = newer.get(path).text
        for words in (*known, "(MovieLens 100k)", terms):
            assert words in text


HOSTILE = [
    "<script>alert(1)</script> (1999)",
    '"><img src=x onerror=alert(1)> (1999)',
    "{{ 7 * 7 }} (1999)",
    "فيلم عربي (1999)",
    "\u202eevil (1999)",
    "💥" * 200,
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    "A client of an application with a catalogue that was made to break pages."
    movies = pl.DataFrame(
        {
            "movie_id": [*range(1, len(HOSTILE) + 1), 99],
            "title": [*HOSTILE, "Alone"],
            "year": [1999] * (len(HOSTILE) - 1) + [None, None],
            "genres": [['"><b>', "War"]] * len(HOSTILE) + [[]],
        },
        schema_overrides={"genres": pl.List(pl.String)},
    )
    root = tmp_path_factory.mktemp("hostile") / "artifacts"
    save_version(root, "v1.0.0", Recommender.from_tables(movies))
    return client_for(root)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/movies/1",
        "/movies/2",
        "/movies/4",
        "/movies/6",
        "/?q=script",
        "/?q=<script>",
    ],
)
def test_titles_and_genres_are_escaped(hostile, path):
    text = hostile.get(path).text
    text = re.sub(SCRIPT, "", text)
    assert (
        "<script" not in text
        and "<img" not in text
        and "<b>War" not in text
        and '"><b>' not in text
    )
    assert "{{ 7 * 7 }}" in text or "49" not in titles(text)


def test_titles_of_any_script_keep_to_themselves(hostile):
    assert '<bdi class="name">فيلم عربي</bdi>' in hostile.get("/movies/1").text
    assert (
        hostile.get("/", query_string={"q": HOSTILE[3]}).headers["Location"]
        == "/movies/4"
    )
    assert hostile.get("/api/v1/movies/1/similar").json["movie"]["title"] == HOSTILE[0]


def test_a_movie_without_year_and_genres_has_a_page(hostile):
    text = hostile.get("/movies/99").text
    assert "year unknown" in text and "no genre" in text and "no ratings" in text


# --- models that come, go and break


def test_without_a_model_it_starts_and_says_what_to_run(tmp_path, trained_root):
    root = tmp_path / "artifacts"
    client = client_for(root)
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").status_code == 503
    assert "movierec train" in client.get("/readyz").json["reason"]
    detail = problem(client.get("/api/v1/movies/1/similar"), 503)["detail"]
    assert (
        "movierec fetch" in detail
        and "movierec train" in detail
        and str(tmp_path) not in detail
    )
    for path in ("/", "/?q=fargo", "/movies/1"):
        page = client.get(path)
        assert (
            page.status_code == 503
            and "movierec fetch" in page.text
            and "movierec train" in page.text
        )
    with client.get("/static/style.css") as style:
        assert style.status_code == 200
    shutil.copytree(trained_root, root)
    ready, metadata = (
        client.get("/readyz").json,
        json.loads((root / "v1.0.0" / "metadata.json").read_text()),
    )
    assert ready == {
        "status": "ready",
        "model_version": "v1.0.0",
        "digest": metadata["sha256"],
    }
    assert client.get("/movies/1").status_code == 200


def with_year_weight(recommender, year_weight):
    "A recommender of fewer films that differs in how much the year weighs."
    movies = recommender.movies.head(300)
    ratings = movies.select(
        pl.col("movie_id").repeat_by("n_ratings").explode()
    ).drop_nulls()
    return Recommender.from_tables(
        movies.drop("n_ratings"),
        ratings,
        recommender.catalogue.genres,
        year_weight=year_weight,
    )


def other_version(root, recommender, version, year_weight):
    "Put a version in use that differs in how much the year weighs, and give it back."
    other = with_year_weight(recommender, year_weight)
    save_version(root, version, other)
    return other


def test_a_new_version_is_picked_up(root, recommender):
    client = client_for(root)
    assert client.get("/readyz").json["model_version"] == "v1.0.0"
    other = other_version(root, recommender, "v1.1.0", 1.0)
    body = client.get("/api/v1/movies/1/similar").json
    assert body == other.similar(1).to_dict() | {"model_version": "v1.1.0"}
    assert body["items"] != recommender.similar(1).to_dict()["items"]
    set_latest(root, "v1.0.0")  # and back
    assert (
        client.get("/api/v1/movies/1/similar").json["items"]
        == recommender.similar(1).to_dict()["items"]
    )


def test_a_version_trained_again_under_its_name_is_picked_up(root, recommender):
    client = client_for(root)
    before = client.get("/api/v1/movies/1/similar").json
    shutil.rmtree(root / "v1.0.0")
    other_version(root, recommender, "v1.0.0", 1.0)
    assert client.get("/api/v1/movies/1/similar").json["items"] != before["items"]


def altered(path):
    "Change one byte."
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def shortened(path):
    "Cut the last byte off."
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES = {
    "altered": lambda root: altered(root / "v1.1.0" / "movies.parquet"),
    "shortened": lambda root: shortened(root / "v1.1.0" / "neighbours_cosine.npy"),
    "missing": lambda root: (root / "v1.1.0" / "positions.npy").unlink(),
    "metadata": lambda root: altered(root / "v1.1.0" / "metadata.json"),
    "no folder": lambda root: shutil.rmtree(root / "v1.1.0"),
    "latest": lambda root: (root / "latest").write_text("../v1.1.0\n"),
    "latest is gone": lambda root: (root / "latest").unlink(),
    "latest is binary": lambda root: (root / "latest").write_bytes(b"\xff" * 1000),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_with_a_damaged_new_version_the_old_one_goes_on_serving(
    damage, root, recommender, monkeypatch
):
    client = client_for(root)
    before = client.get("/api/v1/movies/1/similar").json
    other = other_version(root, recommender, "v1.1.0", 1.0)
    kept = shutil.copytree(root, root.parent / "kept")
    damage(root)
    for _ in range(3):
        assert client.get("/api/v1/movies/1/similar").json == before
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json["model_version"]) == (200, "v1.0.0")
    assert ready.json["problem"] and str(root) not in ready.json["problem"]
    monkeypatch.setattr(
        serving, "RETRY_SECONDS", 0
    )  # mended, without touching latest if it was not damaged
    shutil.copytree(kept, root, dirs_exist_ok=True)
    assert client.get("/api/v1/movies/1/similar").json == other.similar(1).to_dict() | {
        "model_version": "v1.1.0"
    }
    assert (
        client.get("/readyz").json["model_version"] == "v1.1.0"
        and "problem" not in client.get("/readyz").json
    )


USED = {
    "altered": (
        lambda folder: altered(folder / "movies.parquet"),
        "v1.0.0/movies.parquet has changed",
    ),
    "missing": (
        lambda folder: (folder / "positions.npy").unlink(),
        "v1.0.0/positions.npy is missing",
    ),
    "no folder": (shutil.rmtree, "more) is missing"),
}


@pytest.mark.parametrize(("damage", "said"), USED.values(), ids=USED)
def test_a_model_that_breaks_while_in_use_goes_on_serving_and_readiness_says_so(
    damage, said, root
):
    client = client_for(root)
    before = client.get("/api/v1/movies/1/similar").json
    assert (
        "problem" not in client.get("/readyz").json
        and "movierec_model_problem 0.0" in client.get("/metrics").text
    )
    damage(root / "v1.0.0")
    assert client.get("/api/v1/movies/1/similar").json == before
    ready = client.get("/readyz")
    assert (
        ready.status_code == 200
        and said in ready.json["problem"]
        and str(root) not in ready.json["problem"]
    )
    assert "movierec_model_problem 1.0" in client.get("/metrics").text


def test_metrics_tell_of_the_model_before_anything_else_was_asked(root):
    text = client_for(root).get("/metrics").text
    assert re.search(
        r'^movierec_model_info\{digest="[0-9a-f]{64}",version="v1.0.0"\} 1.0$',
        text,
        re.M,
    )


def test_what_an_answer_says_comes_from_the_model_that_it_names(
    root, recommender, monkeypatch
):
    client, similar = client_for(root), Recommender.similar
    assert client.get("/readyz").json["model_version"] == "v1.0.0"

    def slow(
        *arguments,
    ):  # meanwhile, another version is put in use, and another request has loaded it
        with monkeypatch.context() as patch:  # which asks it for lists
            patch.setattr(Recommender, "similar", similar)
            if not (root / "v1.1.0").exists():
                other_version(root, recommender, "v1.1.0", 1.0)
                ready = client_for(root).get("/readyz").json
                assert ready["model_version"] == "v1.1.0"
                serving.current_serving().holder.get()
        return similar(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Recommender, "similar", slow)
        page = client.get("/movies/1")
    assert (
        "Model v1.0.0" in page.text and "Model v1.1.0" in client.get("/movies/1").text
    )
    shutil.rmtree(root / "v1.1.0")
    set_latest(root, "v1.0.0")
    assert client.get("/readyz").json["model_version"] == "v1.0.0"

    def lost(*arguments):
        slow(*arguments)
        raise MovieNotFound("gone")

    monkeypatch.setattr(Recommender, "similar", lost)
    assert (
        problem(client.get("/api/v1/movies/1/similar"), 404)["model_version"]
        == "v1.0.0"
    )


def test_a_damaged_version_and_no_other_is_a_503_that_names_the_file(root):
    altered(root / "v1.0.0" / "movies.parquet")
    client = client_for(root)
    response = client.get("/api/v1/movies/1/similar")
    assert (
        response.headers["Retry-After"] == "5"
        and response.headers["Cache-Control"] == "no-store"
    )
    body = problem(response, 503)
    assert (
        "v1.0.0/movies.parquet is damaged" in body["detail"]
        and str(root) not in body["detail"]
    )
    page = client.get("/")
    assert page.status_code == 503 and "v1.0.0/movies.parquet is damaged" in page.text


def test_an_unforeseen_failure_to_load_is_survived(root, recommender, monkeypatch):
    client = client_for(root)
    assert client.get("/readyz").status_code == 200

    def fail(root):
        raise MemoryError("not enough")

    other_version(root, recommender, "v1.1.0", 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(serving, "load_model", fail)
        assert "MemoryError" in client.get("/readyz").json["problem"]
        assert client.get("/movies/1").status_code == 200
        assert client_for(root).get("/readyz").status_code == 503


def test_a_failed_version_is_not_loaded_at_each_request(root, monkeypatch):
    loads, load = [], serving.load_model
    monkeypatch.setattr(
        serving, "load_model", lambda root: loads.append(1) or load(root)
    )
    altered(root / "v1.0.0" / "movies.parquet")
    client = client_for(root)
    for _ in range(20):
        assert client.get("/readyz").status_code == 503
    assert len(loads) == 1


def test_many_clients_while_versions_change(root, recommender):
    others = {
        f"v1.{number}.0": with_year_weight(recommender, number / 5)
        for number in range(1, 6)
    }
    versions = {"v1.0.0": recommender} | others
    app = create_app(load_config(model={"dir": root}))
    stop, answers, failures = threading.Event(), [], []

    def ask():
        client = app.test_client()
        while not stop.wait(0.001):  # which leaves room for the thread that saves
            response = client.get("/api/v1/movies/1/similar?k=5")
            (answers if response.status_code == 200 else failures).append(response.json)

    def wait_for(version):
        deadline = time.monotonic() + 60
        while (
            all(answer["model_version"] != version for answer in answers[-100:])
            and time.monotonic() < deadline
        ):
            time.sleep(0.01)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        wait_for("v1.0.0")
        for version, other in others.items():
            save_version(root, version, other)
            wait_for(version)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    expected = {
        name: rec.similar(1, 5).to_dict()["items"] for name, rec in versions.items()
    }
    assert not failures
    assert all(
        answer["items"] == expected[answer["model_version"]] for answer in answers
    )
    assert {answer["model_version"] for answer in answers} == set(versions)
    assert app.test_client().get("/readyz").json["model_version"] == "v1.5.0"


# --- start-up

PROBE = """
import json, sys
from movierec.web import create_app
client = create_app().test_client()
asked = ["/", "/?q=sabrina", "/movies/1", "/for-you", "/map", "/api"]
asked += ["/readyz", "/metrics", "/api/x"]
asked += [
    "/api/v1/movies?q=fargo",
    "/api/v1/movies/1",
    "/api/v1/movies/1/similar?method=jaccard&genre=War&diversity=0.5",
    "/api/v1/users/405/recommendations",
    "/api/v1/model",
    "/api/v1/map",
    "/api/v1/openapi.json",
]
status = [client.get(path).status_code for path in asked]
body = {"ratings": {"50": 5}}
for path in ("/for-you", "/api/v1/recommendations"):
    status.append(client.post(path, json=body).status_code)
print(json.dumps({"status": status, "modules": sorted(sys.modules)}), file=sys.stderr)
"""


def test_answering_loads_none_of_the_libraries_of_training(trained_root, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MOVIEREC_")}
    environment |= {
        "MOVIEREC_HOME": str(tmp_path),
        "MOVIEREC_MODEL__DIR": str(trained_root),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stderr)
    assert found["status"] == [200] * 8 + [404] + [200] * 9
    loaded = {name.partition(".")[0] for name in found["modules"]}
    assert "polars" in loaded
    assert not loaded & {
        "sklearn",
        "matplotlib",
        "pandas",
        "numba",
        "pyarrow",
        "IPython",
        "rich",
        "spectree",
    }


def test_importing_the_module_loads_no_model():
    code = (
        "import movierec.web, flask; found = vars(movierec.web).values(); "
        "assert not [v for v in found if isinstance(v, flask.Flask)]"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd="/", capture_output=True, timeout=60
        ).returncode
        == 0
    )


def test_wrong_settings_are_one_sentence_for_whoever_starts_the_server(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "movierec.web", "run"],
        env=os.environ
        | {"MOVIEREC_HOME": str(tmp_path), "MOVIEREC_FEATURES__YEAR_WEIGHT": "heavy"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert (
        "MOVIEREC_FEATURES__YEAR_WEIGHT is 'heavy'" in done.stderr
        and "Traceback" not in done.stderr
    )


# Recommendations


def post(client, body, **options):
    "Send a body for recommendations: bytes as they are, anything else as JSON."
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(
        "/api/v1/recommendations",
        data=content,
        content_type="application/json",
        **options,
    )


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"ratings": {"50": 5, "100": 4}}, {"ratings": {50: 5, 100: 4}}),
        ({"ratings": {}, "k": 3}, {"ratings": {}, "k": 3}),
        (
            {"ratings": {"Fargo (1996)": 1.5}, "k": 100},
            {"ratings": {100: 1.5}, "k": 100},
        ),
        (
            {
                "ratings": {"50": 5},
                "genres": ["War"],
                "year_from": 1950,
                "exclude": ["181"],
                "diversity": 0.5,
            },
            {
                "ratings": {50: 5},
                "genres": ["War"],
                "years": (1950, None),
                "exclude": [181],
                "diversity": 0.5,
            },
        ),
    ],
)
def test_recommendations_are_what_the_recommender_gives(
    client, recommender, body, asked
):
    response = post(client, body)
    assert response.status_code == 200
    assert response.json == recommender.recommend(**asked).to_dict() | {
        "model_version": "v1.0.0"
    }


@pytest.mark.parametrize(
    "query", ["", "?k=3&diversity=0.4&genre=War&genre=Western&year_to=1970"]
)
def test_recommendations_for_a_user_of_the_data(client, recommender, query):
    options = (
        {"k": 3, "diversity": 0.4, "genres": ["War", "Western"], "years": (None, 1970)}
        if query
        else {}
    )
    response = client.get(f"/api/v1/users/405/recommendations{query}")
    assert (
        response.json["items"]
        == recommender.recommend_for_user(405, **options).to_dict()["items"]
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"ratings=50", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"ratings": {"50": NaN}}', "NaN is no JSON"),
        (b'{"ratings": {"50": Infinity}}', "Infinity is no JSON"),
        (b'{"ratings": {"50": 5, "50": 1}}', "'50' stands twice"),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"ratings":' * 5_000, "nested too deeply|not JSON"),
        (b'{"ratings": {"50": 1' + b"0" * 5_000 + b"}}", "ratings.50 is|not JSON"),
        ([], "body is"),
        (None, "body is"),
        ({}, "ratings is"),
        ({"ratings": [50]}, "ratings is"),
        ({"ratings": {"50": 0}}, "ratings.50 is 0"),
        ({"ratings": {"50": 5.1}}, "ratings.50 is 5.1"),
        ({"ratings": {"50": "5"}}, "ratings.50 is '5'"),
        ({"ratings": {"50": True}}, "ratings.50 is True"),
        ({"ratings": {"50": None}}, "ratings.50 is None"),
        ({"ratings": {"": 5}}, "ratings"),
        ({"ratings": {str(i): 5 for i in range(2001)}}, "ratings is"),
        ({"ratings": {"50": 5}, "k": 0}, "k is 0"),
        ({"ratings": {"50": 5}, "k": 101}, "k is 101"),
        ({"ratings": {"50": 5}, "k": "10"}, "k is '10'"),
        ({"ratings": {"50": 5}, "diversity": 2}, "diversity is 2"),
        ({"ratings": {"50": 5}, "genres": "War"}, "genres is 'War'"),
        ({"ratings": {"50": 5}, "genres": ["Opera"]}, "genre 'Opera' is not known"),
        (
            {"ratings": {"50": 5}, "year_from": 1999, "year_to": 1990},
            "the first year is after the last",
        ),
        ({"ratings": {"50": 5}, "rating": 1}, "unknown parameter 'rating'"),
        ({"ratings": {"99999": 5}}, "no movie is called '99999', and none has this id"),
        ({"ratings": {"Fargoo": 5}}, "Nearest: Fargo"),
        ({"ratings": {"sabrina": 5}}, "fits 2 films"),
        ({"ratings": {"50": 5, "Star Wars (1977)": 4}}, "rated twice"),
        ({"ratings": {"50": 5}, "exclude": ["Fargoo"]}, "Nearest: Fargo"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_wrong_body_is_refused_with_what_is_wrong(client, body, said):
    response = post(client, body)
    assert (response.status_code, response.mimetype) == (
        400,
        "application/problem+json",
    ), response.text
    assert re.search(said, response.json["detail"]) and len(response.data) < 4000


@pytest.mark.parametrize("host", ["zzqq.example", "zzqq:99999", "<zzqq>"])
def test_the_host_of_a_request_stands_nowhere(client, host):
    leading_on = ["/?q=fargo", "/?q=western", "/movies/fargo", "/movies/050", ""]
    pages = ["/", "/api", "/movies/1", "/map", "/for-you", "/nothing", "/movies/0"]
    asked = pages + [route.path for route in api.ROUTES] + ["/static/", "/metrics"]
    for path in leading_on + asked:
        raw = {} if "?" in path else {"PATH_INFO": path}  # it may be empty
        given = {"headers": {"Host": host}, "environ_overrides": raw}
        response = client.get(path or "/", **given)
        assert response.status_code < 500 and "zzqq" not in response.text
        assert "zzqq" not in str(response.headers)
        to = response.headers.get("Location", "/")
        assert to.startswith("/") and not to.startswith("//")


def test_a_body_that_is_too_large_or_of_another_kind_is_refused(client):
    assert post(client, b" " * 65_537).status_code == 413
    form = client.post("/api/v1/recommendations", data={"ratings": "50"})
    assert (form.status_code, form.mimetype) == (415, "application/problem+json")
    assert client.post("/api/v1/recommendations").status_code == 415


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("0", 404),
        ("944", 404),
        ("9" * 400, 404),
        ("-1", 404),
        ("x", 404),
        ("1.0", 404),
        ("1?k=0", 400),
        ("1?method=cosine", 400),
    ],
)
def test_a_wrong_user_or_query_is_refused(client, path, status):
    user, _, query = path.partition("?")
    response = client.get(f"/api/v1/users/{user}/recommendations?{query}")
    assert (response.status_code, response.mimetype) == (
        status,
        "application/problem+json",
    )


def test_a_catalogue_without_ratings_cant_recommend_and_says_so(tmp_path, recommender):
    bare = Recommender.from_tables(recommender.movies.drop("n_ratings"))
    save_version(tmp_path, "v1.0.0", bare)
    client = create_app(load_config(model={"dir": tmp_path})).test_client()
    response = post(client, {"ratings": {"50": 5}})
    assert (
        response.status_code == 400
        and "learned from no ratings" in response.json["detail"]
    )


def test_a_wrong_address_before_there_is_a_model_is_a_page_too(tmp_path):
    response = client_for(tmp_path / "artifacts").get("/nothing")
    assert response.status_code == 404 and 'role="search"' in response.text


@pytest.mark.parametrize("path", ["/nothing", "/movies/0", "/map?film=no+such+film"])
def test_where_something_is_missing_there_are_films_to_go_on_with(client, path):
    response = client.get(path)
    assert response.status_code == 404
    assert response.text.count('class="film-link"') == 6
    assert response.text.count('role="search"') == 1


# For you: pieces of HTML for the script


def test_the_pieces_of_for_you_answer_what_the_recommender_says(client, recommender):
    sent = {"ratings": {"50": 5, "100": 4}, "exclude": ["181", "99999"], "k": 12}
    page = client.post("/for-you", json=sent)
    expected = recommender.recommend({50: 5, 100: 4}, 12, exclude=[181])
    ids = [int(found) for found in re.findall(r'data-film="(\d+)"', page.text)]
    assert ids == [item["movie_id"] for item in expected.items]
    assert page.headers["Cache-Control"] == "no-store"
    why = client.post(f"/for-you/why/{ids[0]}", json=sent)
    total = float(re.findall(r"<td>(.*?)</td>", why.text)[-1])
    assert abs(total - expected.items[0]["score"]) < 0.0006
    assert client.post("/for-you/why/0", json=sent).status_code == 404
    filtered = client.post(
        "/for-you", json={"ratings": {}, "genres": ["War"], "k": 100}
    )
    assert "No film is left" not in filtered.text
    rated = {"ratings": {}, "genres": ["Film-Noir"], "year_to": 1930}
    assert "No film is left" in client.post("/for-you", json=rated).text


def test_films_to_ask_about_are_known_different_and_new(client, recommender):
    seen, genres = list[str](), list[tuple[str, ...]]()
    for _ in range(5):
        page = client.post("/for-you/films", json={"exclude": seen}).text
        ids = re.findall(r'data-rate="(\d+)"', page)
        assert len(ids) == web.PER_QUESTION and not set(ids) & set(seen)
        rows = [recommender.catalogue.row_of[int(movie_id)] for movie_id in ids]
        genres += [tuple(recommender.catalogue.record(row)["genres"]) for row in rows]
        assert len(set(genres[-6:])) == 6  # no two are of the same kind
        assert min(recommender.movies["n_ratings"][rows]) > 100
        seen += ids
    wrong = client.post("/for-you/films", json={"genres": ["Opera"]})
    assert wrong.status_code == 400 and "Traceback" not in wrong.text


def test_titles_are_escaped_in_the_pieces_of_for_you(tmp_path):
    named = ["<script>x</script>", '"><img src=x>', "<b>Plain</b>", "'{{ 7 * 7 }}'"]
    movies = pl.DataFrame(
        {
            "movie_id": [1, 2, 3, 4],
            "title": named,
            "year": [None, 1990, 1991, 1992],
            "genres": [["War"], ["War"], ["War", "x"], ["x"]],
        }
    )
    given = {"user_id": [1, 1, 2, 2], "movie_id": [1, 2, 2, 3], "rating": [5, 4, 5, 5]}
    save_version(
        tmp_path, "v1.0.0", Recommender.from_tables(movies, pl.DataFrame(given))
    )
    client = client_for(tmp_path)
    for address in ("/for-you", "/for-you/films", "/for-you/why/3"):
        sent = {} if address.endswith("films") else {"ratings": {"1": 5, "2": 5}}
        answer = client.post(address, json=sent)
        assert answer.status_code == 200 and re.search(
            "&lt;(script|b)&gt;", answer.text
        )
        assert not re.search("<script|<img|<b>|49", answer.text)
