"Every address, asked in every wrong way: ids, methods, types, headers, bodies."

import io
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from conftest import save_version
from werkzeug.exceptions import RequestTimeout

from movierec import api, serving, similarity, web
from movierec.config import load_config
from movierec.recommender import Recommender
from movierec.titles import TitleIndex
from movierec.web import create_app

PATHS = [
    route.path.replace("<movie_id>", "{}").replace("<user_id>", "{}")
    for route in api.ROUTES
]
POSTS = [route.path for route in api.ROUTES if route.body_class]
PAGES = [
    "/",
    "/movies/1",
    "/for-you",
    "/map",
    "/api",
    "/healthz",
    "/readyz",
    "/metrics",
]
WITH_ID = [path for path in PATHS if "{}" in path] + ["/movies/{}", "/map?film={}"]
NO_IDS = [
    "abc",
    "-1",
    "1.5",
    "1e3",
    "0x10",
    "%00",
    "\u0661",
    "1%20OR%201=1",
    "%3Cscript%3E",
    "..%2f1",
    "1;2",
    "nan",
    "true",
]
HUGE_IDS = ["0", "1683", "9" * 18, "9" * 19, "9" * 4000]


@pytest.fixture(scope="module")
def client(trained_root):
    "A client of an application with MovieLens 100k, v1.0.0."
    return create_app(load_config(model={"dir": trained_root})).test_client()


def check_problem(response, path):
    "The answer must be a problem: JSON below /api/, else a page; without a traceback."
    expected = "application/problem+json" if path.startswith("/api/") else "text/html"
    assert response.mimetype == expected and "Traceback" not in response.text, (
        response.text[:500]
    )
    if path.startswith("/api/"):
        api.Problem.model_validate_json(response.data)


@pytest.mark.parametrize("path", WITH_ID)
def test_ids_that_are_none(client, path):
    for text in NO_IDS:
        response = client.get(path.format(text))
        assert response.status_code in (400, 404), (text, response.status_code)
        check_problem(response, path)
    for text in HUGE_IDS:
        response = client.get(path.format(text))
        assert response.status_code == 404, text
        check_problem(response, path)


@pytest.mark.parametrize("path", [*PATHS, *PAGES])
def test_methods_that_an_address_has_not(client, path):
    path = path.format(1)
    posts = path in (*POSTS, "/for-you")
    for method in (
        "PUT",
        "PATCH",
        "DELETE",
        "TRACE",
        "BREW",
        *([] if posts else ["POST"]),
    ):
        response = client.open(path, method=method, data=b"{" * 100)
        assert response.status_code == 405 and response.headers["Allow"], (
            method,
            response.status_code,
        )
        check_problem(response, path)


@pytest.mark.parametrize("path", [path for path in PATHS if path not in POSTS])
@pytest.mark.parametrize(
    "query",
    [
        "x=1",
        "k=1&k=2",
        "k=NaN",
        "k=inf",
        "K=3",
        "k=" + "9" * 3000,
        "genre[]=War",
        "%ff=%ff",
    ],
)
def test_queries_that_are_refused(client, path, query):
    response = client.get(f"{path.format(1)}?{query}")
    assert response.status_code == 400 and len(response.data) < 20_000
    check_problem(response, path)


