"Every address, asked in every wrong way: ids, methods, types, headers, bodies."

import json
import shutil

import pytest

from movierec import api
from movierec.config import load_config
from movierec.web import create_app

PATHS = [
    route.path.replace("<movie_id>", "{}").replace("<user_id>", "{}")
    for route in api.ROUTES
]
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
    "The answer must be a problem of its kind: JSON below /api/, else a page; without a traceback."
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
    posts = path in ("/api/v1/recommendations", "/for-you")
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


@pytest.mark.parametrize(
    "path", [path for path in PATHS if path != "/api/v1/recommendations"]
)
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


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", ["/api/v1/recommendations", "/for-you"])
def test_bodies_that_are_refused(client, path, body):
    response = client.post(path, data=body, content_type="application/json")
    assert response.status_code == 400 and len(response.data) < 60_000
    check_problem(response, path)


@pytest.mark.parametrize("path", ["/api/v1/recommendations", "/for-you"])
def test_a_body_that_is_too_large(client, path):
    response = client.post(path, data=b" " * 70_000, content_type="application/json")
    assert response.status_code == 413
    check_problem(response, path)


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
