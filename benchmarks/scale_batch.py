"""The batch job at full size: 62,423 films, 200,000 made-up users, and a worker that is
killed in the middle."""

import os
import shutil
import signal
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from movierec.artifacts import save, set_latest
from movierec.batch import open_job, open_model, plan_job, write_on_cluster, write_part
from movierec.config import load_config
from movierec.data import load
from movierec.features import encode_genres
from movierec.pruning import draw_catalogue
from movierec.recommender import (
    Recommender,
    describe_recommender,
    write_recommender,
)

N_FILMS, N_USERS, TIMED = 62_423, 200_000, 20


def draw_ratings(n_users, n_films, seed=0, median=20):
    """Made-up ratings: many films rated by few, few by many; each user's number about
    the median, with a long tail."""
    rng = np.random.default_rng(seed)
    counts = rng.lognormal(np.log(median), 0.9, n_users)
    counts = np.clip(counts, 5, 50 * median).astype(np.int64)
    users = np.repeat(np.arange(1, n_users + 1), counts)
    popularity = np.cumsum(1 / np.arange(1, n_films + 1) ** 0.8)
    films = np.searchsorted(popularity, rng.random(len(users)) * popularity[-1]) + 1
    pairs = np.unique(users * (n_films + 1) + films)
    users, films = np.divmod(pairs, n_films + 1)
    stars = rng.choice([1.0, 2, 3, 4, 5], len(users), p=[0.06, 0.11, 0.27, 0.34, 0.22])
    return pl.DataFrame({"user_id": users, "movie_id": films, "rating": stars})


def made_up_version(root):
    "Train a recommender on the made-up catalogue and save it as v1.0.0."
    dataset = load(load_config().data_dir)
    flags, years = draw_catalogue(
        encode_genres(dataset.movies, dataset.genres), N_FILMS
    )
    genres = [[dataset.genres[j] for j in np.flatnonzero(row)] for row in flags]
    titles = [f"Film {i} ({year})" for i, year in enumerate(years.tolist(), start=1)]
    movies = pl.DataFrame(
        {
            "movie_id": range(1, N_FILMS + 1),
            "title": titles,
            "year": years,
            "genres": genres,
        }
    )
    ratings = draw_ratings(N_USERS, N_FILMS)
    start = time.perf_counter()
    rec = Recommender.from_tables(movies, ratings, dataset.genres)
    seconds = time.perf_counter() - start
    about = {"recommender": describe_recommender(rec)}
    save(root, "v1.0.0", partial(write_recommender, rec), about)
    set_latest(root, "v1.0.0")
    return {
        "films": N_FILMS,
        "users": N_USERS,
        "ratings": len(ratings),
        "train_seconds": seconds,
    }


def lists_in(job, parts):
    "How many lists these parts hold; the last part of a job may be smaller."
    return sum(min(job.size, job.total - part * job.size) for part in parts)


def alone(root, folder, job, parts):
    "Users a second in this process, after the model is loaded."
    open_job(folder, job)
    open_model(root, job.model_version)
    start = time.perf_counter()
    done = [write_part(root, folder, job, part) for part in parts]
    return lists_in(job, done) / (time.perf_counter() - start)


def on_workers(root, folder, job, parts, n_workers=2, kill_after=None):
    """Users a second on worker processes that have loaded the model; one is killed when
    `kill_after` files are there."""
    from distributed import Client, LocalCluster

    open_job(folder, job)
    with LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
    ) as cluster:
        with Client(cluster) as client:
            client.run(lambda: open_model(root, job.model_version)[1])
        if kill_after is not None:

            def kill():
                while len(list(folder.glob("part-*"))) < kill_after:
                    time.sleep(0.05)
                os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

            threading.Thread(target=kill, daemon=True).start()
        start = time.perf_counter()
        scheduler = cluster.scheduler_address
        done = list(write_on_cluster(root, folder, job, parts, scheduler))
        return lists_in(job, done) / (time.perf_counter() - start)


def peak_bytes():
    "The most memory this process has had so far."
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def same(folder, other):
    """How many files of one folder are there, and how many are the same in the other,
    byte for byte."""
    files = [path for path in folder.glob("part-*") if path.suffix == ".parquet"]
    return {
        "files": len(files),
        "same": sum(
            path.read_bytes() == (other / path.name).read_bytes() for path in files
        ),
    }


def job_of(root, folder, size, kill_after):
    """One model: users a second in this process and on workers; and whether the files
    are the same."""
    shutil.rmtree(folder, ignore_errors=True)
    job = plan_job(root, "v1.0.0", size=size)
    parts, first = range(job.n_parts), range(min(TIMED, job.n_parts))
    facts = {
        "users": job.total,
        "files": job.n_parts,
        "files_timed": len(first),
        "killed_after": kill_after,
    }
    facts["users_per_second"] = {
        "this process": alone(root, folder / "alone", job, first),
        "one worker": on_workers(root, folder / "one", job, first, 1),
        "two workers": on_workers(root, folder / "two", job, first),
        "this process, the other files": alone(
            root, folder / "alone", job, parts[len(first) :]
        ),
        "two workers, one killed, all files": on_workers(
            root, folder / "killed", job, parts, kill_after=kill_after
        ),
    }
    facts["the_same"] = same(folder / "alone", folder / "killed")
    # of this process, the making of the model included
    facts["peak_bytes"] = peak_bytes()
    print("  ", facts, flush=True)
    return facts


def batch(folder):
    "The job on MovieLens 100k and on the made-up catalogue."
    real = job_of(load_config().artifacts_dir, folder / "ml-100k", 20, 10)
    root = folder / "artifacts"
    shutil.rmtree(root, ignore_errors=True)
    made_up = made_up_version(root)
    print("  ", made_up, flush=True)
    return {
        "ml-100k": real,
        "made_up": made_up | job_of(root, folder / "made-up", 1000, 50),
    }