BODIES = {
    "nothing": b"",
    "no JSON": b"ratings=50",
    "no UTF-8": b'{"ratings": {"\xff": 5}}',
    "a list": b"[]",
    "null": b"null",
    "NaN": b'{"ratings": {"50": NaN}}',
    "Infinity": b'{"ratings": {"50": Infinity}}',
    "a huge number": b'{"ratings": {"50": 1e999}}',
    "a huge whole number": b'{"ratings": {}, "k": ' + b"9" * 5000 + b"}",
    "text for a number": b'{"ratings": {"50": "5"}}',
    "a name twice": b'{"ratings": {"50": 5, "50": 4}}',
    "deep lists": b"[" * 60_000,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "deep ratings": b'{"ratings": ' + b'{"50": ' * 5000 + b"5" + b"}" * 5001,
    "too many ratings": json.dumps(
        {"ratings": {str(n): 5 for n in range(2001)}}
    ).encode(),
    "a lone surrogate": b'{"ratings": {"\\ud800": 5}}',
}
TAKE_A_BODY = [*POSTS, "/for-you", "/for-you/films", "/for-you/why/50"]


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", TAKE_A_BODY)
def test_bodies_that_are_refused(client, path, body):
    response = client.post(path, data=body, content_type="application/json")
    assert response.status_code == 400 and len(response.data) < 60_000
    check_problem(response, path)


@pytest.mark.parametrize("path", TAKE_A_BODY)
def test_a_body_that_is_too_large(client, path):
    response = client.post(path, data=b" " * 70_000, content_type="application/json")
    assert response.status_code == 413
    check_problem(response, path)


def send_in_chunks(client, path, content):
    "POST a body whose length nobody says, as servers hand it on."
    return client.post(
        path,
        input_stream=io.BytesIO(content),
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )


@pytest.mark.parametrize("path", TAKE_A_BODY)
def test_a_body_in_chunks_is_taken_whole_or_refused(client, path):
    names = '["Fargo (1996)"]'
    sent = f'{{"names": {names}}}' if path.endswith("matches") else '{"ratings": {}}'
    sent = "{}" if path.endswith("films") else sent
    for n, status in ((len(sent), 200), (65_536, 200), (65_537, 413), (70_000, 413)):
        response = send_in_chunks(client, path, sent.encode().ljust(n))
        assert response.status_code == status, n
        if status == 413:
            check_problem(response, path)
            assert "larger than 65,536 bytes" in response.get_data(as_text=True)


@pytest.mark.parametrize("path", [*PAGES, "/nothing", "/api/v1/movies/1"])
def test_a_body_that_nobody_reads_is_refused_too(client, path):
    assert client.get(path, data=b" " * 65_536).status_code in (200, 404)
    assert client.get(path, data=b" " * 65_537).status_code == 413


def test_what_the_server_refused_is_answered_like_any_error(client):
    refused = {serving.REFUSED: RequestTimeout("too slow")}
    for path in TAKE_A_BODY:
        response = client.post(path, environ_overrides=refused)
        assert response.status_code == 408 and "too slow" in response.text
        check_problem(response, path)
        assert response.headers["X-Request-Id"] and "DENY" in str(response.headers)


def matches(client, *names):
    "The title that each name means, or the titles between which it can't choose."
    items = client.post("/api/v1/matches", json={"names": names}).json["items"]
    assert [item["name"] for item in items] == list(names)
    several = [[movie["title"] for movie in item["candidates"]] for item in items]
    return [
        item["movie"]["title"] if item["movie"] else titles
        for item, titles in zip(items, several, strict=True)
    ]


def test_names_of_other_sites_are_matched(client):
    assert matches(
        client,
        "Fargo (1996)",
        "The Godfather (1972)",
        "the godfather (1973)",  # a year beside, and only one film of this name
        "The Godfather (1975)",
        "Sabrina (1954)",
        "Sabrina",
        "187 (1997)",
        "50",  # a name, not an id
        "Se7en (1995)",
    ) == [
        "Fargo (1996)",
        "Godfather, The (1972)",
        "Godfather, The (1972)",
        [],
        "Sabrina (1954)",
        ["Sabrina (1995)", "Sabrina (1954)"],
        "187 (1997)",
        [],
        "Seven (Se7en) (1995)",
    ]


def test_names_are_matched_some_hundreds_at_a_time(client):
    for names, status in (([], 400), (["x"] * 200, 200), (["x"] * 201, 400)):
        response = client.post("/api/v1/matches", json={"names": names})
        assert response.status_code == status
    assert response.json["errors"][0]["parameter"] == "names"
    assert client.get("/api/v1/matches").status_code == 405


