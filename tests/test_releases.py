"Every release of MovieLens in small samples, dirty as real ones: from files to lists."

import os
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

import movierec.data
from movierec.artifacts import open_version
from movierec.cli import main
from movierec.data import (
    Layout,
    Release,
    TableFile,
    load,
    pick_columns,
    release_terms,
)
from movierec.fetch import DIGESTS, fetch
from movierec.files import DataError, sha256
from movierec.recommender import Recommender, open_recommender

NEWLINE = "\r\n"

CSV_MOVIES = """movieId,title,genres
1,Toy Story (1995),Adventure|Animation|Children|Comedy|Fantasy
11,"American President, The (1995)",Comedy|Drama|Romance
172,Johnny Mnemonic (1995),Action|Sci-Fi|Thriller|IMAX
838,Emma (1996),Comedy|Drama|Romance
26958,Emma (1996),Romance
40697,Babylon 5,Sci-Fi
108583,Fawlty Towers (1975\u20131979),Comedy
114335,La cravate (1957),(no genres listed)
122896,"Pirates of the Caribbean: ""Dead Men"" (2017)",(no genres listed)
171749,Death Note: Desu nôto (2006\u20132007),(no genres listed)
176601,Black Mirror,(no genres listed)
147376,Doctor Who: A Christmas Carol (2010) ,Sci-Fi
140956,Ready Player One,Action|Sci-Fi|Thriller
143410,Hyena Road,(no genres listed)
202439,"11'09""01 - September 11 (2002) (V)",Drama
7000,The Bureau (2015-),Drama|Thriller
"""
RATED = (1, 11, 172, 838, 26958, 40697, 108583, 114335, 122896, 147376, 7000)
CSV_RATINGS = "userId,movieId,rating,timestamp\n" + "".join(
    f"{user},{movie},{(user * movie) % 10 / 2 + 0.5},{1_000_000_000 + user}\n"
    for user in range(1, 9)
    for movie in RATED
)
DAT_MOVIES = """1::Toy Story (1995)::Animation|Children's|Comedy
73::Misérables, Les (1995)::Drama|Musical
2000::Lethal Weapon (1987)::Action|Comedy|Crime|Drama
3000::Mononoke-hime (Princess Mononoke) (1997)::Action|Animation
"""
DAT_RATINGS = "".join(
    f"{user}::{movie}::{(user + movie) % 5 + 1}::978300760\n"
    for user in (1, 2, 3)
    for movie in (1, 73, 2000)
)
DAT_USERS = "1::F::1::10::48067\n2::M::56::16::70072\n3::M::25::15::55117\n"


BOM = "\ufeff"  # what programs on Windows put before a text in UTF-8


def csv(newline="\n", bom=False):
    "The files of 20M, 25M, 32M and latest-small, which are of one kind."
    texts = {
        "movies.csv": CSV_MOVIES,
        "ratings.csv": CSV_RATINGS,
        "links.csv": "movieId,imdbId,tmdbId\n1,0114709,862\n",
        "tags.csv": "userId,movieId,tag,timestamp\n2,1,pixar,1139045764\n",
        "README.txt": "",
    }
    return {
        name: (BOM * bom + text.replace("\n", newline)).encode()
        for name, text in texts.items()
    }


RELEASES = {
    "ml-25m": csv(),
    "ml-20m": csv(NEWLINE),
    "ml-32m": csv(NEWLINE, bom=True),
    "ml-latest-small": csv(bom=True),
    "ml-1m": {
        "movies.dat": DAT_MOVIES.encode("iso-8859-1"),
        "ratings.dat": DAT_RATINGS.encode(),
        "users.dat": DAT_USERS.encode(),
    },
    "ml-10M100K": {
        "movies.dat": DAT_MOVIES.encode(),
        "ratings.dat": DAT_RATINGS.replace("::5::", "::4.5::").encode(),
        "tags.dat": b"",
    },
}


