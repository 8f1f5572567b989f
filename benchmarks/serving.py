"""How fast the web application answers, beside the usual one, and on which server.
Writes into benchmarks/results.json.

    python benchmarks/serving.py FOLDER

It takes about four minutes, and needs wrk (apt-get install wrk).

All servers run on this machine, on 127.0.0.1, one at a time, and wrk runs beside them
on the same cores. Rounds of all contestants follow each other, so that a slow minute of
the machine hits all of them; of each the median round counts.
"""

import json
import os
import platform
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
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import stored
from sklearn.metrics.pairwise import cosine_similarity

from movierec.config import load_config
from movierec.data import load
from movierec.features import build_features
from movierec.recommender import Recommender

ROUNDS, SECONDS, CONNECTIONS = 3, 4, 8
OURS, USUAL = "movierec.web:create_app", "usual:app"
QUIET = {"MOVIEREC_LOGGING__LEVEL": "WARNING"}
HERE = Path(__file__).resolve().parent
SERVERS = {  # what follows `python -m`; two processes where there can be several
    "Flask's own": "flask --app {app} run --port {port}",
    "waitress, 4 threads": "waitress --listen={at} --threads=4 {call} {app}",
    "gunicorn, 2 processes": "gunicorn -w 2 -b {at} {called}",
    "gunicorn, 2 x 4 threads": "gunicorn -w 2 --threads 4 -b {at} {called}",
    "granian, 2 x 2 threads": "granian --interface wsgi --host 127.0.0.1 --port {port} "
    "--workers 2 --blocking-threads 2 --workers-kill-timeout 5 {factory} {app}",
    "movierec serve": "movierec serve --port {port}",  # ours alone, with a body first
}
CHOSEN = "granian, 2 x 2 threads"


def write_inputs(folder: Path) -> Recommender:
    """The pickles of the usual application, and the addresses that wrk asks for; a
    recommender to time."""
    dataset = load(load_config().data_dir)
    matrix = cosine_similarity(build_features(dataset.movies, dataset.genres).matrix)
    movies = dataset.movies.select("movie_id", "title").to_dict(as_series=False)
    pd.to_pickle(matrix, folder / "similarity.pkl")
    pd.to_pickle(pd.DataFrame(movies), folder / "movies.pkl")
    ids, titles = movies.values()
    paths = {
        "ours": [f"/api/v1/movies/{i}/similar" for i in ids],
        "titles": [f"/titles/{quote(title, safe='')}" for title in titles],
        "rows": [f"/rows/{row}" for row in range(len(ids))],
        "nothing": ["/nothing"],
    }
    for name, asked in paths.items():
        script = (
            f"local paths = {{{','.join(map(json.dumps, asked))}}}",
            "local n = 0",
            "request = function() n = n + 1; "
            f"return wrk.format('GET', paths[n * 607 % {len(asked)} + 1]) end",
        )
        (folder / f"{name}.lua").write_text("\n".join(script))
    return Recommender.from_tables(dataset.movies, dataset.ratings, dataset.genres)


def measure(
    folder: Path, server: str, app: str, asked: str, extra: dict[str, str]
) -> dict[str, float]:
    """One round: start the server, warm it up, and let wrk ask; requests per second,
    p50 and p99 in milliseconds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours = app == OURS
    words = {"port": port, "at": f"127.0.0.1:{port}", "app": app}
    words |= {"call": "--call" if ours else "", "factory": "--factory" if ours else ""}
    words["called"] = f"'{app}()'" if ours else app
    command = [sys.executable, "-m", *shlex.split(SERVERS[server].format(**words))]
    path = os.pathsep.join([str(HERE), str(folder / "servers")])
    environment = os.environ | extra | {"PYTHONPATH": path, "USUAL_DIR": str(folder)}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                probed = f"{url}/readyz" if ours else f"{url}/nothing"
                urllib.request.urlopen(probed, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        wrk = ["wrk", "-t1", f"-c{CONNECTIONS}", "--latency"]
        wrk += ["-s", str(folder / f"{asked}.lua")]
        in_text = {"check": True, "capture_output": True, "text": True}
        subprocess.run([*wrk, "-d1s", url], **in_text)
        done = subprocess.run([*wrk, f"-d{SECONDS}s", url], **in_text)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"{server}, {asked}:\n{done.stdout}")
    in_ms = {"us": 0.001, "ms": 1, "s": 1000}
    found = {
        p: re.search(rf"{p}%\s+([\d.]+)(us|ms|s)\b", done.stdout).groups()
        for p in (50, 99)
    }
    speed = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
    return {"per_second": speed} | {
        f"p{p}_ms": float(number) * in_ms[unit] for p, (number, unit) in found.items()
    }


def race(contestants: dict, folder: Path) -> dict[str, dict[str, float]]:
    "The median of some rounds for each contestant, in turn."
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for number in range(ROUNDS):
        for name, how in contestants.items():
            found = measure(folder, *how)
            rounds[name].append(found)
            said = f"{found['per_second']:.0f} requests a second"
            print(f"round {number + 1}: {name}: {said}", flush=True)
    return {
        name: {key: statistics.median(r[key] for r in found) for key in found[0]}
        for name, found in rounds.items()
    }


def look_up_times(rec: Recommender, folder: Path) -> dict[str, float]:
    "The median time of a look-up for every movie, in microseconds, without any server."
    os.environ["USUAL_DIR"] = str(folder)
    import usual

    ways = {
        "ours": lambda row: rec.similar(usual.ids[row]).to_dict(),
        "usual, by title": lambda row: usual.by_title(usual.titles[row]),
        "usual, by row": usual.by_row,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for row in range(len(usual.ids)):
        for name, look_up in ways.items():
            started = time.perf_counter()
            look_up(row)
            times[name].append((time.perf_counter() - started) * 1e6)
    return {name: statistics.median(found) for name, found in times.items()}


def main(folder: Path) -> None:
    "Measure everything, and write it into benchmarks/results.json."
    if not shutil.which("wrk"):
        sys.exit("wrk is missing. On Debian or Ubuntu: apt-get install wrk")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    pip = "pip install --quiet --disable-pip-version-check --upgrade --no-deps --target"
    target = [str(folder / "servers"), "gunicorn", "waitress", "packaging"]
    subprocess.run([sys.executable, "-m", *pip.split(), *target], check=True)
    rec = write_inputs(folder)
    servers = race({name: (name, OURS, "ours", {}) for name in SERVERS}, folder)
    applications = race(
        {
            "ours": (CHOSEN, OURS, "ours", {}),
            "ours, without its access log": (CHOSEN, OURS, "ours", QUIET),
            "usual, by title": (CHOSEN, USUAL, "titles", {}),
            "usual, by row": (CHOSEN, USUAL, "rows", {}),
            "no work at all": (CHOSEN, USUAL, "nothing", {}),
        },
        folder,
    )
    sys.path.append(str(folder / "servers"))
    names = ("flask", "werkzeug", "granian", "gunicorn", "waitress", "numpy", "pandas")
    about = {
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }
    results = {
        "rounds": ROUNDS,
        "seconds": SECONDS,
        "connections": CONNECTIONS,
        "chosen": CHOSEN,
        "look_up_microseconds": look_up_times(rec, folder),
        "servers": servers,
        "applications": applications,
        "versions": {name: version(name) for name in names} | about,
    }
    stored.store("serving", results)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main(Path(sys.argv[1]))
