"""What the Dockerfile starts, started here: the production server, its health check
and metrics, and changing models."""

import http.client
import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from conftest import QUICK, save_version
from faults import no_longer_than

from movierec import cli, serving
from movierec.config import TasteConfig
from movierec.recommender import Recommender

DOCKERFILE = Path(__file__).resolve().parent.parent / "Dockerfile"
CHANGE_SECONDS = float(os.environ.get("CHANGE_SECONDS", "4"))
ATTACK_SECONDS = float(os.environ.get("ATTACK_SECONDS", "12"))  # a body has ten
VARIED = int(os.environ.get("VARIED", "2000"))  # requests, each another one
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

    def __init__(self, root, folder, **variables):
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
        environment |= variables
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
            if self.log.read_text().count("Started worker-") == 2:
                return  # one that is still starting can't stand in for the other
            time.sleep(0.1)
        self.stop()
        pytest.fail(f"the server doesn't start:\n{self.log.read_text()}")

    def get(self, path):
        "Status and content."
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        ) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    def post(self, headers, body=b"", then=b""):
        """What comes back for a POST to the API, until the server hangs up or has
        nothing to say for a second: statuses, headers of the first, content."""
        answer = b""
        with (
            socket.create_connection(
                ("127.0.0.1", self.port), timeout=10
            ) as connection,
            suppress(OSError),
        ):
            connection.sendall(POST + headers + b"\r\n" + body)
            while part := connection.recv(65536):
                answer += part
                connection.sendall(then)
                connection.settimeout(1)
        statuses = re.findall(rb"^HTTP/1\.1 (\d+)", answer, re.M)
        head, _, content = answer.partition(b"\r\n\r\n")
        fields = dict(re.findall(r"^([\w-]+): (.*?)\r?$", head.decode(), re.M))
        return [int(status) for status in statuses], fields, content

    def numbers(self):
        "What it counts, by name and labels; 0 if it has not been counted yet."
        status, content = self.get("/metrics")
        assert status == 200
        lines = content.decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return Counter({name: float(value) for name, value in pairs})

    def lines(self, least=0, **wanted):
        "The lines of the log that say this; waits some seconds for the least number."
        deadline = time.monotonic() + 10
        while True:
            lines = map(json.loads, re.findall(r"^{.*}$", self.log.read_text(), re.M))
            found = [line for line in lines if line.items() >= wanted.items()]
            if len(found) >= least or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

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


@pytest.fixture(scope="module")
def production(trained_root, tmp_path_factory):
    """The production server with a copy of the trained versions, for all tests of this
    file: what it counted and logged before is left out of account."""
    folder = tmp_path_factory.mktemp("production")
    root = folder / "artifacts"
    shutil.copytree(trained_root, root)
    server = Production(root, folder)
    server.root = root
    yield server
    if server.process.poll() is None:
        server.stop()
    assert "Traceback" not in server.log.read_text()


def test_the_servers_of_the_image_answer_as_one(production):
    assert production.health() == 0
    before = production.numbers()
    for _ in range(40):
        assert production.get("/api/v1/movies/50/similar?k=1")[0] == 200
    assert (
        production.get("/nothing")[0] == 404 and production.get("/?q=qqqqqqq")[0] == 200
    )
    route = 'method="GET",route="/api/v1/movies/<movie_id>/similar",status="200"'
    expected = {
        f"movierec_requests_total{{{route}}}": 40,  # of both processes together
        'movierec_recommendations_total{kind="similar"}': 40,
        "movierec_unknown_titles_total": 1,
    }
    deadline, added = time.monotonic() + 10, {}
    while added != expected and time.monotonic() < deadline:
        time.sleep(0.1)  # each process writes what it has counted once a second
        numbers = production.numbers()
        added = {name: numbers[name] - before[name] for name in expected}
    assert added == expected
    model = [name for name in numbers if name.startswith("movierec_model_info")]
    assert len(model) == 1 and 'digest="' in model[0] and 'version="v1.0.0"' in model[0]
    lines = [
        json.loads(line)
        for line in production.log.read_text().splitlines()
        if line.startswith("{")
    ]
    asked = [line for line in lines if line.get("path") == "/api/v1/movies/50/similar"]
    assert len(asked) == 40 and all(
        len(line["request_id"]) == 32 and line["latency_seconds"] > 0 for line in asked
    )