def test_answers_keep_their_tags_until_another_model(client):
    for path in (
        "/api/v1/movies?k=2",
        "/api/v1/movies/1/similar",
        "/api/v1/model",
        "/api/v1/map",
        "/api/v1/openapi.json",
    ):
        first = client.get(path)
        assert first.headers["Cache-Control"] == "no-cache"
        for tag in (
            first.headers["ETag"],
            f"W/{first.headers['ETag']}",
        ):  # a proxy that compresses makes tags weak
            again = client.get(path, headers={"If-None-Match": tag})
            assert (again.status_code, again.data) == (304, b"")
    wrong = client.get("/api/v1/movies/0", headers={"If-None-Match": "*"})
    assert wrong.status_code == 404
    assert (
        client.post("/api/v1/recommendations", json={"ratings": {}}).headers[
            "Cache-Control"
        ]
        == "no-store"
    )


def test_the_model_tells_about_itself(client, trained_root):
    metadata = json.loads((trained_root / "v1.0.0" / "metadata.json").read_text())
    told = client.get("/api/v1/model").json
    assert (
        told["digest"] == metadata["sha256"]
        and told["evaluation"] is None
        and told["n_movies"] == 1682
    )
    assert told["files"] == {
        name: file["sha256"] for name, file in metadata["files"].items()
    }


@pytest.mark.parametrize(
    "content",
    [b"{", b"[1]", b'{"a": NaN}', b"\xff", b"[" * 100_000],
    ids=lambda content: str(content[:10]),
)
def test_a_damaged_evaluation_leaves_the_model_as_good_as_it_is(
    trained_root, tmp_path, content
):
    root = shutil.copytree(trained_root, tmp_path / "artifacts")
    (root / "v1.0.0" / "evaluation.json").write_bytes(content)
    answer = (
        create_app(load_config(model={"dir": root})).test_client().get("/api/v1/model")
    )
    assert answer.status_code == 200 and answer.json["evaluation"] is None


@pytest.mark.parametrize(
    ("path", "body", "parameter"),
    [
        ("/api/v1/movies?genre=Opera", None, "genre"),
        ("/api/v1/movies/1/similar?genre=War&genre=Opera", None, "genre"),
        ("/api/v1/users/1/recommendations?genre=Opera", None, "genre"),
        ("/api/v1/recommendations", {"ratings": {}, "genres": ["Opera"]}, "genres"),
        ("/api/v1/recommendations", {"ratings": {"0": 5}}, "ratings"),
        (
            "/api/v1/recommendations",
            {"ratings": {"Fargo": 5}, "exclude": ["Fargoo"]},
            "exclude",
        ),
    ],
)
def test_what_only_the_model_can_refuse_is_named_too(client, path, body, parameter):
    response = client.post(path, json=body) if body else client.get(path)
    check_problem(response, path)
    assert response.status_code == 400 and [
        error["parameter"] for error in response.json["errors"]
    ] == [parameter]


# --- one look-up, one search, one check for a request


