"""What holds when a training is killed, and when the files of a version are damaged:

    python -m tests.faults --kills 200 --flips 2000 --reseals 500

Each line says what was done how often, and what came of it. The exit status is 1 if
something broke. The data is made up, so that it runs on anybody's machine."""

import argparse
import contextlib
import copy
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl

from movierec.artifacts import (
    METADATA,
    Artifact,
    ArtifactError,
    list_files,
    open_version,
    seal,
    set_latest,
    versions,
    write_table,
)
from movierec.config import load_config
from movierec.data import Dataset
from movierec.files import no_progress, sha256, to_json
from movierec.recommender import open_recommender
from movierec.training import write_version

GENRES = ("Action", "Comedy", "Drama", "Horror", "Sci-Fi", "War")
SECONDS = 60  # that a question may take; then it hangs
PROJECT = Path(__file__).resolve().parent.parent


def small_dataset(n_movies=60, n_users=40):
    "Films and ratings that are made up, the same each time."
    rng, people = random.Random(0), [f"Person {i}" for i in range(25)]

    def some(names):
        return [rng.sample(names, rng.randint(1, 3)) for _ in range(n_movies)]

    years = [rng.randint(1960, 2000) for _ in range(n_movies)]
    made = {name: some(people) for name in ("directors", "writers", "cast")}
    movies = {
        "movie_id": range(1, n_movies + 1),
        "title": [f"Film {i} ({year})" for i, year in enumerate(years)],
        "year": years,
        "genres": some(GENRES),
        **made,
    }
    ratings = [
        (user, movie, float(rng.randint(1, 5)), 0)
        for user in range(1, n_users + 1)
        for movie in rng.sample(range(1, n_movies), 15)
    ]
    names = ["user_id", "movie_id", "rating", "timestamp"]
    given = pl.DataFrame(ratings, names, orient="row")
    digests = {"u.data": sha256(to_json(ratings))}
    return Dataset("made up", pl.DataFrame(movies), given, None, GENRES, digests)


def train_small(root):
    "A version v1.0.0 of these films, as training writes it, in use."
    config = load_config(model={"dir": str(root)}, taste={"factors": 4, "sweeps": 1})
    write_version(small_dataset(), config, no_progress)
    set_latest(root, "v1.0.0")


def write_movielens(folder):
    "The same films and ratings, in files as MovieLens has them."
    folder.mkdir(parents=True)
    data = small_dataset()
    movies = data.movies.select(
        "movie_id", pl.format('"{}"', "title"), pl.col("genres").list.join("|")
    )
    tables = {"movies": movies, "ratings": data.ratings}
    headers = {
        "movies": "movieId,title,genres",
        "ratings": "userId,movieId,rating,timestamp",
    }
    for name, table in tables.items():
        lines = table.write_csv(include_header=False, quote_style="never")
        (folder / f"{name}.csv").write_text(f"{headers[name]}\n{lines}")


@contextlib.contextmanager
def no_longer_than(seconds):
    "Raise `TimeoutError` where the block hangs."

    def stop(*_):
        raise TimeoutError(f"no answer after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def all_answers(rec):
    "Lists for all films by all methods, and for some people, as JSON."
    ids = rec.movies["movie_id"].to_list()
    lists = [rec.similar(i, 5, method) for method in rec.neighbours for i in ids]
    if rec.taste is not None:
        lists += [rec.recommend({i: 5, ids[0]: 2}, 5) for i in ids[1::7]]
    text = json.dumps([found.to_dict()["items"] for found in lists], allow_nan=False)
    positions = rec.positions.tolist()
    return text, json.dumps(positions, allow_nan=False)


def try_version(root, expected):
    "'refused', 'same answers' or 'other answers'; what broke raises."
    with no_longer_than(SECONDS):
        try:
            artifact = open_version(root)
            rec = open_recommender(artifact)
            return "same answers" if all_answers(rec) == expected else "other answers"
        except ArtifactError as error:
            assert str(error).startswith(("v1.0.0", "there is no", str(root))), error
            return "refused"


# SIGKILL


def run_training(home, version):
    "A process that trains a version in this home."
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    environment |= {
        "MOVIEREC_HOME": str(home),
        "MOVIEREC_DATA__DIR": str(home / "made-up"),
        "MOVIEREC_LOGGING__HANDLERS": "[]",
        "PYTHONPATH": str(PROJECT),
    }
    command = [sys.executable, "-m", "movierec", "train", "--version", version]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=home, env=environment, **quiet)


def kill_training(home, version, rng, usual):
    "Kill a training at some moment of it; true if it was not over before."
    process, root, began = run_training(home, version), home / "artifacts", time.time()
    if rng.random() < 0.5:  # while it writes, which is a small part of the time
        while process.poll() is None and not list(root.glob(f".{version}.*.partial")):
            time.sleep(0.001)
        time.sleep(rng.random() * 0.1)
    else:
        time.sleep(rng.random() * usual)
    process.kill()
    assert time.time() - began < SECONDS, "the training hangs"
    return process.wait() == -signal.SIGKILL


