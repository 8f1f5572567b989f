"""What the Dockerfile starts, started here: the production server, its health check
and metrics, and changing models."""

import http.client
import json
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import pytest
from conftest import save_version

from movierec.recommender import Recommender

DOCKERFILE = Path(__file__).resolve().parent.parent / "Dockerfile"
CHANGE_SECONDS = float(os.environ.get("CHANGE_SECONDS", "10"))
CLIENTS = 16


def instruction(name):
    "The command that an instruction of the Dockerfile gives, as a list."
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return json.loads(re.findall(rf"{name}[^\[\n]*(\[.*\])", text)[-1])


def free_port():
    "A port that nobody uses."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Production:
    "The server of the Dockerfile, on another port."

    def __init__(self, root, folder):
        self.port, self.log = free_port(), folder / "log"
        command = [
            part.replace("0.0.0.0", "127.0.0.1").replace("8000", str(self.port))
            for part in instruction("\nCMD")
        ]
        program = Path(sys.executable).with_name(command[0])
        (folder / "prometheus").mkdir()
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith("MOVIEREC_")
        }
        environment |= {"MOVIEREC_HOME": str(folder), "MOVIEREC_MODEL__DIR": str(root)}
        environment |= {
            "PROMETHEUS_MULTIPROC_DIR": str(folder / "prometheus"),
            "PYTHONUNBUFFERED": "1",
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [program, *command[1:]],
                env=environment,
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                self.get("/healthz")
                return
            except OSError:
                time.sleep(0.1)
        self.stop()
        pytest.fail(f"the server doesn't answer:\n{self.log.read_text()}")

    def get(self, path):
        "Status and content."
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        ) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    def health(self):
        "The exit status of the Dockerfile's health check."
        command = [
            part.replace("8000", str(self.port)) for part in instruction("HEALTHCHECK")
        ]
        return subprocess.run(
            [sys.executable, *command[1:]], capture_output=True, timeout=30
        ).returncode

    def stop(self):
        "End it as a container is ended, and say with which status it went."
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture
def production(trained_root, tmp_path):
    "The production server with a copy of the trained versions, ended afterwards."
    root = tmp_path / "artifacts"
    subprocess.run(["cp", "-r", trained_root, root], check=True)
    server = Production(root, tmp_path)
    server.root = root
    yield server
    if server.process.poll() is None:
        server.stop()


def test_the_servers_of_the_image_answer_as_one(production):
    assert production.health() == 0
    for _ in range(40):
        assert production.get("/api/v1/movies/50/similar?k=1")[0] == 200
    assert (
        production.get("/nothing")[0] == 404 and production.get("/?q=qqqqqqq")[0] == 200
    )
    time.sleep(2)  # each process writes what it has counted once a second
    status, content = production.get("/metrics")
    numbers = dict(
        line.rsplit(" ", 1)
        for line in content.decode().splitlines()
        if not line.startswith("#")
    )
    route = 'method="GET",route="/api/v1/movies/<movie_id>/similar",status="200"'
    assert (
        status == 200 and float(numbers[f"movierec_requests_total{{{route}}}"]) == 40
    )  # of both processes together
    assert float(numbers['movierec_recommendations_total{kind="similar"}']) == 40
    assert float(numbers["movierec_unknown_titles_total"]) == 1
    assert (
        'movierec_model_info{digest="' in content.decode()
        and 'version="v1.0.0"' in content.decode()
    )
    lines = [
        json.loads(line)
        for line in production.log.read_text().splitlines()
        if line.startswith("{")
    ]
    asked = [line for line in lines if line.get("path") == "/api/v1/movies/50/similar"]
    assert len(asked) == 40 and all(
        len(line["request_id"]) == 32 and line["latency_seconds"] > 0 for line in asked
    )
    assert production.stop() == 0
    assert production.health() != 0
    assert "Traceback" not in production.log.read_text()


def workers(production):
    "The processes that answer."
    found = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in found.splitlines()]
    return [
        int(pid)
        for pid, parent, args in rows
        if int(parent) == production.process.pid and "tracker" not in args
    ]


def test_a_worker_that_dies_is_replaced_and_the_other_answers_meanwhile(production):
    deadline = time.monotonic() + 60
    while (
        production.log.read_text().count("Started worker-") < 2
        and time.monotonic() < deadline
    ):
        time.sleep(0.1)  # one that is still starting can't stand in for the other
    for _ in range(40):
        assert production.get("/readyz")[0] == 200
    before = workers(production)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while (
        len(set(workers(production)) - {before[0]}) < 2 and time.monotonic() < deadline
    ):
        with suppress(
            ConnectionResetError
        ):  # the dead one's socket may still take a connection
            assert production.get("/api/v1/movies/50/similar?k=1")[0] == 200
        time.sleep(0.1)
    after = workers(production)
    assert len(after) == 2 and before[0] not in after
    for _ in range(20):
        assert production.get("/readyz")[0] == 200


