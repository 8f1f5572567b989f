"Batch jobs: the lists of one by one, whole after every interruption, on a cluster too."

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import polars as pl
import pytest
from click.testing import CliRunner
from conftest import UNMEASURED, save_version
from threadpoolctl import threadpool_info

from movierec import batch as batch_module
from movierec import files as files_module
from movierec.batch import (
    BatchError,
    list_asked,
    plan_job,
    recommend_users,
    run_job,
    similar_movies,
    write_part,
)
from movierec.cli import main
from movierec.files import lock
from movierec.recommender import Recommender


def command(root, out, *options, before=""):
    "The arguments and environment of `movierec batch`; Python code may come before it."
    code = before + "from movierec.cli import main; main()"
    arguments = [sys.executable, "-c", code, "batch", "--out", str(out), *options]
    environment = UNMEASURED if before else os.environ
    return arguments, environment | {
        "MOVIEREC_MODEL__DIR": str(root),
        "MOVIEREC_HOME": str(root.parent),
    }


def batch(root, out, *options):
    "Run `movierec batch` to its end, in this process."
    variables = {"MOVIEREC_MODEL__DIR": str(root), "MOVIEREC_HOME": str(root.parent)}
    given = {"env": variables, "prog_name": "movierec"}
    done = CliRunner().invoke(main, ["batch", "--out", str(out), *options], **given)
    assert done.exception is None or isinstance(done.exception, SystemExit), done
    return done


def batch_apart(root, out, *options, before=""):
    "Run it in a process of its own."
    arguments, environment = command(root, out, *options, before=before)
    return subprocess.run(
        arguments, env=environment, capture_output=True, text=True, timeout=120
    )


def contents(folder):
    "The bytes of each file in a folder."
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def visible(folder):
    "The bytes of each file but those that a killed program may leave."
    return {
        name: content
        for name, content in contents(folder).items()
        if not name.startswith(".")
    }


def some_of(whole, folder, n_parts):
    "Make a folder that holds the job and its first parts."
    folder.mkdir()
    for name in sorted(whole)[: n_parts + 1]:
        (folder / name).write_bytes(whole[name])
    return contents(folder)


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
    done = batch_apart(trained_root, out, "--size", "20", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "folder": str(out),
        "lists": 943,
        "files": 48,
        "there_already": 0,
    }
    return contents(out)


@pytest.fixture(scope="module")
def rec(trained_root):
    "The trained recommender."
    return Recommender.load(root=trained_root)


def test_every_user_gets_what_recommend_for_user_gives(whole, rec, tmp_path):
    for name, content in whole.items():
        (tmp_path / name).write_bytes(content)
    table = pl.read_parquet(tmp_path / "*.parquet")
    assert (
        table.columns == ["user_id", "rank", "movie_id", "score"] and len(table) == 9430
    )
    assert table["user_id"].unique().len() == 943 and not table["score"].is_nan().any()
    for (user_id,), lists in table.group_by("user_id", maintain_order=True):
        single = rec.recommend_for_user(user_id).frame
        assert lists["rank"].to_list() == list(range(1, 11))
        assert lists["movie_id"].to_list() == single["movie_id"].to_list(), user_id
        off = (lists["score"] - single["score"]).abs().max()
        assert off < 1.5e-12, user_id  # the same to 12 decimals


@pytest.mark.parametrize("method", ["cosine", "jaccard"])
def test_every_movie_gets_what_similar_gives(method, rec):
    table = similar_movies(rec, list_asked(rec, "movies"), 12, method)
    by_movie = table.partition_by("movie_id", as_dict=True)
    for movie_id in rec.movies["movie_id"][::3]:
        single = rec.similar(movie_id, 12, method).frame
        assert (
            by_movie[movie_id,]["similar_id"].to_list() == single["movie_id"].to_list()
        ), movie_id
        assert by_movie[movie_id,]["score"].to_list() == single["score"].to_list()