@pytest.mark.parametrize(
    ("path", "body", "finds", "searches"),
    [
        ("/api/v1/movies/50", None, 1, 0),
        ("/api/v1/movies/title:fargo", None, 1, 0),
        ("/api/v1/movies/50/similar", None, 1, 0),
        ("/api/v1/movies/no such film/similar", None, 1, 1),
        ("/api/v1/movies?q=terminater", None, 0, 1),
        ("/api/v1/recommendations", {"ratings": {"50": 5, "Fargo": 4}}, 2, 0),
        ("/api/v1/recommendations", {"ratings": {"50": 5, "Fargoo": 4, "1": 2}}, 3, 1),
        ("/movies/50", None, 2, 0),
        ("/movies/50?genre=Opera", None, 0, 0),
        ("/movies/fargo", None, 1, 0),
        ("/movies/no such film", None, 1, 1),
        ("/map?film=50", None, 2, 0),
        ("/?q=fargo", None, 0, 0),
        ("/?q=sabrina", None, 0, 1),
        ("/?q=terminater", None, 0, 1),
        ("/for-you", {"ratings": {"50": 5, "99999": 4}}, 1, 0),
        ("/for-you", {"ratings": {"50": 5}, "exclude": ["99999", "7"]}, 2, 0),
        ("/for-you/films", {"q": "fargo"}, 0, 1),
        ("/for-you/films", {"exclude": ["50", "99999"]}, 1, 0),
        ("/for-you/why/50", {"ratings": {"100": 5}}, 2, 0),
        ("/api/v1/matches", {"names": ["Fargo (1996)", "no such film"]}, 0, 0),
    ],
)
def test_nothing_is_found_or_searched_twice(
    client, monkeypatch, path, body, finds, searches
):
    counts, find, search = Counter(), TitleIndex.find, TitleIndex.find_all

    def counting(name, function):
        def counted(*arguments):
            counts[name] += 1
            return function(*arguments)

        monkeypatch.setattr(TitleIndex, name, counted)

    counting("find", find)
    counting("find_all", search)
    client.post(path, json=body) if body else client.get(path)
    assert (counts["find"], counts["find_all"]) == (finds, searches)


def test_a_method_is_refused_by_the_recommender_alone(client):
    for path in ("/api/v1/movies/1/similar", "/movies/1"):
        response = client.get(f"{path}?method=euclid")
        assert response.status_code == 400
        assert "is not known; expected one of cosine, jaccard" in response.text
        assert client.get(f"{path}?method=JACCARD").status_code == 200
    wrong = client.get("/api/v1/movies/1/similar?method=euclid").json["errors"]
    assert [error["parameter"] for error in wrong] == ["method"]
    switch = client.get("/movies/1?method=JACCARD").text.split("</nav>")
    assert 'aria-current="true">Jaccard' in "".join(switch)


@pytest.mark.parametrize(
    "path", ["/api/v1/movies?", "/api/v1/users/1/recommendations?"]
)
def test_years_in_the_wrong_order_are_said_once(client, path):
    response = client.get(f"{path}year_from=1999&year_to=1990")
    (error,) = response.json["errors"]
    assert response.status_code == 400 and error["parameter"] == "year_to"
    assert "the first year is after the last" in error["detail"]


def test_a_year_of_zero_is_a_year(client):
    for path in ("/api/v1/movies", "/api/v1/movies/50/similar"):
        assert client.get(f"{path}?year_to=0").json["items"] == []
        assert len(client.get(f"{path}?year_from=0&k=5").json["items"]) == 5
    body = {"ratings": {"50": 5}, "year_to": 0}
    assert client.post("/api/v1/recommendations", json=body).json["items"] == []
    page = client.get("/movies/50?year_to=0").text
    assert "No film that passes the filters" in page and 'value="0"' in page
    assert "year_to=0&amp;method=jaccard" in page  # the switch keeps it
    assert "No film passes these filters" in client.get("/?year_to=0").text


# --- what a film may be called