@pytest.fixture
def folder(request, tmp_path):
    "A folder with a release; the parameter names it."
    folder = tmp_path / request.param
    folder.mkdir()
    for name, content in RELEASES[request.param].items():
        (folder / name).write_bytes(content)
    return folder


every_release = pytest.mark.parametrize("folder", RELEASES, indirect=True)


@every_release
def test_it_is_read(folder):
    dataset = load(folder)
    titles = dict(dataset.movies.select("movie_id", "title").iter_rows())
    assert dataset.name == folder.name and titles[1] == "Toy Story (1995)"
    assert (
        set(dataset.digests) <= {path.name for path in folder.iterdir()}
        and len(dataset.digests) >= 2
    )
    if "movies.dat" in dataset.digests:
        assert titles[73] == "Misérables, Les (1995)" and dataset.movies[
            "year"
        ].to_list() == [1995, 1995, 1987, 1997]
        assert (dataset.users is None) == (folder.name != "ml-1m")
        assert dataset.ratings["rating"].max() == (5 if folder.name == "ml-1m" else 4.5)
        return
    years = dict(dataset.movies.select("movie_id", "year").iter_rows())
    genres = dict(dataset.movies.select("movie_id", "genres").iter_rows())
    assert (
        titles[122896] == 'Pirates of the Caribbean: "Dead Men" (2017)'
        and titles[171749] == "Death Note: Desu nôto (2006\u20132007)"
    )
    assert (
        titles[202439] == "11'09\"01 - September 11 (2002) (V)"
        and titles[147376] == "Doctor Who: A Christmas Carol (2010)"
    )
    assert [years[i] for i in (108583, 171749, 7000, 147376, 202439)] == [
        1975,
        2006,
        2015,
        2010,
        2002,
    ]
    assert years[40697] is years[176601] is years[143410] is None
    assert (
        genres[114335] == genres[176601] == []
        and "IMAX" in genres[172]
        and "IMAX" in dataset.genres
    )
    assert (
        "(no genres listed)" not in dataset.genres
        and dataset.ratings["rating"].min() == 0.5
    )


@pytest.mark.parametrize("newline", ["\n", NEWLINE], ids=["unix", "windows"])
@pytest.mark.parametrize("last_newline", [True, False])
@every_release
def test_line_ends_of_either_kind_and_a_last_line_without_one_are_the_same(
    newline, last_newline, folder
):
    before = load(folder)
    for path in folder.iterdir():
        content = (
            path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", newline.encode())
        )
        path.write_bytes(
            content if last_newline else content.removesuffix(newline.encode())
        )
    after = load(folder)
    assert after.movies.equals(before.movies) and after.ratings.equals(before.ratings)
    assert before.users is after.users is None or after.users.equals(before.users)


@pytest.mark.parametrize("folder", ["ml-25m"], indirect=True)
def test_two_films_of_one_title_and_year_are_entries_of_one_that_ids_tell_apart(
    folder,
):
    dataset = load(folder)
    assert dataset.movies.filter(title="Emma (1996)")["genres"].to_list() == [
        ["Comedy", "Drama", "Romance"],
        ["Romance"],
    ]
    more = pl.DataFrame(
        {"user_id": [9], "movie_id": [26958], "rating": [4.0], "timestamp": [1]}
    )
    rec = Recommender.from_tables(
        dataset.movies, dataset.ratings.vstack(more), dataset.genres
    )
    by_title = rec.similar("Emma (1996)", 20)
    assert by_title.movie["movie_id"] == 26958  # the more rated one
    assert by_title.notes == (
        "Emma (1996) stands 2 times: 26958 (9 ratings) and 838 (8 ratings). "
        "The most rated is used.",
    )
    for movie_id, other in ((838, 26958), (26958, 838)):
        by_id = rec.similar(movie_id, 20)
        assert by_id.movie["movie_id"] == movie_id and by_id.notes == ()
        assert not {838, 26958} & set(by_id.frame["movie_id"]), (
            "neither itself nor the other entry"
        )
        assert not {838, 26958} & set(
            rec.recommend({movie_id: 5}, 20).frame["movie_id"]
        )
        assert rec.explain(movie_id, other).score < 1
    assert [i["movie_id"] for i in rec.search("emma", 2).items] == [26958]