@pytest.mark.parametrize("method", ["cosine", "jaccard"])
def test_no_list_of_a_movie_holds_a_film_twice_or_the_film_itself(method, rec):
    films = rec.movies.select(
        similar_id="movie_id", film=pl.struct("title", "year").rank("dense")
    )
    own = films.rename({"similar_id": "movie_id", "film": "own"})
    table = similar_movies(rec, list_asked(rec, "movies"), 12, method)
    table = table.join(films, on="similar_id").join(own, on="movie_id")
    assert len(table) > 1600 * 12
    assert table.select("movie_id", "film").is_unique().all()
    assert not (table["film"] == table["own"]).any()


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
        table = recommend_users(rec, [2, 1, 3], k)
        for user_id in (1, 2, 3):
            expected = rec.recommend_for_user(user_id, k).frame["movie_id"].to_list()
            assert (
                table.filter(pl.col("user_id") == user_id)["movie_id"].to_list()
                == expected
            ), (user_id, k)
    assert 3 not in table["user_id"]


def test_a_run_that_was_killed_goes_on_and_is_the_same(whole, trained_root, tmp_path):
    arguments, environment = command(trained_root, tmp_path / "out", "--size", "20")
    killed = subprocess.Popen(
        arguments, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    wait_for(lambda: len(list((tmp_path / "out").glob("part-*"))) >= 5)
    killed.kill()
    killed.wait()
    left = contents(tmp_path / "out")
    parts = [name for name in left if name.startswith("part-")]
    assert 5 <= len(parts) < 48
    assert all(left[name] == whole[name] for name in parts)
    done = batch(trained_root, tmp_path / "out", "--size", "20", "--json")
    assert json.loads(done.stdout)["there_already"] == len(parts)
    assert visible(tmp_path / "out") == whole


def test_progress_begins_with_what_is_there(whole, trained_root, tmp_path):
    some_of(whole, tmp_path / "out", 45)
    job, seen = plan_job(trained_root, "v1.0.0", size=20), []

    def run():
        "How many parts were there; what was reported is in `seen`."
        folder = tmp_path / "out"
        return run_job(trained_root, folder, job, progress=lambda *r: seen.append(r))

    assert run() == 45
    assert seen == [("943 lists for users", done, 48) for done in (45, 46, 47, 48)]
    seen.clear()
    assert run() == 48
    assert seen == [("943 lists for users", 48, 48)]
    assert (
        "(48 files, 48 of them there already)"
        in batch(trained_root, tmp_path / "out", "--size", "20").stdout
    )
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize("n_parts", [0, 3])
def test_a_full_disk_is_said_and_what_is_there_stays(
    n_parts, whole, trained_root, tmp_path
):
    before = some_of(whole, tmp_path / "out", n_parts)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
    full = batch_apart(trained_root, tmp_path / "out", "--size", "20", before=limit)
    part = tmp_path / "out" / f"part-{n_parts:05}.parquet"
    assert full.returncode == 1
    assert (
        full.stderr
        == f"Error: {part} can't be written: File too large. What is there stays.\n"
    )
    assert contents(tmp_path / "out") == before
    assert batch(trained_root, tmp_path / "out", "--size", "20").exit_code == 0
    assert contents(tmp_path / "out") == whole


def test_a_disk_without_room_for_the_job_itself(trained_root, tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10));"
    full = batch_apart(trained_root, tmp_path / "out", before=limit)
    assert (
        full.returncode == 1
        and f"{tmp_path / 'out'} can't be used: File too large" in full.stderr
    )
    assert contents(tmp_path / "out") == {}


def test_what_killed_runs_left_is_removed_at_once_and_the_folder_is_read_once(
    whole, trained_root, tmp_path, monkeypatch
):
    some_of(whole, tmp_path / "out", 40)
    for name in (
        ".part-00041.parquet.0a1b2c3d.partial",
        ".batch.json.0a1b2c3d.partial",
        ".part-00042.parquet.living.partial",
    ):
        (tmp_path / "out" / name).write_bytes(b"half")
    living = lock(tmp_path / "out" / name)
    os.utime(tmp_path / "out" / name, (0, 0))  # and it works since 1970
    swept, real = [], batch_module.sweep
    for module in (batch_module, files_module):
        monkeypatch.setattr(
            module, "sweep", lambda *given: swept.append(given) or real(*given)
        )
    run_job(trained_root, tmp_path / "out", plan_job(trained_root, "v1.0.0", size=20))
    os.close(living)
    assert contents(tmp_path / "out") == whole | {name: b"half"}
    assert len(swept) == 1


