"""Answers that are kept: the same as any other, without Flask, thread or model."""

import asyncio
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from conftest import save_version

from movierec.api import entity_tag
from movierec.artifacts import set_latest
from movierec.config import load_config
from movierec.serving import Answer, Answers, BodyFirst, address_in
from movierec.web import create_app

PLAIN = [
    "/",
    "/for-you",
    "/movies/50",
    "/movies/50?method=liked&k=24",
    "/api/v1/movies/50",
    "/api/v1/movies/title:187",
    "/api/v1/movies/50/similar",
    "/api/v1/movies/50/similar?k=3&method=jaccard",
    "/api/v1/users/405/recommendations?k=5",
    "/api/v1/movies?k=3",
]
NOT_KEPT = [
    ("/?q=fargo", 303),
    ("/?q=the", 200),
    ("/?genre=Western", 200),
    ("/movies/50?genre=War", 200),
    ("/movies/50?k=0", 400),
    ("/movies/fargo", 303),
    ("/api/v1/movies/0", 404),
    ("/api/v1/movies/50/similar?k=nine", 400),
    ("/api/v1/movies/50/similar?genre=War", 200),
    ("/api/v1/users/405/recommendations?diversity=0.5", 200),
    ("/api/v1/map", 200),  # too long
    ("/api/v1/model", 200),  # an evaluation may come
    ("/healthz", 200),
    ("/metrics", 200),
]


class CountingPool(ThreadPoolExecutor):
    "A pool that counts what it is given to do."

    asked = 0

    def submit(self, *work, **options):
        self.asked += 1
        return super().submit(*work, **options)


class Served:
    "The application as the production server calls it, without the server."

    def __init__(self, root, monkeypatch):
        monkeypatch.setenv("MOVIEREC_MODEL__DIR", str(root))
        self.app = create_app(load_config())
        self.pool, self.health = CountingPool(1), CountingPool(1)
        self.asgi = BodyFirst(self.app, self.pool, self.health)
        self.serving = self.app.extensions["movierec"]

    def ask(self, address, method="GET", **headers):
        "Status, headers but the id of the request, that id, and body."
        path, _, query = address.partition("?")
        pairs = [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()]
        scope = {
            "method": method,
            "raw_path": quote(path, safe="/%:").encode(),
            "query_string": query.encode(),
            "headers": pairs,
            "server": ("127.0.0.1", 80),
            "scheme": "http",
            "http_version": "1.1",
        }
        sent = []

        async def send(message):
            sent.append(message)

        asyncio.run(self.asgi(scope, None, send))
        start, content = sent
        told = [(n.decode().lower(), v.decode()) for n, v in start["headers"]]
        (request_id,) = [value for name, value in told if name == "x-request-id"]
        kept = sorted(pair for pair in told if pair[0] != "x-request-id")
        return start["status"], kept, request_id, content["body"]

    def threads(self):
        "How often a thread was asked."
        return self.pool.asked + self.health.asked


@pytest.fixture
def served(trained_root, monkeypatch):
    with_pool = Served(trained_root, monkeypatch)
    yield with_pool
    with_pool.pool.shutdown()
    with_pool.health.shutdown()


@pytest.mark.parametrize("address", PLAIN)
def test_a_plain_question_is_answered_again_without_a_thread(address, served):
    first = served.ask(address)
    again = served.ask(address)
    assert first[0] == again[0] == 200 and served.threads() == 1
    assert (first[1], first[3]) == (again[1], again[3]) and first[2] != again[2]
    tag = dict(first[1])["etag"]
    unknown = served.ask(address, if_none_match='"another"')
    known = [served.ask(address, if_none_match=t) for t in (tag, f"W/{tag}")]
    assert unknown[:2] == first[:2] and served.threads() == 1
    served.asgi.answers.kept.clear()
    ordinary = served.ask(address, if_none_match=tag)
    assert served.threads() == 2 and (ordinary[0], ordinary[3]) == (304, b"")
    for answer in known:
        assert (answer[0], answer[1], answer[3]) == (304, ordinary[1], b"")