def workers(production):
    "The processes that answer."
    found = subprocess.run(
        ["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in found.splitlines()]
    return [
        int(pid)
        for pid, parent, args in rows
        if int(parent) == production.process.pid and "resource_tracker" not in args
    ]


def test_a_worker_that_dies_is_replaced_and_the_other_answers_meanwhile(production):
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


def resident_kilobytes(production):
    "The memory of all processes that answer."
    asked = ["ps", "-o", "rss=", "-p", ",".join(map(str, workers(production)))]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    return sum(map(int, done.stdout.split()))


def vary(rng):
    "A request that nobody has made before, right or wrong: method, address, body."

    def text():
        signs = "abc e~0-9.(%/?#&=+\u00e9\u6620\U0001f3ac\x1f "
        return quote("".join(rng.choices(signs, k=rng.randrange(1, 30))), safe="/?&=")

    movie = rng.choice([rng.randrange(2000), rng.randrange(-(10**20), 10**20), text()])
    k, name = rng.choice([rng.randrange(1, 101), 0, "x", 10**9]), text()
    genre = rng.choice(["Drama", "film-noir", text()])
    year = rng.choice([rng.randrange(1900, 2000), -1, text()])
    method = rng.choice(["cosine", "jaccard", "content", "liked", text()])
    ratings = {
        rng.choice([rng.randrange(1700), text()]): rng.choice([1, 5, 3.5, 9, None])
        for _ in range(rng.randrange(12))
    }
    body = json.dumps(
        {"ratings": ratings, "k": k, name: 1}
        if rng.random() < 0.2
        else {"ratings": ratings}
    )
    path = rng.choice(
        [
            f"/api/v1/movies/{movie}/similar?k={k}&method={method}&genre={genre}",
            f"/api/v1/movies/{movie}",
            f"/api/v1/movies?q={name}&year_from={year}",
            f"/api/v1/users/{movie}/recommendations?k={k}",
            f"/movies/{movie}?method={method}",
            f"/?q={name}&genre={genre}&year_from={year}",
            f"/map?{name}",
            f"/{name}",
            "/for-you",
            "/api/v1/recommendations",
        ]
    )
    verb = rng.choice(["GET"] * 8 + ["HEAD", "POST", "PUT", f"V{rng.randrange(999)}"])
    if path == "/api/v1/recommendations":
        verb = "POST"
    return verb, path, body if verb == "POST" else None


def test_many_varied_requests_leave_nothing_behind(production):
    rng, statuses, memory, told = random.Random(), Counter(), [], []
    connection = http.client.HTTPConnection("127.0.0.1", production.port, timeout=30)
    for number in range(VARIED):
        verb, path, body = vary(rng)
        headers = {"X-Request-Id": str(number), "Content-Type": "application/json"}
        connection.request(verb, path, body, headers)
        response = connection.getresponse()
        response.read()
        assert response.status < 500, (verb, path, body)
        statuses[response.status] += 1
        if number % (VARIED // 4) == VARIED // 4 - 1:
            time.sleep(1.1)  # then what was counted is written
            memory.append(resident_kilobytes(production))
            told.append(len(production.get("/metrics")[1].splitlines()))
    connection.close()
    print(VARIED, dict(statuses), "kB:", memory, "lines of /metrics:", told)
    assert {200, 400, 404, 405} <= statuses.keys()
    assert memory[-1] < 1.1 * memory[1] and told[-1] < 1.1 * told[1] < 1000


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
def test_what_no_browser_sends_is_survived(production, sent):
    answer = b""
    with (
        socket.create_connection(
            ("127.0.0.1", production.port), timeout=10
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
    assert production.get("/healthz")[0] == 200


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
    kinds, tables = [recommender], (dataset.movies, dataset.ratings, dataset.genres)
    for weight in (0.5, 1.0):
        some = {"methods": ["cosine", "jaccard"], "taste": TasteConfig(**QUICK)}
        kinds.append(Recommender.from_tables(*tables, weight, **some))
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
        began = time.monotonic()
        for number in count(1):
            seen = {body["model_version"] for body, _ in answers[:]}
            seconds = time.monotonic() - began
            if seconds > 60 + CHANGE_SECONDS or (
                seconds > CHANGE_SECONDS and len(seen) > CHANGE_SECONDS / 2
            ):
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


def test_slow_and_idle_clients_cost_no_thread(production):
    program = Path(__file__).with_name("slow_clients.py")
    attack = subprocess.Popen(
        [sys.executable, program, str(production.port), str(ATTACK_SECONDS)],
        stdout=subprocess.PIPE,
    )
    deadline, waited = time.monotonic() + ATTACK_SECONDS + 60, []
    with attack:
        while attack.poll() is None and time.monotonic() < deadline:
            started = time.monotonic()
            assert production.get("/healthz")[0] == 200
            waited.append(time.monotonic() - started)
            assert production.get("/api/v1/movies/50/similar?k=1")[0] == 200
            time.sleep(0.1)
        attack.kill()
        told = json.loads(attack.stdout.read())
    assert told["most open"] > 2000 and max(waited) < 1, (told, max(waited))
    slow = told["bodies: 408"]  # told so, in words, and then counted as any request is
    assert slow > 0 and told["headers opened"] > 100 and told["idle opened"] > 2000
    status = 'method="POST",route="/api/v1/recommendations",status="408"'
    name, deadline = f"movierec_requests_total{{{status}}}", time.monotonic() + 10
    while production.numbers()[name] < slow:
        assert time.monotonic() < deadline
        time.sleep(0.1)  # each process writes what it has counted once a second
    logged = production.lines(slow, status=408, path="/api/v1/recommendations")
    assert len(logged) >= slow and all(len(x["request_id"]) == 32 for x in logged)
    print(f"healthz within {max(waited):.3f} s, {len(waited)} times; {told}")


LENGTH, CHUNKED = b"Content-Length: %d\r\n", b"Transfer-Encoding: chunked\r\n"
ANSWERED = b'{"ratings": {"50": 5}, "k": 1}'


def in_chunks(content):
    "A body in chunks of a kilobyte."
    parts = (content[i : i + 1024] for i in range(0, len(content), 1024))
    return (
        b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    )


def test_a_body_is_taken_whole_or_refused(production):
    sized, most = len(ANSWERED), 65_536
    for n, status in ((sized, 200), (most, 200), (most + 1, 413), (90_000, 413)):
        body = ANSWERED.ljust(n)
        for headers, sent in ((LENGTH % n, body), (CHUNKED, in_chunks(body))):
            # a server that hangs up on a body may reset what it has just answered
            tried = (production.post(headers, sent) for _ in range(5))
            nothing = [], {}, b""
            statuses, fields, content = next((a for a in tried if a[0]), nothing)
            assert statuses == [status], (n, headers)
            if status == 200:
                assert json.loads(content)["items"]
                continue
            problem = json.loads(content)
            assert fields["content-type"] == "application/problem+json"
            assert fields["x-frame-options"] == "DENY" and problem["status"] == 413
            assert fields["x-request-id"] == problem["request_id"]
            assert production.lines(1, status=413, request_id=problem["request_id"])


def test_what_follows_a_refused_body_is_no_request(production):
    inside = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    assert production.post(LENGTH % 70_000, b"{", then=inside)[0] == [413]


def test_a_client_that_leaves_amid_its_body_is_no_failure(production):
    asked = {"path": "/api/v1/recommendations", "status": 400}
    before = len(production.lines(**asked))
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", production.port)) as connection:
            connection.sendall(POST + LENGTH % 1000 + b"\r\n{")
    assert len(production.lines(before + 5, **asked)) >= before + 5
    assert not production.lines(status=500)


def test_running_requests_are_answered_when_the_server_is_told_to_stop(production):
    half = len(ANSWERED) // 2
    begun = POST + LENGTH % len(ANSWERED) + b"\r\n" + ANSWERED[:half]
    address = "127.0.0.1", production.port
    connections = [socket.create_connection(address, timeout=20) for _ in range(6)]
    for connection in connections:
        connection.sendall(begun)
    assert production.get("/healthz")[0] == 200  # they have arrived before
    production.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 10
    with pytest.raises(ConnectionRefusedError):  # nobody new is let in
        while time.monotonic() < deadline:
            socket.create_connection(address).close()
            time.sleep(0.05)
    for connection in connections:
        connection.sendall(ANSWERED[half:])
    for connection in connections:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.close()
    assert production.process.wait(timeout=30) == 0
    assert production.health() != 0


def test_counters_are_shared_without_a_folder_for_them(trained_root, tmp_path):
    (tmp_path / "temporary").mkdir()
    apart = {"PROMETHEUS_MULTIPROC_DIR": "", "TMPDIR": str(tmp_path / "temporary")}
    route = b'{method="GET",route="/api/v1/movies/<movie_id>",status="200"} 30.0'
    server = Production(trained_root, tmp_path, **apart)
    try:
        asked = [server.get("/api/v1/movies/50")[0] for _ in range(30)]
        deadline, numbers = time.monotonic() + 15, b""
        while route not in numbers and time.monotonic() < deadline:
            time.sleep(0.2)  # each process writes its own once a second
            numbers = server.get("/metrics")[1]
    finally:
        status = server.stop()
    assert asked == [200] * 30 and b"movierec_requests_total" + route in numbers
    assert status == 0
    assert not list((tmp_path / "temporary").iterdir())


def serve(*options, before="", **variables):
    "Try to start the server, which is expected to end: its status and its words."
    asked = [sys.executable, "-m", "movierec", "serve", *options]
    if before:
        asked = ["bash", "-c", f"{before}; exec {shlex.join(asked)}"]
    done = subprocess.run(
        asked, capture_output=True, text=True, timeout=60, env=os.environ | variables
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def refused(*options):
    "The same in this process, for what is refused before anything is started."
    with no_longer_than(60):
        done = CliRunner().invoke(cli.main, ["serve", *options])
    assert isinstance(done.exception, SystemExit), done
    return done.exit_code, done.stderr


def test_what_keeps_the_server_from_starting_is_said(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        status, said = serve("--port", taken)
        assert status == 2 and f"port {taken} is taken. Choose another" in said
        status, said = serve("--port", taken, "--host", "localhost")
        assert status == 2 and "is taken" in said
    for host in ("no.such.host.invalid", "x" * 300, "192.0.2.1", ""):
        status, said = refused("--host", host)
        assert status == 2 and "--host" in said and "0.0.0.0" in said, (host, said)
    for port in ("0", "65536", "http"):
        status, said = refused("--port", port)
        assert status == 2 and "--port" in said
    status, said = refused("--workers", "0")
    assert status == 2 and "--workers" in said
    status, said = serve(before="ulimit -n 200")
    assert status == 1 and "only 200 files may be open" in said and "ulimit -n" in said
    status, said = refused("--config", str(tmp_path / "nowhere.yaml"))
    assert status == 1 and "nowhere.yaml can't be read" in said
    file = tmp_path / "file"
    file.touch()
    status, said = serve(PROMETHEUS_MULTIPROC_DIR=str(file / "numbers"))
    assert status == 1 and "PROMETHEUS_MULTIPROC_DIR is" in said


def test_without_its_extra_the_server_says_what_to_install():
    code = (
        "import sys; sys.modules['granian'] = None; from movierec.cli import main; "
        "main(['serve'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "constraints.txt -e '.[serve]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_dockerfile_is_what_the_chapter_says():
    assert shlex.join(instruction("\nCMD")).startswith("movierec serve --host 0.0.0.0")
    chapter = (DOCKERFILE.parent / "nbs/howto/deploy.ipynb").read_text()
    for limit in (
        f"| {cli.HEADER_SECONDS} seconds, {cli.BUFFER_BYTES // 1024} KiB |",
        f"| {serving.BODY_SECONDS:g} seconds | 408 |",
        f"| {serving.MAX_BODY_BYTES // 1024} KiB | 413 |",
        f"| {cli.MOST_CONNECTIONS:,} | the next ones wait |",
        f"| {cli.WORKER_THREADS} | the next ones wait;",
    ):
        assert limit in chapter
    text = DOCKERFILE.read_text()
    assert "USER 10001" in text and "HEALTHCHECK" in text and "ml-100k.zip" not in text
    assert text.rstrip().endswith("FROM serve")  # what is built unless one says 'free'
