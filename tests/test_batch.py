"Batch jobs: the same lists as one by one, whole after every interruption, and the same bytes on a cluster."

import json
import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest
from conftest import save_version

from movierec.batch import BatchError, Job, listed, plan, recommend_users, run, similar_movies
from movierec.recommender import Recommender


def command(root, out, *options):
    "The arguments and environment of `movierec batch`."
    arguments = [sys.executable, "-c", "from movierec.cli import main; main()", "batch", "--out", str(out), *options]
    return arguments, os.environ | {"MOVIEREC_MODEL__DIR": str(root), "MOVIEREC_HOME": str(root.parent)}


def batch(root, out, *options):
    "Run `movierec batch` to its end."
    arguments, environment = command(root, out, *options)
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120)


def contents(folder):
    "The bytes of each file in a folder."
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def wait_for(condition, seconds=60):
    "Wait until something holds."
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def whole(trained_root, tmp_path_factory):
    "What an undisturbed run writes, 20 users in a file."
    out = tmp_path_factory.mktemp("batch") / "whole"
    done = batch(trained_root, out, "--size", "20", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"folder": str(out), "lists": 943, "files": 48, "there_already": 0}
    return contents(out)


@pytest.fixture(scope="module")
def rec(trained_root):
    "The trained recommender."
    return Recommender.load(root=trained_root)


def test_every_user_gets_what_recommend_for_user_gives(whole, rec, tmp_path):
    for name, content in whole.items():
        (tmp_path / name).write_bytes(content)
    table = pl.read_parquet(tmp_path / "*.parquet")
    assert table.columns == ["user_id", "rank", "movie_id", "score"] and len(table) == 9430
    assert table["user_id"].unique().len() == 943 and not table["score"].is_nan().any()
    for (user_id,), lists in table.group_by("user_id", maintain_order=True):
        single = rec.recommend_for_user(user_id).frame
        assert lists["rank"].to_list() == list(range(1, 11))
        assert lists["movie_id"].to_list() == single["movie_id"].to_list(), user_id
        assert (lists["score"] - single["score"]).abs().max() < 1e-9


@pytest.mark.parametrize("method", ["cosine", "jaccard"])
def test_every_movie_gets_what_similar_gives(method, rec):
    table = similar_movies(rec, listed(rec, "movies"), 12, method)
    by_movie = table.partition_by("movie_id", as_dict=True)
    for movie_id in rec.movies["movie_id"][::3]:
        single = rec.similar(movie_id, 12, method).frame
        assert by_movie[movie_id,]["similar_id"].to_list() == single["movie_id"].to_list(), movie_id
        assert by_movie[movie_id,]["score"].to_list() == single["score"].to_list()


def test_few_movies_many_doubles_and_large_k():
    movies = pl.DataFrame(
        {
            "movie_id": range(1, 9),
            "title": ["A", "A", "A", "B", "B", "C", "D", "E"],
            "year": [1990] * 8,
            "genres": [["x"], ["x"], ["y"], ["x"], ["y"], ["x", "y"], [], ["y"]],
        }
    )
    ratings = pl.DataFrame(
        {
            "user_id": [1, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3],
            "movie_id": [1, 6, 5, *range(1, 9)],
            "rating": [5.0, 4, 0.5] + [3] * 8,
        }
    )
    rec = Recommender.from_tables(movies, ratings)
    for k in (1, 2, 3, 50):
        table = recommend_users(rec, [1, 2, 3], k, chunk=2)
        for user_id in (1, 2, 3):
            expected = rec.recommend_for_user(user_id, k).frame["movie_id"].to_list()
            assert table.filter(pl.col("user_id") == user_id)["movie_id"].to_list() == expected, (user_id, k)
    assert 3 not in table["user_id"]