def invoke(home, *arguments, **variables):
    "Run a command with this home, in this process."
    cleared = dict.fromkeys(n for n in os.environ if n.startswith("MOVIEREC_"))
    given = cleared | {"MOVIEREC_HOME": str(home)} | variables
    done = CliRunner().invoke(main, arguments, env=given, prog_name="movierec")
    assert done.exception is None or isinstance(done.exception, SystemExit), done
    return done


@every_release
def test_train_does_the_whole_job(folder, tmp_path):
    settings = {"MOVIEREC_MODEL__MAX_MATRIX_MOVIES": "10"}
    for command in (
        ["train", "--data", str(folder)],
        ["batch", "--out", str(tmp_path / "lists"), "-k", "2"],
    ):
        done = invoke(tmp_path, *command, **settings)
        assert done.exit_code == 0, done.output
    artifact = open_version(tmp_path / "artifacts")
    few = artifact.metadata["counts"]["movies"] <= 10
    assert ("cosine_similarity_matrix.pkl" in artifact.metadata["files"]) == few
    assert artifact.metadata["matrices_absent_because"] == (
        None if few else "more than 10 movies"
    )
    assert artifact.metadata["data"]["title"].startswith("MovieLens ")
    assert artifact.verify() == []
    rec = open_recommender(artifact)
    assert rec.similar(1, 3).items and rec.recommend({"toy story": 0.5}, 2).items
    assert rec.recommend_for_user(1, 3).items or len(rec.movies) == len(
        rec.ratings_of(1)
    )
    assert len(pl.read_parquet(tmp_path / "lists" / "*.parquet")) > 0
    done = invoke(tmp_path, "evaluate", "--data", str(folder), **settings)
    assert done.exit_code == 1
    assert "folds u1 to u5 are made of MovieLens 100k" in done.stderr