@pytest.mark.parametrize(
    ("name", "movie_id"),
    [
        ("187", 187),  # the id, not the film of this title
        ("title:187", 330),
        ("id:187", 187),
        ("0050", 50),
        ("fargo", 100),
        ("TITLE:Fargo (1996)", 100),
        ("title:face off", 298),  # a slash can't stand in a path
    ],
)
def test_text_in_an_address_or_a_key_is_an_id_first(client, name, movie_id):
    found = client.get(f"/api/v1/movies/{name}").json["movie"]
    assert found["movie_id"] == movie_id
    similar = client.get(f"/api/v1/movies/{name}/similar").json
    assert similar["movie"] == found
    assert (
        similar["items"]
        == client.get(f"/api/v1/movies/{movie_id}/similar").json["items"]
    )
    page = client.get(f"/movies/{name}?year_to=1990&genre=War&genre=Drama&x=1")
    same = page.headers.get("Location", f"/movies/{name}")
    query = "genre=War&genre=Drama&year_to=1990" if page.status_code == 303 else ""
    assert same.partition("?")[0] == f"/movies/{movie_id}"
    assert sorted(same.partition("?")[2].split("&")) == sorted(query.split("&"))
    lists = [
        client.post("/api/v1/recommendations", json={"ratings": {key: 5}}).json["items"]
        for key in (name, f"id:{movie_id}")
    ]
    assert lists[0] == lists[1]


def test_a_redirection_stays_here(client):
    for query in ("_external=1&_scheme=x&_anchor=y", "_method=POST", "movie_id=2"):
        response = client.get(f"/movies/fargo?{query}")
        assert (response.status_code, response.headers["Location"]) == (
            303,
            "/movies/100",
        )


@pytest.mark.parametrize("names", [("50", "050"), ("50", "id:50"), ("100", "fargo")])
def test_a_film_that_is_rated_twice_under_two_names_is_refused(client, names):
    body = {"ratings": dict.fromkeys(names, 5)}
    response = client.post("/api/v1/recommendations", json=body)
    assert response.status_code == 400 and "rated twice" in response.json["detail"]
    assert response.json["errors"][0]["parameter"] == "ratings"


# --- what is registered is served


def test_a_method_that_is_registered_is_served_and_documented(
    dataset, tmp_path, monkeypatch
):
    def smaller(dot, square, other):
        return np.minimum(square, other)

    method = similarity.Method("overlap", smaller, ("genres",))
    monkeypatch.setitem(similarity.METHODS, "overlap", method)
    methods = list(similarity.METHODS)
    rec = Recommender.from_tables(
        dataset.movies, genres=dataset.genres, methods=methods
    )
    save_version(tmp_path, "v1.0.0", rec)
    client = create_app(load_config(model={"dir": tmp_path})).test_client()
    got = client.get("/api/v1/movies/50/similar?method=overlap").json
    assert got["items"] == rec.similar(50, method="overlap").to_dict()["items"]
    about = client.get("/api/v1/model").json
    assert about["methods"] == methods
    assert about["features"] == [*dataset.genres, "year"]
    page = client.get("/movies/50?method=overlap").text
    assert ">Overlap</a>" in page and "Compares genres alone." in page
    paths = api.openapi_document()["paths"]
    parameters = paths["/api/v1/movies/{movie_id}/similar"]["get"]["parameters"]
    (enum,) = [p["schema"]["enum"] for p in parameters if p["name"] == "method"]
    assert enum == [*methods, "liked"]


# --- answers are theirs who asked


def test_what_is_given_away_shares_nothing_with_the_model(recommender):
    rec, ratings = recommender, api.RecommendBody(ratings={"50": 5})

    def answers():
        return [
            api.find_similar(rec, 50, api.SimilarQuery(k=3)).items,
            api.find_recommendations(rec, ratings).items,
            api.list_movies(rec, api.MoviesQuery(k=3))[1],
            api.list_movies(rec, api.MoviesQuery(q="sabrina"))[1],
            web.find_films(rec, api.MoviesQuery(q="sabrina"))[1],
            web.find_films(rec, api.MoviesQuery(q="terminater"))[2],
            api.map_columns(rec)["title"],
            api.map_columns(rec)["genre_names"],
        ]

    before = json.dumps([list(answer) for answer in answers()])
    for answer in answers():
        for film in answer:
            if isinstance(film, dict):
                film["genres"].append("x")
                film["title"] = "x"
        if isinstance(answer, list):
            answer.clear()
    assert json.dumps([list(answer) for answer in answers()]) == before