def test_a_part_that_is_not_as_it_was_written_is_made_anew_and_that_is_said(
    whole, trained_root, tmp_path
):
    out, (first, second) = tmp_path / "out", sorted(whole)[1:3]
    some_of(whole, out, 48)
    other = tmp_path / "other"
    assert batch(trained_root, other, "--size", "20", "-k", "3").exit_code == 0
    flipped = bytearray(whole[second])
    flipped[len(flipped) // 2] ^= 1
    for name, content in {
        "part-00003.parquet": b"",
        "part-00005.parquet": whole["part-00005.parquet"][:-1],
        "part-00007.parquet": whole["part-00008.parquet"],
        "part-00009.parquet": (other / "part-00009.parquet").read_bytes(),
        second: bytes(flipped),
    }.items():
        (out / name).write_bytes(content)
    (out / first).unlink()
    os.mkfifo(out / first)  # whoever opens it waits for ever
    done = batch_apart(trained_root, out, "--size", "20", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["there_already"] == 42
    told = [line.split(" ", 1) for line in done.stderr.splitlines()]
    assert [name for name, _ in told] == [
        f"out/{name}"
        for name in (second, *(f"part-0000{i}.parquet" for i in (3, 5, 7, 9)))
    ]
    assert {what for _, what in told} == {"is not as it was written; it is made anew"}
    assert contents(out) == whole


def test_of_two_jobs_that_begin_in_one_folder_at_once_one_is_refused(
    trained_root, tmp_path
):
    """Both see the empty folder before either writes: each is held at the moment it
    makes its file, one until the other is there too, the other until that has begun."""
    wait = """
import time
from pathlib import Path
from movierec import files
make = files.partial_beside
def together(path, touch):
    if path.name == "batch.json":
        mine = path.with_name(f"here-{time.monotonic_ns()}")
        mine.touch()
        while len(here := sorted(path.parent.glob("here-*"))) < 2:
            time.sleep(0.001)
        while mine == here[1] and not list(path.parent.glob("part-*")):
            time.sleep(0.001)
    return make(path, touch)
files.partial_beside = together
"""
    out = tmp_path / "out"
    running = []
    for k in ("3", "5"):
        arguments, environment = command(
            trained_root, out, "--size", "100", "-k", k, before=wait
        )
        given = {"stderr": subprocess.PIPE, "text": True, "env": environment}
        running.append(subprocess.Popen(arguments, **given))
    told = [process.communicate(timeout=60)[1] for process in running]
    assert sorted(process.returncode for process in running) == [0, 1], told
    assert "holds another job (its k differ)" in "".join(told)
    k = json.loads((out / "batch.json").read_bytes())["k"]
    table = pl.read_parquet(out / "*.parquet")
    assert table["rank"].max() == k and len(table) == 943 * k


def test_a_job_of_a_program_from_before_the_digests_is_left_alone_and_named(
    whole, trained_root, tmp_path
):
    out = tmp_path / "out"
    some_of(whole, out, 2)
    job = json.loads(whole["batch.json"])
    del job["parts"]
    (out / "batch.json").write_bytes(json.dumps(job).encode())
    before = contents(out)
    done = batch(trained_root, out, "--size", "20")
    assert done.exit_code == 1 and contents(out) == before
    assert f"{out} holds a job of an older movierec, which wrote no" in done.stderr


def test_who_interrupts_it_is_told_how_to_go_on(trained_root, tmp_path):
    arguments, environment = command(trained_root, tmp_path / "out", "--size", "20")
    running = subprocess.Popen(
        arguments, env=environment, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: list((tmp_path / "out").glob("part-*")))
    running.send_signal(signal.SIGINT)
    error = running.communicate(timeout=60)[1]
    assert (
        running.returncode == 1
        and "The same command goes on" in error
        and "Traceback" not in error
    )


def test_a_cluster_with_a_killed_worker_writes_the_same(whole, trained_root, tmp_path):
    distributed = pytest.importorskip("distributed")
    out = tmp_path / "out"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        arguments, environment = command(
            trained_root,
            out,
            "--size",
            "20",
            "--scheduler",
            cluster.scheduler_address,
            "--json",
        )
        running = subprocess.Popen(
            arguments,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: len(list(out.glob("part-*"))) >= 3)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        before = len(list(out.glob("part-*")))
        answer, error = running.communicate(timeout=120)
    assert before < 48, "it was done before the worker was killed"
    assert running.returncode == 0 and json.loads(answer)["there_already"] == 0, error
    assert visible(out) == whole


def test_a_worker_of_two_threads_writes_the_same(whole, trained_root, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None
    ) as cluster:
        assert [
            worker["nthreads"] for worker in cluster.scheduler_info["workers"].values()
        ] == [2]
        done = batch_apart(
            trained_root,
            tmp_path / "out",
            "--size",
            "20",
            "--scheduler",
            cluster.scheduler_address,
        )
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == whole


def test_threads_of_one_process_make_one_part_at_a_time_on_one_thread_each(
    whole, trained_root, tmp_path, monkeypatch
):
    job, seen, inside = plan_job(trained_root, "v1.0.0", size=20), [], []

    def slow(*given):
        inside.append(given)
        for _ in range(5):
            time.sleep(0.01)
            seen.append(
                (
                    len(inside),
                    *{library["num_threads"] for library in threadpool_info()},
                )
            )
        table = recommend_users(*given)
        inside.pop()
        return table

    monkeypatch.setattr(batch_module, "recommend_users", slow)
    before = threadpool_info()
    with ThreadPoolExecutor(4) as threads:
        parts = list(
            threads.map(
                lambda part: write_part(trained_root, tmp_path, job, part), range(8)
            )
        )
    assert threadpool_info() == before
    assert parts == list(range(8)) and set(seen) == {(1, 1)}
    assert contents(tmp_path) == {
        name: whole[name] for name in (job.path(tmp_path, part).name for part in parts)
    }


def test_a_scheduler_without_workers_is_not_waited_for_for_ever(
    trained_root, tmp_path, monkeypatch
):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(batch_module, "WORKER_SECONDS", 0.5)
    log = logging.getLogger("distributed.client")
    level = log.level
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        with pytest.raises(BatchError) as error:
            run_job(
                trained_root,
                tmp_path / "out",
                plan_job(trained_root, "v1.0.0"),
                address,
            )
    assert str(error.value) == (
        f"the Dask scheduler at {address} has had no workers for 0.5 seconds. "
        f"Start some with 'dask worker {address}'."
    )
    assert log.level == level
    assert not (tmp_path / "out").exists()


@contextmanager
def started(module, *arguments):
    "A process of Dask's own, which is ended with the block."
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            f"distributed.cli.{module}",
            "--no-dashboard",
            *arguments,
        ],
        env=UNMEASURED,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "while_waiting", [False, True], ids=["while parts come in", "while nothing happens"]
)
def test_a_scheduler_that_is_lost_is_said_in_one_sentence(
    while_waiting, whole, trained_root, tmp_path
):
    pytest.importorskip("distributed")
    out, file = tmp_path / "out", tmp_path / "scheduler.json"
    with started(
        "dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--scheduler-file",
        str(file),
    ) as scheduler:
        wait_for(lambda: file.exists() and file.read_text().endswith("}"))
        address = json.loads(file.read_text())["address"]
        options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path))
        with started("dask_worker", address, *options) as worker:
            arguments, environment = command(
                trained_root, out, "--size", "20", "--scheduler", address
            )
            running = subprocess.Popen(
                arguments, env=environment, stderr=subprocess.PIPE, text=True
            )
            wait_for(lambda: len(list(out.glob("part-*"))) >= 3)
            if while_waiting:
                worker.send_signal(signal.SIGSTOP)
                time.sleep(0.5)
            scheduler.kill()
            error = running.communicate(timeout=120)[1]
    assert running.returncode == 1
    lost = f"the Dask scheduler at {address} was lost"
    assert error == f"Error: {lost}. What is done stays; run the command again.\n"
    left = visible(out)
    assert 4 <= len(left) < 49 and left.items() <= whole.items()
    assert batch(trained_root, out, "--size", "20").exit_code == 0
    assert visible(out) == whole