WRONG = {
    "no movies": ("ratings.csv", None, "ratings.csv is missing"),
    "a short row": (
        "movies.csv",
        ("\n838,", "\n838;"),
        "movies.csv, line 5: 2 fields, expected 3",
    ),
    "an open quote": (
        "movies.csv",
        ('The (1995)"', "The (1995)"),
        "movies.csv, line 3: ",
    ),
    "no quotes": (
        "movies.csv",
        ('"American President, The (1995)"', "American President, The"),
        "line 3: 4 fields",
    ),
    "not UTF-8": ("movies.csv", ("nôto", "n\udcf4to"), "movies.csv, line 11: "),
    "no id": ("movies.csv", ("\n838,", "\n,"), "movies.csv, line 5: movie_id is ''"),
    "twice": (
        "movies.csv",
        ("\n838,", "\n11,"),
        "movies.csv, line 5: movie_id 11 stands twice, first in line 3",
    ),
    "no title": ("movies.csv", ("Babylon 5", " "), "movies.csv, line 7: title is ' '"),
    "no genres": (
        "movies.csv",
        ("Babylon 5,Sci-Fi", "Babylon 5,"),
        "movies.csv, line 7: genres is ''",
    ),
    "a quarter of a star": (
        "ratings.csv",
        ("2,11,1.5", "2,11,1.25"),
        "rating is '1.25', expected a number of stars",
    ),
    "beyond 2^53": (
        "ratings.csv",
        ("\n2,11,", f"\n2,{2**53 + 1},"),
        "expected a whole number from 1 to 2^53",
    ),
    "beyond 64 bits": (
        "movies.csv",
        ("\n838,", f"\n{10**30},"),
        "expected a whole number from 1 to 2^53",
    ),
    "no stars": ("ratings.csv", ("2,11,1.5", "2,11,0"), "rating is '0'"),
    "not a number": ("ratings.csv", ("2,11,1.5", "2,11,nan"), "rating is 'nan'"),
    "infinity": ("ratings.csv", ("2,11,1.5", "2,11,inf"), "rating is 'inf'"),
    "an unknown movie": (
        "ratings.csv",
        ("2,11,1.5", "2,12,1.5"),
        "movie_id is 12, which is not in the table",
    ),
    "rated twice": (
        "ratings.csv",
        ("2,11,1.5", "2,1,1.5"),
        "user_id 2 and movie_id 1 stands twice",
    ),
    "another header": (
        "ratings.csv",
        ("userId,", "user,"),
        "line 1: the header is 'user,movieId",
    ),
    "another table": (
        "movies.csv",
        ("movieId,title,genres", "movieId,imdbId,tmdbId"),
        "line 1: the header is",
    ),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("folder", ["ml-25m"], indirect=True)
def test_what_is_wrong_is_named_with_its_line(what, folder):
    name, change, expected = WRONG[what]
    if change is None:
        (folder / name).unlink()
    else:
        text = (folder / name).read_bytes().decode()
        assert change[0] in text
        (folder / name).write_bytes(
            text.replace(change[0], change[1], 1).encode(errors="surrogateescape")
        )
    with pytest.raises(DataError) as error:
        load(folder)
    assert expected in str(error.value) and str(error.value).startswith("ml-25m/")


def test_a_release_to_come_is_one_entry(tmp_path, monkeypatch):
    folder = tmp_path / "ml-next"
    folder.mkdir()
    (folder / "films.tsv").write_text("Amélie (2001)\tComedy|Romance\t7\n", "utf-8")
    (folder / "marks.tsv").write_text("stars\tfilm\tuser\tseconds\n4.5\t7\t3\t0\n")
    with pytest.raises(DataError, match="holds no MovieLens files"):
        load(folder)
    layout = Layout(
        TableFile("films.tsv", "\t", pick_columns("title genres movie_id")),
        TableFile(
            "marks.tsv",
            "\t",
            pick_columns("half_stars movie_id user_id timestamp"),
            "stars\tfilm\tuser\tseconds",
        ),
    )
    monkeypatch.setitem(
        movierec.data.RELEASES, "ml-next", Release("Next", "next.html", layout)
    )
    dataset = load(folder)
    assert dataset.movies.rows() == [(7, "Amélie (2001)", 2001, ["Comedy", "Romance"])]
    assert dataset.ratings.rows() == [(3, 7, 4.5, 0)]
    assert (dataset.name, dataset.genres, len(dataset.digests)) == (
        "ml-next",
        ("Comedy", "Romance"),
        2,
    )
    assert release_terms("ml-next")[0] == "Next"
    (folder / "movies.csv").touch()
    with pytest.raises(
        DataError, match=r"holds movies\.csv and films\.tsv, of two releases"
    ):
        load(folder)


def test_digests_are_those_of_the_bytes_that_were_parsed(tmp_path):
    for name, files in RELEASES.items():
        folder = tmp_path / name
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        dataset = load(folder)
        assert dataset.digests == {n: sha256(files[n]) for n in dataset.digests}
        assert dataset.digests.keys() == {
            n for n in files if n[:5] in ("movie", "ratin", "users")
        }


def test_data_sets_are_told_apart_by_identity_and_never_raise(dataset):
    other = replace(dataset)
    assert dataset == dataset and dataset != other and len({dataset, other}) == 2


def test_a_line_beyond_the_first_block_is_named(tmp_path, monkeypatch):
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,Film (1999),Drama\n")
    rows = [f"{user},1,3.5,1\n" for user in range(1, 1_000_500)]
    rows[1_000_400] = "7,1,3.5\n"
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n" + "".join(rows)
    )
    with pytest.raises(DataError, match="line 1000402: 3 fields"):
        load(tmp_path)
    rows[1_000_400] = "8,1,3.5,1\n"
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n" + "".join(rows)
    )
    with pytest.raises(
        DataError,
        match="line 1000402: user_id 8 and movie_id 1 stands twice, first in line 9",
    ):
        load(tmp_path)


