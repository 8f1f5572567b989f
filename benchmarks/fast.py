"""How fast people get their lists, beside other libraries and plain formulas. Writes
into benchmarks/results.json.

    python benchmarks/fast.py FOLDER [PART ...]

The parts are growth, lists, memory, 25m and http; growth N is that of N films alone,
25m training, answers and memory with as many ratings as MovieLens 25M has. The peers of
`lists` need their own environment (.venv-peers), `http` needs wrk. Times are medians in
CPU, on one thread; what is compared follows each other in one run.
"""

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import stored
from rapidfuzz import process
from rapidfuzz.distance import Indel
from scale_batch import draw_ratings
from threadpoolctl import threadpool_limits

from movierec.artifacts import save, set_latest
from movierec.batch import people_among, recommend_users
from movierec.config import load_config
from movierec.data import load
from movierec.factors import one_person
from movierec.features import encode_genres
from movierec.pruning import draw_catalogue
from movierec.recommender import (
    Recommender,
    describe_recommender,
    make_ready,
    reasons,
    write_recommender,
)
from movierec.taste import score_people
from movierec.titles import first_of_each

HERE = Path(__file__).resolve().parent
SIZES = (1_682, 10_000, 62_423, 250_000)
N_PEOPLE, ML_25M, K = 10_000, 62_423, 10
PEOPLE_25M, MEDIAN_25M = 162_541, 113  # of MovieLens 25M, and ratings of each here


def made_up_films(n):
    "A catalogue like MovieLens 100k's: genres, years, titles of the same words."
    dataset = load(load_config().data_dir)
    flags, years = draw_catalogue(encode_genres(dataset.movies, dataset.genres), n)
    words = [title[:-7].split() for title in dataset.movies["title"]]
    rng, every = np.random.default_rng(0), sorted({w for ws in words for w in ws})
    titles = []
    for year in years.tolist():
        base = words[rng.integers(len(words))]
        other = rng.integers(len(every), size=len(base))
        changed = rng.random(len(base)) < 0.5
        drawn = [
            every[o] if c else w for w, o, c in zip(base, other, changed, strict=True)
        ]
        titles.append(f"{' '.join(drawn)} ({year})")
    genres = [[dataset.genres[j] for j in np.flatnonzero(row)] for row in flags]
    return pl.DataFrame(
        {"movie_id": range(1, n + 1), "title": titles, "year": years, "genres": genres}
    )


def made_up(n_films, n_people=N_PEOPLE, median=20):
    "A recommender that has learned from made-up ratings, and these."
    ratings = draw_ratings(n_people, n_films, median=median)
    rec = Recommender.from_tables(made_up_films(n_films), ratings, methods=["cosine"])
    make_ready(rec)
    return rec, ratings


def milliseconds(ways, questions, least=5):
    "The median CPU time of each way to answer questions, which take turns."
    times = {name: [] for name in ways}
    for question in questions[:1]:
        for way in ways.values():
            way(question)  # what is made once
    for turn in range(max(least, len(questions))):
        for name, way in ways.items():
            start = time.process_time()
            way(questions[turn % len(questions)])
            times[name].append((time.process_time() - start) * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}


def plain_lists(rec, people, k):
    "Every score of everybody, sorted: what lists are by definition."
    scores = score_people(rec.taste, people)
    scores[people.person, people.rows] = -np.inf
    lists = []
    for mine in scores:
        order = np.lexsort((rec.catalogue.tie_place, -mine))
        lists.append(first_of_each(order, rec.catalogue.film_of)[:k])
    return lists


def plain_similar(features, row, k):
    "The cosine with every film, sorted."
    table = features.matrix
    lengths = np.linalg.norm(table, axis=1)
    scores = (table @ table[row]) / np.maximum(lengths * lengths[row], 1e-9)
    return np.argsort(-scores, kind="stable")[1 : k + 1]


def growth(n):
    "Milliseconds of each question, and of the plain formula, with n films."
    rec, ratings = made_up(n)
    rng, ids = np.random.default_rng(1), rec.movies["movie_id"].to_numpy()
    known = rec.catalogue.order
    popularity = 1 / np.arange(1, n + 1) ** 0.8
    popularity /= popularity.sum()

    def somebody(m):
        rows = known[rng.choice(n, m, replace=False, p=popularity)]
        return {int(ids[row]): float(rng.integers(1, 6)) for row in rows}

    def plainly(given):
        rated, stars, _ = rec.catalogue.look_up_ratings(given)
        (rows,) = plain_lists(rec, one_person(rated, stars), K)
        return rows, reasons(rec.taste, rec.catalogue, rated, stars, rows)

    titles = rec.movies["title"].to_list()
    typed = []
    for row in known[rng.choice(n, 20, replace=False, p=popularity)].tolist():
        title = titles[row][:-7]
        at = len(title) // 2
        typed.append(title[:at] + title[at + 1 :])  # a letter is missing
    forms = rec.catalogue.title_index.names.forms
    people = [somebody(60) for _ in range(9)]
    for given in people[:3]:  # the same lists and reasons
        items, (rows, why) = rec.recommend(given, K).items, plainly(given)
        assert [item["movie_id"] for item in items] == ids[rows].tolist()
        assert [item["why"] for item in items] == why
    rows = known[rng.choice(n, 50, p=popularity)].tolist()
    users = rng.integers(1, N_PEOPLE, 50).tolist()
    asked = {
        "similar": (
            {
                "ours": lambda row: rec.similar(int(ids[row]), K),
                "plain": lambda row: plain_similar(rec.features, row, K),
            },
            rows,
        ),
        "recommend": (
            {"ours": lambda given: rec.recommend(given, K), "plain": plainly},
            people,
        ),
        "somebody new": (
            {"ours": lambda given: rec.recommend(given, K), "plain": plainly},
            [somebody(5) for _ in range(9)],
        ),
        "search": (
            {
                "ours": lambda text: rec.search(text, K),
                "plain": lambda text: process.cdist(
                    [text], forms, scorer=Indel.distance
                ),
            },
            typed,
        ),
        "a user's ratings": (
            {
                "ours": rec.ratings_of,
                "plain": lambda user: ratings.filter(pl.col("user_id") == user).rows(),
            },
            users,
        ),
    }
    found = {name: milliseconds(*how) for name, how in asked.items()}
    return {"ratings": len(ratings), "weights": rec.taste.weights.nnz, **found}