def test_what_can_t_be_done_is_said(trained_root, tmp_path):
    out = tmp_path / "out"
    assert batch(trained_root, out, "--size", "500").exit_code == 0
    before = contents(out)
    for options, words in {
        ("--size", "400"): "holds another job (its size differ)",
        ("--size", "500", "-k", "3"): "its k differ",
        ("--size", "500", "--for", "movies"): "holds another job",
        ("--size", "500", "--version", "v9.9.9"): "there is no version v9.9.9",
        ("--size", "500", "--method", "cosine"): "--method is for movies",
        ("--for", "movies", "--method", "cosin"): "did you mean cosine",
        ("-k", "0"): "k is 0",
        (
            "--size",
            "500",
            "--scheduler",
            "nowhere",
        ): "there is no Dask scheduler at nowhere",
    }.items():
        failed = batch(trained_root, out, *options)
        assert (
            failed.exit_code in (1, 2)
            and words in failed.stderr
            and "Traceback" not in failed.stderr
        ), failed.stderr
    assert contents(out) == before
    new = tmp_path / "new"
    assert batch(trained_root, new, "--scheduler", "nowhere").exit_code == 1
    assert not new.exists()  # nothing that another job would be compared with
    (out / "part-00002.parquet").write_bytes(b"of a job with more parts")
    strange = batch(trained_root, out, "--size", "500")
    assert strange.exit_code == 1
    assert (
        f"{out} holds part-00002.parquet, which is none of the 2 parts of this job"
        in strange.stderr
    )
    (out / "part-00002.parquet").unlink()
    for text in ("{", "[" * 100_000, "9" * 10_000, ""):
        (out / "batch.json").write_text(text)
        with pytest.raises(BatchError, match=r"batch\.json is damaged: it is not JSON"):
            run_job(trained_root, out, plan_job(trained_root, "v1.0.0", size=500))
    (out / "batch.json").unlink()
    os.mkfifo(out / "batch.json")
    assert "batch.json is no file" in batch(trained_root, out, "--size", "500").stderr
    (out / "batch.json").unlink()
    assert "but no batch.json" in batch(trained_root, out, "--size", "500").stderr
    (tmp_path / "file").write_text("")
    assert "can't be used" in batch(trained_root, tmp_path / "file").stderr


