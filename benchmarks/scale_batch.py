"The batch job at full size: 62,423 films, 200,000 made-up users, and a worker that is killed in the middle."

import os
import shutil
import signal
import threading
import time

import numpy as np
import polars as pl

from movierec.artifacts import save, set_latest
from movierec.batch import here, model, on_cluster, open_job, plan
from movierec.config import load_config
from movierec.data import load
from movierec.features import build_features
from movierec.neighbours import draw_catalogue
from movierec.recommender import Recommender

N_FILMS, N_USERS, FILES_WITH_TWO = 62_423, 200_000, 60


def draw_ratings(n_users, n_films, seed=0):
    "Made-up ratings: many films rated by few, few by many; about thirty for each user."
    rng = np.random.default_rng(seed)
    counts = np.clip(rng.lognormal(np.log(20), 0.9, n_users), 5, 1000).astype(np.int64)
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
    flags, years = draw_catalogue(build_features(dataset.movies, dataset.genres).genre_flags, N_FILMS)
    genres = [[dataset.genres[j] for j in np.flatnonzero(row)] for row in flags]
    titles = [f"Film {i} ({year})" for i, year in enumerate(years.tolist(), start=1)]
    movies = pl.DataFrame({"movie_id": range(1, N_FILMS + 1), "title": titles, "year": years, "genres": genres})
    ratings = draw_ratings(N_USERS, N_FILMS)
    start = time.perf_counter()
    rec = Recommender.from_tables(movies, ratings, dataset.genres)
    seconds = time.perf_counter() - start
    save(root, "v1.0.0", rec.write, {"recommender": rec.about})
    set_latest(root, "v1.0.0")
    return {"films": N_FILMS, "users": N_USERS, "ratings": len(ratings), "train_seconds": seconds}


def alone(root, folder, job, parts):
    "Users a second in this process, after the model is loaded."
    open_job(folder, job)
    model(root, job.model_version)
    start = time.perf_counter()
    done = sum(1 for _ in here(root, folder, job, parts))
    return min(done * job.size, job.total) / (time.perf_counter() - start)


def together(root, folder, job, parts, kill_after=None):
    "Users a second on two worker processes; with a number of files, one worker is killed when they are there."
    from distributed import LocalCluster

    open_job(folder, job)
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        if kill_after is not None:

            def kill():
                while len(list(folder.glob("part-*"))) < kill_after:
                    time.sleep(0.05)
                os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

            threading.Thread(target=kill, daemon=True).start()
        start = time.perf_counter()
        done = sum(1 for _ in on_cluster(root, folder, job, parts, cluster.scheduler_address))
        return min(done * job.size, job.total) / (time.perf_counter() - start)


def same(folder, other):
    "How many files of one folder are there, and how many are the same in the other, byte for byte."
    files = [path for path in folder.glob("part-*") if path.suffix == ".parquet"]
    return {"files": len(files), "same": sum(path.read_bytes() == (other / path.name).read_bytes() for path in files)}


def job_of(root, folder, size, kill_after):
    "One model: users a second alone, with two workers, with one killed; and whether the files are the same."
    for name in ("alone", "two", "killed"):
        shutil.rmtree(folder / name, ignore_errors=True)
    job = plan(root, "v1.0.0", size=size)
    parts, first = range(job.n_parts), range(min(FILES_WITH_TWO, job.n_parts))
    facts = {"users": job.total, "files": job.n_parts, "files_with_two": len(first), "killed_after": kill_after}
    facts["users_per_second_alone"] = alone(root, folder / "alone", job, parts)
    facts["users_per_second_with_two"] = together(root, folder / "two", job, first)
    facts["users_per_second_with_one_killed"] = together(root, folder / "killed", job, parts, kill_after)
    facts["the_same"] = same(folder / "alone", folder / "killed")
    print("  ", facts, flush=True)
    return facts


def batch(folder):
    "The job on MovieLens 100k and on the made-up catalogue."
    real = job_of(load_config().artifacts_dir, folder / "ml-100k", 20, 10)
    root = folder / "artifacts"
    shutil.rmtree(root, ignore_errors=True)
    made_up = made_up_version(root)
    print("  ", made_up, flush=True)
    return {"ml-100k": real, "made_up": made_up | job_of(root, folder / "made-up", 1000, 50)}
