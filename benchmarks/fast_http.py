"""Requests a second: `movierec serve`, the usual application done well, and one that
does nothing, with the same server underneath (granian) and the same client (wrk)."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd

from movierec.config import load_config
from movierec.recommender import Recommender

ROUNDS, CONNECTIONS, MOST = 3, 8, 100
METHODS, SIZES = ("cosine", "jaccard"), (5, 10, 20)
HERE = Path(__file__).resolve().parent
USUAL = (
    "granian --interface wsgi --host 127.0.0.1 --port {port} --workers 2 "
    "--blocking-threads 2 --workers-kill-timeout 5 usual:app"
)
COMMANDS = {
    "movierec serve": "movierec serve --port {port}",
    "usual, done well": USUAL,
    "no work at all": USUAL,
}


def free_port():
    "A port that nobody uses."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def when_ready(url):
    "The answer at an address, as soon as there is one."
    for _ in range(3000):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} doesn't answer")


def write_usual(folder, rec):
    "What the usual application reads: the hundred nearest of each film, by method."
    ids = rec.movies["movie_id"].to_list()
    lists = {
        method: [
            [
                {name: item[name] for name in ("movie_id", "title", "score")}
                for item in rec.similar(movie, MOST, method).items
            ]
            for movie in ids
        ]
        for method in METHODS
    }
    pd.to_pickle(lists, folder / "nearest.pkl")
    movies = {"movie_id": ids, "title": rec.movies["title"].to_list()}
    pd.to_pickle(pd.DataFrame(movies), folder / "movies.pkl")
    pd.to_pickle(np.zeros((1, 1)), folder / "similarity.pkl")


def questions(rec):
    "What is asked, as row, method and k: drawn by Zipf, and each only once."
    rng, order = np.random.default_rng(0), rec.catalogue.order
    share = 1 / np.arange(1, len(order) + 1)
    rows = order[rng.choice(len(order), 40_000, p=share / share.sum())].tolist()
    methods = rng.choice(METHODS, len(rows)).tolist()
    zipf = list(zip(rows, methods, rng.choice(SIZES, len(rows)).tolist(), strict=True))
    every = [(row, m, k) for row in order.tolist() for m in METHODS for k in SIZES]
    return {"zipf": zipf, "once": [every[i] for i in rng.permutation(len(every))]}


def addresses(name, asked, ids):
    "The addresses of questions at an application."
    if name == "no work at all":
        return ["/nothing"]
    if name == "usual, done well":
        return [f"/well/{row}?k={k}&method={m}" for row, m, k in asked]
    return [
        f"/api/v1/movies/{ids[row]}/similar?k={k}&method={m}" for row, m, k in asked
    ]


def write_script(file, paths, tags=None):
    "What wrk asks for, one after the other, with the tags that it knows."
    lists = [f"local paths = {{{','.join(map(json.dumps, paths))}}}", "local n = 0"]
    known = "nil"
    if tags:
        lists.append(f"local tags = {{{','.join(map(json.dumps, tags))}}}")
        known = "{['If-None-Match'] = tags[i]}"
    file.write_text(
        "\n".join(
            [
                *lists,
                "function setup(thread) end",
                f"request = function() n = n + 1; local i = n % {len(paths)} + 1; "
                f"return wrk.format('GET', paths[i], {known}) end",
            ]
        )
    )


def tags_of(url, paths):
    "The tag of each address."
    found = []
    for path in paths:
        with urllib.request.urlopen(url + path) as answer:
            found.append(answer.headers["ETag"])
    return found


def ask(folder, name, paths, seconds, known=False):
    "One round: requests a second, and the share of answers that were kept."
    port = free_port()
    command = shlex.split(COMMANDS[name].format(port=port))
    path = os.pathsep.join([str(HERE), *sys.path])
    environment = os.environ | {"PYTHONPATH": path, "USUAL_DIR": str(folder)}
    url, ours = f"http://127.0.0.1:{port}", name == "movierec serve"
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, stdout=log, stderr=log
        )
    try:
        when_ready(url + ("/readyz" if ours else "/nothing"))
        paths = paths[:1000] if known else paths
        tags = tags_of(url, paths) if known else None
        write_script(folder / "asked.lua", paths, tags)
        wrk = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
        command = [*wrk, "-s", str(folder / "asked.lua"), url]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        told = when_ready(f"{url}/metrics") if ours else ""
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
    if "Socket errors" in done.stdout or "Non-2xx" in done.stdout:
        raise SystemExit(f"{name}:\n{done.stdout}")
    speed = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
    kept = re.search(r"^movierec_kept_answers_total ([\d.e+]+)", told, re.M)
    lists = re.findall(r"^movierec_requests_total{.*similar.*} ([\d.e+]+)", told, re.M)
    share = float(kept[1]) / sum(map(float, lists)) if kept and lists else None
    return speed, share


def http(folder):
    "The median of some rounds of each contestant, in turn."
    if not shutil.which("wrk"):
        sys.exit("wrk is missing. On Debian or Ubuntu: apt-get install wrk")
    rec, folder = Recommender.load(root=load_config().artifacts_dir), Path(folder)
    write_usual(folder, rec)
    ids, asked = rec.movies["movie_id"].to_list(), questions(rec)
    contests = {
        "drawn by Zipf": ("zipf", 15, False),
        "each only once": ("once", 5, False),  # seconds in which none comes again
        "known to the client": ("zipf", 15, True),
    }
    results = {}
    for contest, (drawn, seconds, known) in contests.items():
        speeds = {name: [] for name in COMMANDS}
        shares = []
        for _ in range(ROUNDS):
            for name in COMMANDS:
                paths = addresses(name, asked[drawn], ids)
                again = known and len(paths) > 1
                speed, share = ask(folder, name, paths, seconds, again)
                speeds[name].append(speed)
                shares += [share] if share is not None else []
                print(f"{contest}: {name}: {speed:.0f} a second", flush=True)
        median = {name: statistics.median(found) for name, found in speeds.items()}
        results[contest] = {"per_second": median, "kept": statistics.median(shares)}
    return results