def test_another_model_under_the_same_name_is_another_job(tmp_path, rec):
    root, out = tmp_path / "artifacts", tmp_path / "out"
    save_version(root, "v1.0.0", rec)
    job = plan_job(root, "v1.0.0", "movies", size=1000)
    run_job(root, out, job)
    other = replace(job, model_digest="0" * 64)
    with pytest.raises(BatchError, match="model_digest differ"):
        run_job(root, out, other)
    (out / "batch.json").unlink()
    for path in out.iterdir():
        path.unlink()
    with pytest.raises(
        BatchError, match="is not the model that this job was begun with"
    ):
        run_job(root, out, other)


def test_a_version_that_is_trained_again_in_the_life_of_a_process_is_loaded_anew(
    tmp_path, rec
):
    root = tmp_path / "artifacts"
    jobs = []
    for n_movies in (30, 20):
        shutil.rmtree(root, ignore_errors=True)
        save_version(root, "v1.0.0", Recommender.from_tables(rec.movies.head(n_movies)))
        jobs.append(plan_job(root, "v1.0.0", "movies", size=1000))
        assert write_part(root, tmp_path, jobs[-1], 0) == 0
        assert (
            pl.read_parquet(jobs[-1].path(tmp_path, 0))["movie_id"].n_unique()
            == n_movies
        )
    with pytest.raises(
        BatchError, match="is not the model that this job was begun with"
    ):
        write_part(root, tmp_path, jobs[0], 0)
    assert batch_module.load_once.cache_info().currsize == 1


def test_other_libraries_make_another_job(tmp_path, rec):
    root, out = tmp_path / "artifacts", tmp_path / "out"
    save_version(root, "v1.0.0", rec)
    job = plan_job(root, "v1.0.0", "movies", size=1000)
    before = replace(job, libraries=job.libraries | {"polars": "1.20.0"})
    with pytest.raises(
        BatchError, match=r"begun with .*'polars': '1\.20\.0'.*Install the same"
    ):
        run_job(root, out, before)
    with pytest.raises(BatchError, match=r"holds another job \(its libraries differ\)"):
        run_job(root, out, job)


def test_without_taste_there_are_lists_for_movies_only(tmp_path, rec):
    plain = Recommender.from_tables(rec.movies)
    save_version(tmp_path, "v1.0.0", plain)
    done = batch(tmp_path, tmp_path / "out", "--version", "v1.0.0")
    assert done.exit_code == 1 and "has learned from no ratings" in done.stderr
    assert (
        batch(
            tmp_path, tmp_path / "out", "--version", "v1.0.0", "--for", "movies"
        ).exit_code
        == 0
    )