def test_a_run_that_was_killed_goes_on_and_is_the_same(whole, trained_root, tmp_path):
    arguments, environment = command(trained_root, tmp_path / "out", "--size", "20")
    killed = subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_for(lambda: len(list((tmp_path / "out").glob("part-*"))) >= 5)
    killed.kill()
    killed.wait()
    left = contents(tmp_path / "out")
    parts = [name for name in left if name.startswith("part-")]
    assert 5 <= len(parts) < 48
    assert all(left[name] == whole[name] for name in parts)
    done = batch(trained_root, tmp_path / "out", "--size", "20", "--json")
    assert json.loads(done.stdout)["there_already"] == len(parts)
    assert {name: content for name, content in contents(tmp_path / "out").items() if name[0] != "."} == whole


def test_who_interrupts_it_is_told_how_to_go_on(trained_root, tmp_path):
    arguments, environment = command(trained_root, tmp_path / "out", "--size", "20")
    running = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list((tmp_path / "out").glob("part-*")))
    running.send_signal(signal.SIGINT)
    error = running.communicate(timeout=60)[1]
    assert running.returncode == 1 and "The same command goes on" in error and "Traceback" not in error


def test_a_cluster_with_a_killed_worker_writes_the_same(whole, trained_root, tmp_path):
    distributed = pytest.importorskip("distributed")
    out = tmp_path / "out"
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        arguments, environment = command(
            trained_root, out, "--size", "20", "--scheduler", cluster.scheduler_address, "--json"
        )
        running = subprocess.Popen(
            arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait_for(lambda: len(list(out.glob("part-*"))) >= 3)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        before = len(list(out.glob("part-*")))
        answer, error = running.communicate(timeout=120)
    assert before < 48, "it was done before the worker was killed"
    assert running.returncode == 0 and json.loads(answer)["there_already"] == 0, error
    assert {name: content for name, content in contents(out).items() if name[0] != "."} == whole


def test_what_can_t_be_done_is_said(trained_root, tmp_path):
    out = tmp_path / "out"
    assert batch(trained_root, out, "--size", "500").returncode == 0
    before = contents(out)
    for options, words in {
        ("--size", "400"): "holds another job (its size differ)",
        ("--size", "500", "-k", "3"): "its k differ",
        ("--size", "500", "--for", "movies"): "holds another job",
        ("--size", "500", "--version", "v9.9.9"): "there is no version v9.9.9",
        ("--size", "500", "--method", "cosine"): "--method is for movies",
        ("--for", "movies", "--method", "cosin"): "did you mean cosine",
        ("-k", "0"): "x>=1",
        ("--size", "500", "--scheduler", "nowhere"): "there is no Dask scheduler at nowhere",
    }.items():
        failed = batch(trained_root, out, *options)
        assert failed.returncode in (1, 2) and words in failed.stderr and "Traceback" not in failed.stderr, (
            failed.stderr
        )
    assert contents(out) == before
    (out / "batch.json").write_text("{")
    assert "is damaged" in batch(trained_root, out, "--size", "500").stderr
    (out / "batch.json").unlink()
    assert "but no batch.json" in batch(trained_root, out, "--size", "500").stderr
    (tmp_path / "file").write_text("")
    assert "can't be used" in batch(trained_root, tmp_path / "file").stderr


def test_another_model_under_the_same_name_is_another_job(tmp_path, rec):
    root, out = tmp_path / "artifacts", tmp_path / "out"
    save_version(root, "v1.0.0", rec)
    job = plan(root, "v1.0.0", "movies", size=1000)
    run(root, out, job)
    other = Job(**{**job.__dict__, "model_digest": "0" * 64})
    with pytest.raises(BatchError, match="model_digest differ"):
        run(root, out, other)
    (out / "batch.json").unlink()
    for path in out.iterdir():
        path.unlink()
    with pytest.raises(BatchError, match="is not the model that this job was begun with"):
        run(root, out, other)


def test_without_taste_there_are_lists_for_movies_only(tmp_path, rec):
    plain = Recommender.from_tables(rec.movies)
    save_version(tmp_path, "v1.0.0", plain)
    done = batch(tmp_path, tmp_path / "out", "--version", "v1.0.0")
    assert done.returncode == 1 and "has learned from no ratings" in done.stderr
    assert batch(tmp_path, tmp_path / "out", "--version", "v1.0.0", "--for", "movies").returncode == 0