POST = (
    b"POST /api/v1/recommendations HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/json\r\n"
)
CHUNK = b"10000\r\n" + b"[" * 65536 + b"\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",  # no host
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /static/..%2f..%2fapi.py HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\r\n b\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n{}",
        POST + b"Content-Length: 9999999\r\n\r\n{",
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK * 2 + b"0\r\n\r\n",
        b"\x16\x03\x01\x02\x00",  # somebody speaks TLS
        b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=lambda sent: re.sub(r"[^\w /.-]", "", sent[:30].decode("latin-1")),
)  # fmt: skip
def test_what_no_browser_sends_is_survived(hardened, sent):
    answer = b""
    with (
        socket.create_connection(
            ("127.0.0.1", hardened.port), timeout=10
        ) as connection,
        suppress(OSError),
    ):
        connection.sendall(
            sent
        )  # a server may hang up at any moment: before the end, or before we do
        connection.shutdown(socket.SHUT_WR)
        while len(answer) < 1_000_000 and (part := connection.recv(65536)):
            answer += part
    statuses = re.findall(rb"^HTTP/1\.[01] (\d+)", answer, re.M)
    assert not statuses or int(statuses[0]) < 500, answer[:300]
    assert (
        b"Traceback" not in answer
        and b"root:" not in answer
        and b"import json" not in answer
    )
    assert hardened.get("/healthz")[0] == 200


@pytest.fixture(scope="module")
def hardened(trained_root, tmp_path_factory):
    "A production server for those who mean it harm."
    server = Production(trained_root, tmp_path_factory.mktemp("hardened"))
    yield server
    server.stop()
    assert "Traceback" not in server.log.read_text()


def question(rng):
    "Something to ask: method, path, body, and how the recommender answers it."
    movie_id, k = rng.randint(1, 1682), rng.randint(1, 20)
    if rng.random() < 0.2:
        ratings = {
            str(movie): rng.randint(1, 5) for movie in rng.sample(range(1, 1683), 3)
        }
        body = json.dumps({"ratings": ratings, "k": k})
        return (
            "POST",
            "/api/v1/recommendations",
            body,
            lambda rec: rec.recommend({int(m): s for m, s in ratings.items()}, k),
        )
    method = rng.choice(["cosine", "jaccard"])
    path = f"/api/v1/movies/{movie_id}/similar?k={k}&method={method}"
    return "GET", path, None, lambda rec: rec.similar(movie_id, k, method)


def test_sixteen_clients_while_models_change(production, dataset, recommender):
    kinds = [recommender]
    for year_weight in (0.5, 1.0):
        kinds.append(
            Recommender.from_tables(
                dataset.movies, dataset.ratings, dataset.genres, year_weight
            )
        )
    serving = {"v1.0.0": recommender}
    stop, answers, failures = threading.Event(), [], []

    def ask(seed):
        with closing(
            http.client.HTTPConnection("127.0.0.1", production.port, timeout=30)
        ) as connection:
            keep_asking(random.Random(seed), connection)

    def keep_asking(rng, connection):
        while not stop.is_set():
            method, path, body, expected = question(rng)
            try:
                connection.request(
                    method,
                    path,
                    body,
                    {"Content-Type": "application/json"} if body else {},
                )
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
                return
            if response.status != 200:
                failures.append((response.status, content[:300]))
            else:
                answers.append((json.loads(content), expected))

    threads = [threading.Thread(target=ask, args=[seed]) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + CHANGE_SECONDS
        for number in count(1):
            if time.monotonic() > deadline:
                break
            version = f"v1.{number}.0"
            serving[version] = kinds[number % len(kinds)]
            save_version(production.root, version, serving[version])
            time.sleep(0.3)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures[:3]
    seen = {body["model_version"] for body, _ in answers}
    assert len(answers) > 20 * CHANGE_SECONDS and len(seen) > CHANGE_SECONDS / 2, (
        len(answers),
        seen,
    )
    for body, expected in answers:
        assert body["items"] == json.loads(
            json.dumps(expected(serving[body["model_version"]]).items)
        )
    print(f"{len(answers)} answers from {len(seen)} models")


def test_the_dockerfile_is_what_the_chapter_says():
    assert shlex.join(instruction("\nCMD")).startswith(
        "granian --interface wsgi --factory"
    )
    text = DOCKERFILE.read_text()
    assert "USER 10001" in text and "HEALTHCHECK" in text and "ml-100k.zip" not in text
    assert text.rstrip().endswith("FROM serve")  # what is built unless one says 'free'
