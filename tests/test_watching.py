"""Whatever happens to counters and logs, requests go on; and what deploy/ makes of the
numbers, asked of the real Prometheus."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import pytest
import yaml
from conftest import free_port, wait_for_page
from test_deploy import Production, workers

PROJECT = Path(__file__).resolve().parent.parent
DEPLOY = PROJECT / "deploy"
SIMILAR = "/api/v1/movies/<movie_id>/similar"


def cannot_run(reason):
    "Skip; on the machine that checks everything, fail."
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="module")
def watched(trained_root, tmp_path_factory):
    "A production server, for all tests of this file."
    server = Production(trained_root, tmp_path_factory.mktemp("watched"))
    server.numbers, server.asked = server.log.parent / "prometheus", 0
    yield server
    server.stop()
    assert "Traceback" not in server.log.read_text()


def ask_often(server, times=40):
    "Requests that have to be answered, by both processes."
    for number in range(times):
        path = f"/api/v1/movies/{number + 1}/similar?k=1" if number % 2 else "/healthz"
        assert server.get(path)[0] == 200
    server.asked += times // 2


def read_metrics(server):
    "The samples that the server tells, by their names and labels."
    status, content = server.get("/metrics")
    assert status == 200
    lines = content.decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def wait_until(server, holds):
    "The samples, once something holds of them; fails after some seconds."
    deadline = time.monotonic() + 15
    while not holds(found := read_metrics(server)):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
        server.get("/healthz")
    return found


def wait_for(server, name, value):
    "The samples, once this one has this value."
    return wait_until(server, lambda told: told.get(name) == value)


COUNTED = f'movierec_requests_total{{method="GET",route="{SIMILAR}",status="200"}}'
FOREIGN = {
    "empty.json": lambda path: path.touch(),
    "foreign.json": lambda path: path.write_bytes(os.urandom(5000)),
    "deep.json": lambda path: path.write_text("[" * 100_000),
    "other.json": lambda path: path.write_text('{"numbers": {"requests": 5}}'),
    "nan.json": lambda path: path.write_text('{"numbers": [[["requests"], NaN]]}'),
    "huge.json": lambda path: path.write_bytes(b" " * 2**21),
    "pipe.json": os.mkfifo,
    "folder.json": Path.mkdir,
    "nowhere.json": lambda path: path.symlink_to("/nowhere"),
}


def test_foreign_files_among_the_counters_are_told_of(watched):
    ask_often(watched)
    wait_for(watched, COUNTED, watched.asked)
    for name in ("counter_1.db", "histogram_99999.db", ".1.json.x.partial"):
        (watched.numbers / name).touch()  # of others, and of those who were killed
    assert read_metrics(watched)["movierec_metrics_problem"] == 0
    for name, make in FOREIGN.items():
        make(path := watched.numbers / name)
        ask_often(watched, 4)
        told = wait_for(watched, COUNTED, watched.asked)
        assert told["movierec_metrics_problem"] == 1, name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        wait_for(watched, "movierec_metrics_problem", 0)
    for name in FOREIGN:
        assert f"no counts are in {name}" in watched.log.read_text()


def test_a_folder_of_counters_that_is_removed_comes_back(watched):
    shutil.rmtree(watched.numbers)
    ask_often(watched)
    assert wait_for(watched, COUNTED, watched.asked)["movierec_metrics_problem"] == 0
    for path in watched.numbers.iterdir():
        path.unlink()
    watched.numbers.rmdir()
    watched.numbers.touch()  # now it can't be made
    ask_often(watched)
    wait_for(watched, "movierec_metrics_problem", 1)
    watched.numbers.unlink()
    assert wait_for(watched, COUNTED, watched.asked)["movierec_metrics_problem"] == 0


@pytest.fixture
def small_disk(watched):
    "A disk of 64 kB, full, mounted where the counters are."
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    mount = [*sudo, "mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs"]
    if not shutil.which((sudo or mount)[0]):
        cannot_run("a small disk can be mounted by root on Linux only")
    done = subprocess.run([*mount, watched.numbers], capture_output=True, text=True)
    if done.returncode:
        cannot_run(f"a small disk can't be mounted: {done.stderr}")
    filler = watched.numbers / "filler"
    try:
        with (
            pytest.raises(OSError, match="No space left"),
            filler.open("wb", 0) as file,
        ):
            while True:
                file.write(b"x" * 4096)
        yield filler
    finally:
        subprocess.run([*sudo, "umount", "-l", watched.numbers], check=True)


def test_a_full_disk_under_the_counters_ends_no_process(watched, small_disk):
    before = set(workers(watched))
    assert len(before) == 2
    ask_often(watched)
    wait_for(watched, "movierec_metrics_problem", 1)
    small_disk.unlink()
    ask_often(watched)
    wait_for(watched, "movierec_metrics_problem", 0)
    assert set(workers(watched)) == before
    assert "can't be written to: No space left on device" in watched.log.read_text()


def test_a_disk_that_is_full_for_log_and_counters_costs_lines_only(watched):
    if not hasattr(resource, "prlimit"):
        cannot_run("only Linux limits the files of a process that runs")
    lost = "movierec_lost_log_lines_total"
    assert wait_for(watched, "movierec_metrics_problem", 0)[lost] == 0
    limits = {
        pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in workers(watched)
    }
    assert len(limits) == 2
    try:
        for pid, (_, hard) in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
        before = watched.log.stat().st_size
        ask_often(watched)
        wait_for(watched, "movierec_metrics_problem", 1)
    finally:
        size = watched.log.stat().st_size
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    assert size == before
    ask_often(watched)
    wait_for(watched, "movierec_metrics_problem", 0)
    wait_until(watched, lambda told: told[lost] > 30)
    assert watched.log.stat().st_size > before


# --- the log

MANY = """
import logging, re, sys
from movierec.web import create_app
client = create_app().test_client()
for number in range(1000):
    assert client.get(f"/healthz?{'x' * 300}").status_code == 200