def try_kills(folder, n, seed=0):
    "SIGKILL at n moments of trainings: what is in use answers, what is there is whole."
    rng, found, home = random.Random(seed), Counter(), folder / "home"
    root = home / "artifacts"
    write_movielens(home / "made-up")
    began = time.time()
    assert run_training(home, "v1.0.0").wait() == 0, "training fails without any fault"
    usual = time.time() - began
    for i in range(1, n + 1):
        killed = kill_training(home, f"v1.0.{i}", rng, usual)
        found["killed" if killed else "over before"] += 1
        used = open_recommender(open_version(root)).version
        for version in versions(root):
            assert open_version(root, version).verify() == [], version
            if version != used and version != "v1.0.0":
                found["whole, but not in use yet"] += 1
        for version in set(versions(root)) - {used, "v1.0.0"}:
            shutil.rmtree(root / version)
    assert run_training(home, "v1.1.0").wait() == 0, "nothing can be trained any more"
    return found


# One bit


HOW_NOTICED = {"refused": "refused by name", "same answers": "of no effect on answers"}


def try_flips(folder, n, seed=0):
    "One bit of a file is changed, n times: it is named."
    rng, found, root = random.Random(seed), Counter(), folder / "flips"
    train_small(root)
    artifact = open_version(root)
    expected = all_answers(open_recommender(artifact))
    read = {f"{n}.npy" for n in ("positions",)} | {"movies.parquet", "ratings.parquet"}
    names = ["../latest", METADATA, *artifact.metadata["files"]]
    for _ in range(n):
        name = rng.choice(names)
        path = artifact.folder / name
        content = bytearray(path.read_bytes())
        bit = rng.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        before = path.read_bytes()
        path.write_bytes(content)
        outcome = try_version(root, expected)
        if name in artifact.metadata["files"]:
            (problem,) = artifact.verify()
            assert f"v1.0.0/{name} is damaged" in problem, problem
            assert outcome == "refused" or name not in read, name
        else:
            blank = name == "../latest" and bytes(content).split() == before.split()
            assert outcome == "refused" or blank, (name, bit, outcome)
        found[HOW_NOTICED.get(outcome, outcome)] += 1
        path.write_bytes(before)
    return found


# Disagreements, with the digests written anew


def shuffled(array, rng):
    "The rows in another order."
    return array[np.random.default_rng(rng.randrange(2**32)).permutation(len(array))]


def with_one(array, value, rng):
    "The array with another value in one place."
    changed = array.copy()
    changed.flat[rng.randrange(max(array.size, 1))] = value
    return changed