def test_a_folder_without_data_says_what_it_may_hold(tmp_path):
    with pytest.raises(
        DataError,
        match=r"with movies.dat and ratings.dat, or with movies.csv and ratings.csv",
    ):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "movies.csv",
            "",
            "movies.csv, line 1: the header is '', expected 'movieId,title,genres'",
        ),
        (
            "movies.csv",
            "movieId,title,genres\n",
            "movies.csv holds no movies, expected at least one: take the file",
        ),
        ("movies.csv", "movieId,title,genres", "movies.csv holds no movies"),
        ("movies.dat", "", "movies.dat, line 1: 1 fields, expected 3"),
    ],
)
def test_a_table_without_movies_is_named(name, content, expected, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as error:
        load(tmp_path)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("folder", "left", "missing"),
    [
        ("ml-25m", "movies.csv", "ratings.csv"),
        ("ml-25m", "ratings.csv", "movies.csv"),
        ("ml-1m", "movies.dat", "ratings.dat"),
        ("ml-10M100K", "ratings.dat", "movies.dat"),
    ],
    indirect=["folder"],
)
def test_a_missing_file_of_another_release_is_in_its_zip_and_is_not_fetched(
    folder, left, missing
):
    (folder / missing).unlink()
    with pytest.raises(DataError) as error:
        load(folder)
    assert str(error.value) == (
        f"{folder.name}/{missing} is missing: take the file from the release's zip "
        "(https://grouplens.org/datasets/movielens/)."
    )
    before = sorted(folder.iterdir())
    with pytest.raises(
        DataError, match=f"{folder} holds {left}, of another MovieLens release"
    ):
        fetch(folder, sources={"good": lambda progress: pytest.fail("it was asked")})
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("name", sorted(DIGESTS))
@every_release
def test_two_releases_in_one_folder_are_refused(name, folder):
    (folder / name).touch()
    other = "movies.csv" if (folder / "movies.csv").exists() else "movies.dat"
    with pytest.raises(DataError, match=f"holds {name} and {other}, of two releases"):
        load(folder, verify=False)
    (folder / name).unlink()
    (folder / ("movies.dat" if other == "movies.csv" else "movies.csv")).touch()
    with pytest.raises(
        DataError, match=r"holds movies\.dat and movies\.csv, of two releases"
    ):
        load(folder)


@pytest.mark.parametrize("folder", ["ml-25m"], indirect=True)
def test_half_a_star_counts_as_one(folder):
    dataset = load(folder)
    rec = Recommender.from_tables(dataset.movies, dataset.ratings, dataset.genres)
    half, one = (rec.recommend({"Toy Story (1995)": stars}, 5) for stars in (0.5, 1))
    assert [i["movie_id"] for i in half.items] == [i["movie_id"] for i in one.items]
    assert np.allclose(
        [i["score"] for i in half.items], [i["score"] for i in one.items]
    )
    shutil.rmtree(folder)


@pytest.mark.parametrize("folder", ["ml-1m", "ml-25m"], indirect=True)
def test_another_release_needs_no_fetching(folder, tmp_path):
    at = "--data", str(folder)
    done = invoke(tmp_path, "fetch", "--if-needed", "--no-makers", *at)
    assert done.exit_code == 0 and "is there already" in done.stdout
    assert not (folder / "u.data").exists()
    done = invoke(tmp_path, "fetch", *at)
    assert done.exit_code == 1 and "of another MovieLens release" in done.stderr