@pytest.mark.parametrize(("address", "status"), NOT_KEPT)
def test_other_questions_go_the_ordinary_way(address, status, served):
    for n in (1, 2):
        assert served.ask(address)[0] == status and served.threads() == n
    assert not served.asgi.answers.kept


def test_path_and_query_are_not_mistaken_for_each_other(served):
    "Either may hold a '?': a film's name, and a query that is refused."
    name = "What's Eating Gilbert Grape"
    path = f"/api/v1/movies/{name}"
    served.ask(path)
    kept = list(served.asgi.answers.kept)
    assert kept == [(path, "")]
    tags = set()
    for address in ((path, "?"), (f"{path}?", ""), (path, "")):
        environ = {"PATH_INFO": address[0], "QUERY_STRING": address[1]}
        tags.add(entity_tag(served.serving.holder.held.model, address_in(environ)))
    assert len(tags) == 3


def test_long_addresses_take_no_more_memory_than_is_allowed():
    answers, answer = Answers(most_bytes=100_000), Answer("/", "", "tag", [], b"x")
    for n in range(100):
        answers.add("model", ("/movies/50", f"{'&' * 9000}k={n}"), answer)
    assert 0 < len(answers.kept) < 11 and answers.room >= 0


def test_head_and_bodies_go_the_ordinary_way(served):
    address = "/api/v1/movies/50/similar"
    whole = served.ask(address)
    empty = served.ask(address, "HEAD")
    assert served.threads() == 2 and empty[3] == b""
    assert dict(empty[1])["content-length"] == str(len(whole[3]))
    assert served.ask(address, "POST")[0] == 405 and served.threads() == 3


def test_an_answer_that_is_given_again_is_counted_and_logged(served, caplog):
    served.ask("/api/v1/movies/50/similar")
    caplog.clear()  # other tests may have let the log tell of that
    with caplog.at_level(logging.INFO, "movierec.access"):
        for _ in range(3):
            _, _, name, _ = served.ask("/api/v1/movies/50/similar", x_request_id="mine")
            assert name == "mine"
        served.ask("/api/v1/movies/50/similar", x_request_id="not harmless\n")
    assert served.threads() == 1
    route, numbers = "/api/v1/movies/<movie_id>/similar", served.serving.counts.numbers
    assert numbers["requests", "GET", route, "200"] == 5
    assert numbers["recommendations", "similar"] == 5
    lines = [record for record in caplog.records if record.name == "movierec.access"]
    assert [line.request_id == "mine" for line in lines] == [True] * 3 + [False]
    for line in lines:
        assert (line.method, line.route, line.status) == ("GET", route, 200)
        assert line.path == "/api/v1/movies/50/similar" and line.query == ""


def test_another_model_gives_its_own_answers(
    trained_root, recommender, tmp_path, monkeypatch
):
    root = tmp_path / "artifacts"
    shutil.copytree(trained_root, root)
    served = Served(root, monkeypatch)
    address = "/api/v1/movies/50/similar"
    before = [served.ask(address) for _ in range(2)]
    save_version(root, "v1.0.1", recommender, note="another")
    after = [served.ask(address) for _ in range(3)]
    assert [b'"v1.0.0"' in answer[3] for answer in before] == [True, True]
    assert [b'"v1.0.1"' in answer[3] for answer in after] == [True] * 3
    assert served.threads() == 2
    tag = dict(before[0][1])["etag"]
    assert served.ask(address, if_none_match=tag)[0] == 200
    set_latest(root, "v1.0.0")
    assert b'"v1.0.0"' in served.ask(address)[3] and served.threads() == 3
    served.pool.shutdown()


def test_without_a_model_nothing_is_kept(tmp_path, monkeypatch):
    served = Served(tmp_path / "artifacts", monkeypatch)
    for n in (1, 2):
        assert served.ask("/api/v1/movies/50")[0] == 503 and served.threads() == n
    served.pool.shutdown()