ARRAYS = {
    "cut": lambda a, rng: a[: len(a) // 2],
    "one row less": lambda a, rng: a[:-1],
    "one row more": lambda a, rng: np.concatenate([a, a[:1]]),
    "shuffled": shuffled,
    "reversed": lambda a, rng: a[::-1].copy(),
    "turned": lambda a, rng: a.T.copy(),
    "one column less": lambda a, rng: a[..., :-1].copy(),
    "zeros": lambda a, rng: np.zeros_like(a),
    "ones": lambda a, rng: np.ones_like(a),
    "of another kind": lambda a, rng: a.astype("float16"),
    "as text": lambda a, rng: a.astype("U8"),
    "big-endian": lambda a, rng: a.astype(a.dtype.newbyteorder(">")),
    "negative": lambda a, rng: -1 - a,
    "a number": lambda a, rng: np.array(1.0),
    "empty": lambda a, rng: a[:0],
    "NaN": lambda a, rng: with_one(a.astype("float32"), np.nan, rng),
    "infinite": lambda a, rng: with_one(a.astype("float32"), np.inf, rng),
    "a large number": lambda a, rng: with_one(
        a, np.finfo("f4").max if a.dtype.kind == "f" else np.iinfo(a.dtype).max, rng
    ),
    "twice": lambda a, rng: with_one(a, a.flat[0] if a.size else 0, rng),
}
TABLES = {
    "cut": lambda t, rng: t.head(len(t) // 2),
    "shuffled": lambda t, rng: t.sample(
        fraction=1, shuffle=True, seed=rng.random() * 9
    ),
    "reversed": lambda t, rng: t.reverse(),
    "a row twice": lambda t, rng: pl.concat([t, t.head(1)]),
    "a column less": lambda t, rng: t.drop(rng.choice(t.columns)),
    "a column more": lambda t, rng: t.with_columns(strange=pl.lit(1)),
    "a column of nothing": lambda t, rng: t.with_columns(
        pl.lit(None).alias(rng.choice(t.columns))
    ),
    "a column of text": lambda t, rng: t.with_columns(
        pl.lit("x").alias(rng.choice(t.columns))
    ),
    "a column of -1": lambda t, rng: t.with_columns(
        pl.lit(-1).alias(rng.choice(t.columns))
    ),
    "a column moved": lambda t, rng: t.with_columns(
        pl.col(rng.choice(t.columns)).shift(1).bfill()
        if hasattr(pl.Expr, "bfill")
        else pl.col(rng.choice(t.columns)).reverse()
    ),
    "empty": lambda t, rng: t.clear(),
}
POLARS = (pl.exceptions.PolarsError, TypeError)  # of what can't be done to a table
VALUES = (
    *(None, -1, 0, 1, 10**30, 1e308, -1e308, 0.5, True, "", "0", "x", "../x", "1e999"),
    *("1e999999999", [], {}, [[]], [None], {"x": 1}, [1e308] * 5, ["cosine"] * 2),
    functools.reduce(lambda inner, _: [inner], range(400), "deep"),
)


def places(content, path=()):
    "The paths to all values in JSON."
    for key in content if isinstance(content, dict) else range(len(content)):
        yield (*path, key)
        if isinstance(content[key], (dict, list)) and len(path) < 5:
            yield from places(content[key], (*path, key))


def change_metadata(metadata, rng):
    "Another value, a key less or a key more, somewhere; what was done."
    kept = {k: v for k, v in metadata.items() if k not in ("sha256", "format")}
    path = rng.choice(list(places(kept)))
    if rng.random() < 0.5:  # what the recommender reads
        path = "recommender", *rng.choice(list(places(kept["recommender"])))
    above = functools.reduce(lambda found, key: found[key], path[:-1], kept)
    how = rng.choice(("value", "value", "value", "less", "more"))
    if how == "value":
        above[path[-1]] = copy.deepcopy(rng.choice(VALUES))
    elif how == "less":
        del above[path[-1]]
    else:
        above.update(strange=1) if isinstance(above, dict) else above.append("strange")
    return {**kept, "format": metadata["format"]}, f"{how} at {path}"


def change_file(path, rng):
    "Another content of an array or a table; what was done."
    if path.suffix == ".npy":
        how = rng.choice(list(ARRAYS))
        np.save(path, ARRAYS[how](np.load(path), rng))
    else:
        how = rng.choice(list(TABLES))
        write_table(TABLES[how](pl.read_parquet(path), rng), path)
    return f"{path.name} {how}"


def reseal(artifact, rng):
    "Make the parts of a version disagree, with digests as they should be."
    names = [n for n in artifact.metadata["files"] if n.endswith((".npy", ".parquet"))]
    name, metadata = rng.choice([*names, METADATA, METADATA, METADATA]), None
    if name == METADATA:
        metadata, done = change_metadata(copy.deepcopy(artifact.metadata), rng)
    else:
        metadata, done = dict(artifact.metadata), None
        while done is None:
            with contextlib.suppress(ValueError, IndexError, ArithmeticError, *POLARS):
                done = change_file(artifact.folder / name, rng)
        files = list_files(artifact.folder)
        metadata["files"] = {n: files[n] for n in files if n != METADATA}
    (artifact.folder / METADATA).write_bytes(seal(metadata))
    return done


def try_reseals(folder, n, seed=0):
    "Parts that disagree, n times: refused, or without effect, and nothing breaks."
    rng, found, root = random.Random(seed), Counter(), folder / "reseals"
    train_small(root)
    whole = root / "v1.0.0"
    expected = all_answers(open_recommender(open_version(root)))
    shutil.copytree(whole, folder / "whole")
    for i in range(n):
        done = reseal(Artifact(whole, json.loads((whole / METADATA).read_bytes())), rng)
        try:
            outcome = try_version(root, expected)
        except Exception as error:
            raise AssertionError(f"number {i}, {done}: {error!r}") from error
        found[outcome] += 1
        if outcome == "other answers":
            found[f"  other answers: {done}"] += 1
        shutil.rmtree(whole)
        shutil.copytree(folder / "whole", whole)
    return found


KINDS = {"kills": try_kills, "flips": try_flips, "reseals": try_reseals}


def main():
    "Do what the command line asks for, and print what held."
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for kind, function in KINDS.items():
        parser.add_argument(f"--{kind}", type=int, default=0, help=function.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    asked, broken = parser.parse_args(), False
    for kind, function in KINDS.items():
        if n := getattr(asked, kind):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    found = function(Path(folder), n, asked.seed)
                    text = "\n".join(f"  {n:5} {what}" for what, n in found.items())
                except AssertionError as error:
                    broken, text = True, f"  BROKEN: {error}"
            print(f"{n} {kind}\n{text}", flush=True)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