for handler in logging.getLogger("movierec").handlers:
    handler.flush()  # a busy thread may leave another one no time
text = client.get("/metrics").text
print(re.findall("movierec_lost_log_lines_total ([0-9].*)", text)[0], file=sys.stderr)
"""


@pytest.fixture
def pipe():
    "Both ends of a pipe; what is still open is closed in the end."
    ends = list(os.pipe())
    yield ends
    for end in ends:
        os.close(end)


def ask_with_log(folder, out):
    "What a process says on its error stream whose log goes to `out`."
    environment = os.environ | {"MOVIEREC_HOME": str(folder)}
    command = [sys.executable, "-c", MANY]
    with subprocess.Popen(
        command, stdout=out, stderr=subprocess.PIPE, env=environment, text=True
    ) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said


def test_a_log_on_a_full_disk_costs_no_words(tmp_path):
    with open("/dev/full", "wb") as full:
        assert 900 < float(ask_with_log(tmp_path, full)) <= 1000


def test_a_log_that_nobody_reads_any_more_costs_no_words(tmp_path, pipe):
    os.close(pipe.pop(0))
    assert 900 < float(ask_with_log(tmp_path, pipe[-1])) <= 1000


def test_a_log_whose_reader_hangs_stops_nobody(tmp_path, pipe):
    assert float(ask_with_log(tmp_path, pipe[-1])) == 0  # they wait, in memory
    assert len(os.read(pipe[0], 2**20)) > 60_000


# --- deploy/


@pytest.fixture(scope="module")
def tools():
    "Prometheus and promtool are there."
    if not (shutil.which("prometheus") and shutil.which("promtool")):
        cannot_run("no Prometheus on the PATH; Debian: apt-get install prometheus")


def read_yaml(name):
    "A file of deploy/."
    return yaml.safe_load((DEPLOY / name).read_text())


def rules():
    "The alarms, by name."
    groups = read_yaml("rules.yml")["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def dashboard_expressions():
    "What the dashboard asks Prometheus."
    board = json.loads((DEPLOY / "grafana/dashboards/movierec.json").read_text())
    targets = [t for panel in board["panels"] for t in panel.get("targets", [])]
    asked = [each["expr"] for each in targets + board["annotations"]["list"]]
    return [text.replace("$__rate_interval", "5m") for text in asked]


def test_each_alarm_is_raised_when_it_should_be_and_only_then(tools):
    for check in (["check", "config", "prometheus.yml"], ["test", "rules"]):
        command = ["promtool", *check] + ["rules_test.yml"] * (check[0] == "test")
        done = subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    cases = [
        case for test in read_yaml("rules_test.yml")["tests"]
        for case in test["alert_rule_test"]
    ]  # fmt: skip
    for raised in (True, False):
        found = {c["alertname"] for c in cases if bool(c.get("exp_alerts")) is raised}
        assert found == set(rules())


def ask_prometheus(address, what, **query):
    "What Prometheus answers."
    with urllib.request.urlopen(
        f"{address}/api/v1/{what}?{urlencode(query)}", timeout=10
    ) as answer:
        body = json.load(answer)
    assert body["status"] == "success"
    return body["data"]


@pytest.fixture(scope="module")
def prometheus(tools, watched, tmp_path_factory):
    "The address of a Prometheus set up as in deploy/, asking our server each second."
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    shutil.copy(DEPLOY / "rules.yml", folder)
    text = (DEPLOY / "prometheus.yml").read_text().replace("15s", "1s")
    assert "app:8000" in text
    target = f"127.0.0.1:{watched.port}"
    (folder / "prometheus.yml").write_text(text.replace("app:8000", target))
    command = [
        part
        for part in read_yaml("compose.yaml")["services"]["prometheus"]["command"]
        if part.startswith("--enable-feature")
    ]
    command += [
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(["prometheus", *command], stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for_page(f"{address}/-/ready", process, folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for_answer(address, expression):
    "What Prometheus says to an expression, once it says something."
    deadline = time.monotonic() + 30
    while not (found := ask_prometheus(address, "query", query=expression)["result"]):
        assert time.monotonic() < deadline, expression
        time.sleep(0.3)
    return found


def test_prometheus_knows_what_dashboard_and_alarms_ask(watched, prometheus):
    (up,) = wait_for_answer(prometheus, 'up{job="movierec"} == 1')
    assert up["metric"]["instance"] == f"127.0.0.1:{watched.port}"
    ask_often(watched)
    assert watched.get("/?q=qqqqqqq")[0] == 200
    told = {name.partition("{")[0] for name in read_metrics(watched)}
    asked = dashboard_expressions() + [rule["expr"] for rule in rules().values()]
    for expression in asked:
        ask_prometheus(prometheus, "query", query=expression)  # it can be asked
        assert set(re.findall(r"movierec_\w+", expression)) <= told, expression
    for expression in dashboard_expressions():
        if "ALERTS" not in expression and "changes" not in expression:
            wait_for_answer(prometheus, expression)
    found = wait_for_answer(prometheus, "movierec_model_info")
    assert found[0]["metric"]["version"] == "v1.0.0"
    since = wait_for_answer(prometheus, "movierec_model_since_timestamp_seconds")
    assert 0 <= time.time() - float(since[0]["value"][1]) < 3600
    groups = ask_prometheus(prometheus, "rules")["groups"]
    states = {rule["name"]: rule["health"] for rule in groups[0]["rules"]}
    assert set(states) == set(rules()) and "err" not in states.values()


def test_a_request_is_followed_by_its_id_through_page_log_and_numbers(
    watched, prometheus
):
    name, address = "followed-4711", f"http://127.0.0.1:{watched.port}/movies/50"
    request = urllib.request.Request(address, headers={"X-Request-Id": name})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.headers["X-Request-Id"] == name
    deadline = time.monotonic() + 30
    query, followed = {"query": "movierec_latency_seconds_bucket"}, []
    while not followed and time.monotonic() < deadline:
        time.sleep(0.3)
        now = time.time()
        found = ask_prometheus(
            prometheus, "query_exemplars", **query, start=now - 600, end=now + 60
        )
        followed = [
            series["seriesLabels"]["route"] for series in found
            if any(one["labels"]["request_id"] == name for one in series["exemplars"])
        ]  # fmt: skip
    lines = [line for line in watched.log.read_text().splitlines() if name in line]
    (line,) = map(json.loads, lines)
    assert followed == [line["route"]] == ["/movies/<movie_id>"]
    assert (line["path"], line["status"]) == ("/movies/50", 200)


def test_what_was_searched_in_vain_is_in_the_log_and_nowhere_else(watched):
    assert watched.get("/?q=zzzzz+nowhere")[0] == 200
    deadline = time.monotonic() + 10
    while '"searched":"zzzzz nowhere"' not in watched.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert b"zzzzz" not in watched.get("/metrics")[1]


def test_the_whole_is_published_on_this_machine_only_and_finds_its_files():
    services = read_yaml("compose.yaml")["services"]
    assert set(services) == {"app", "prometheus", "grafana"}
    for service in services.values():
        for port in service["ports"]:
            assert re.fullmatch(r"\$\{\w+:-127\.0\.0\.1\}:\d+:\d+", port)
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists(), volume
    (provider,) = read_yaml("grafana/provisioning/dashboards/movierec.yml")["providers"]
    mounted = [volume.split(":")[1] for volume in services["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted
    sources = read_yaml("grafana/provisioning/datasources/prometheus.yml")
    (source,) = sources["datasources"]
    used = re.findall(
        r'"type": "prometheus",\s*"uid": "(\w+)"',
        (DEPLOY / "grafana/dashboards/movierec.json").read_text(),
    )
    assert used and set(used) == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