def saved(folder, n_people=N_PEOPLE, median=20):
    "A made-up version with the films of MovieLens 25M, under a folder, made once."
    root = folder / f"films-{ML_25M}-{n_people}"
    if not (root / "latest").exists():
        rec, _ = made_up(ML_25M, n_people, median)
        about = {"recommender": describe_recommender(rec)}
        save(root, "v1.0.0", partial(write_recommender, rec), about)
        set_latest(root, "v1.0.0")
    return root


def lists(folder):
    "Users a second: ours, the plain formula, and other libraries, on one thread."
    root = saved(folder)
    rec = Recommender.load(root=root)
    make_ready(rec)
    users = list(range(1, 2049))
    recommend_users(rec, users[:64], K)
    speeds = []
    for _ in range(3):
        start = time.process_time()
        found = recommend_users(rec, users, K)
        speeds.append(len(users) / (time.process_time() - start))
    some = people_among(rec, users[:64])
    start = time.process_time()
    expected = plain_lists(rec, some, K)
    plain = 64 / (time.process_time() - start)
    ids = rec.movies["movie_id"].to_numpy()
    for user, rows in zip(users, expected, strict=False):
        listed = found.filter(pl.col("user_id") == user)["movie_id"].to_list()
        assert listed == ids[rows].tolist()
    peers = HERE.parent / ".venv-peers" / "bin" / "python"
    command = [os.environ.get("PEERS", str(peers)), str(HERE / "fast_peers.py")]
    table = root / "v1.0.0" / "ratings.parquet"
    done = subprocess.run([*command, str(table)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    ours = {"movierec": statistics.median(speeds), "the plain formula": plain}
    return {"films": ML_25M, "users_per_second": ours | json.loads(done.stdout)}


def memory(root):
    "Mebibytes of two workers of `movierec serve`, what they share counted half."
    from fast_http import free_port, when_ready

    port = free_port()
    environment = os.environ | {"MOVIEREC_MODEL__DIR": str(root)}
    command = [sys.executable, "-m", "movierec", "serve", "--port", str(port)]
    process_ = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        when_ready(f"http://127.0.0.1:{port}/readyz")
        time.sleep(30)  # the other worker loads, too
        children = Path(
            f"/proc/{process_.pid}/task/{process_.pid}/children"
        ).read_text()
        found = {}
        for child in children.split():
            text = Path(f"/proc/{child}/smaps_rollup").read_text()
            pss = int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1]) / 1024
            if pss > 100:  # the others only watch
                found[f"worker {len(found) + 1}"] = pss
    finally:
        process_.terminate()
        process_.wait(30)
    of_files = sum(f.stat().st_size for f in (root / "v1.0.0").iterdir()) / 2**20
    return {"version_mib": of_files} | found


def of_two(folder):
    "The memory of two workers with films as in MovieLens 25M and fewer people."
    return {"films": ML_25M, "people": N_PEOPLE} | memory(saved(folder))


def largest(folder):
    "Training with 25 million ratings, what answers cost then, and two workers."
    shutil.rmtree(folder / f"films-{ML_25M}-{PEOPLE_25M}", ignore_errors=True)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from here on
    start = time.process_time()
    root = saved(folder, PEOPLE_25M, MEDIAN_25M)
    seconds = time.process_time() - start
    peak = re.search(r"^VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(), re.M)
    rec = Recommender.load(root=root)
    make_ready(rec)
    users = np.random.default_rng(0).integers(1, PEOPLE_25M, 50).tolist()
    asked = {
        "a user's list": lambda user: rec.recommend_for_user(user, K),
        "a user's ratings": rec.ratings_of,
    }
    return {
        "ratings": int(rec.movies["n_ratings"].sum()),
        "training_seconds": seconds,
        "training_mib": int(peak[1]) / 1024,
        "milliseconds": milliseconds(asked, users),
    } | memory(root)


def main():
    "Measure the parts that are named, or all, and store them."
    folder, *parts = sys.argv[1:]
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    results = stored.read("fast")
    sizes = [int(part) for part in parts if part.isdigit()]
    parts = [p for p in parts if not p.isdigit()] or [
        "growth",
        "lists",
        "memory",
        "25m",
        "http",
    ]
    with threadpool_limits(limits=1):
        if "growth" in parts:
            for n in sizes or SIZES:
                found = growth(n)
                print(n, found, flush=True)
                results["growth"] = results.get("growth", {}) | {str(n): found}
        for name, part in (("lists", lists), ("memory", of_two), ("25m", largest)):
            if name in parts:
                results[name] = part(folder)
                print(name, results[name], flush=True)
    if "http" in parts:
        from fast_http import http

        results["http"] = http(folder)
    machine = f"{platform.machine()}, Python {platform.python_version()}, one thread"
    results |= {"made": datetime.now(UTC).date().isoformat(), "machine": machine}
    stored.store("fast", results)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
