"Whatever people type, filter by or bring as tables: an answer that is right, or an error that says what was wrong."

import os
import random
import re
import string
import subprocess
import sys

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from movierec.config import MovierecError
from movierec.recommender import AmbiguousTitle, MovieNotFound, QueryError, Recommender, title_names

METHODS = ("cosine", "jaccard")
ANY_TEXT = st.text(max_size=40) | st.text(st.characters(), max_size=10)  # the second also makes halves of characters
PIECES = st.lists(
    st.sampled_from(["Star", "Wars", "the", ", The", " ", "(", ")", "1977", "(1977)", "é", "50", "\n", "-"])
)


@pytest.fixture(scope="module")
def films(recommender):
    "Every movie as a dictionary."
    return list(recommender.movies.iter_rows(named=True))


def film(movie):
    "What tells a film from another; doubles are the same film."
    return movie["title"], movie["year"]


# What people type


@settings(max_examples=250, deadline=None)
@given(text=ANY_TEXT | PIECES.map("".join) | PIECES.map(" ".join))
@example(text="\udcff")  # what Python makes of a byte in an argument that is not UTF-8
@example(text="(" * 5000)
@example(text="9" * 5000)
@example(text="\u0130stanbul")
def test_any_text_is_found_or_refused_with_the_nearest_titles(text, recommender):
    found = recommender.search(text.strip(), 5)
    assert len(found) <= 5 and found.frame["score"].is_sorted(descending=True)
    try:
        row, _ = recommender.find(text)
    except MovieNotFound as error:
        assert len(str(error)) < 2000 and str(error).isprintable()
        if text.strip() and not text.strip().lstrip("-").isdecimal() and not isinstance(error, AmbiguousTitle):
            assert [m["movie_id"] for m in error.candidates] == found.frame["movie_id"].to_list()
    else:
        assert 0 <= row < 1682


@pytest.mark.parametrize(
    "movie",
    [None, True, 1.0, 0, -1, 10**30, pytest.param(10**5000, id="10**5000"), b"Fargo", [50], "", " ", "\0", "٣", "²"],
)
def test_what_is_no_movie_is_refused(movie, recommender):
    with pytest.raises(MovieNotFound, match="no movie"):
        recommender.find(movie)


@pytest.mark.parametrize("text", [None, 5, b"Fargo", ["Fargo"]])
def test_a_search_for_something_else_than_text_is_refused(text, recommender):
    with pytest.raises(QueryError):
        recommender.search(text)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": -1}, "k is -1"),
        ({"k": "ten"}, "k is 'ten'"),
        ({"k": 1.5}, "k is 1.5"),
        ({"k": True}, "k is True"),
        ({"k": None}, "k is None"),
        ({"method": "euclid"}, "method 'euclid'"),
        ({"method": 5}, "method 5"),
        ({"genres": "Comedy"}, "genre"),
        ({"genres": ["Comedie"]}, "did you mean Comedy"),
        ({"genres": [None]}, "genre None"),
        ({"genres": 5}, "genre"),
        ({"years": 1990}, "years is 1990"),
        ({"years": (1990,)}, "years is (1990,)"),
        ({"years": "90s"}, "years is '90s'"),
        ({"years": (1999, 1990)}, "the first year is after the last"),
        ({"years": ("1990", "1999")}, "years is ('1990', '1999')"),
        ({"years": (1990.5, None)}, "years is (1990.5, None)"),
    ],
    ids=str,
)
def test_a_question_that_cannot_be_answered_is_refused(question, words, recommender):
    with pytest.raises(QueryError, match=re.escape(words)):
        recommender.similar(1, **question)


@pytest.mark.parametrize("years", [(None, None), (None, 10**30), (-(10**30), None), (-(10**30), 10**30)], ids=str)
def test_a_limit_that_is_too_far_away_is_no_limit(years, recommender):
    everything = recommender.similar(1, k=10**30).frame.filter(pl.col("year").is_not_null())
    assert recommender.similar(1, 10**30, years=years).frame["movie_id"].equals(everything["movie_id"])


# Titles


def test_every_movie_is_found_by_its_title(recommender, films):
    assert [m["title"] for m in films if film(recommender.movie(recommender.find(m["title"])[0])) != film(m)] == []


@pytest.mark.parametrize(
    "spelling", [str.upper, str.lower, lambda title: f"  {title} "], ids=["upper", "lower", "spaces"]
)
def test_spelling_does_not_hide_a_title(spelling, recommender, films):
    lost = [m["title"] for m in films if film(recommender.movie(recommender.find(spelling(m["title"]))[0])) != film(m)]
    assert lost == []


def test_every_movie_is_found_by_its_plain_names_or_is_among_the_candidates(recommender, films):
    lost = []
    for movie in films:
        for name in title_names(movie["title"]):
            if name.isdecimal():  # digits are an id
                continue
            try:
                found = [recommender.movie(recommender.find(name)[0])]
            except AmbiguousTitle as error:
                found = error.candidates
            except MovieNotFound:
                found = []
            if film(movie) not in map(film, found):
                lost.append(name)
    assert lost == []


def test_every_movie_is_the_first_answer_to_its_plain_name(recommender, films):
    lost = []
    for movie in films[:500]:
        name = title_names(movie["title"])[0]
        first = recommender.search(name, 1).frame.row(0, named=True)
        if name not in title_names(first["title"]):
            lost.append((name, first["title"]))
    assert lost == []


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("what", ["title", "plain name"])
def test_one_typing_error_leaves_98_percent_of_titles_in_the_first_five(what, seed, recommender):
    chance, lost = random.Random(seed), []
    most_rated = recommender.movies.sort("n_ratings", "movie_id", descending=[True, False]).head(300)
    for movie in most_rated.iter_rows(named=True):
        text = movie["title"] if what == "title" else title_names(movie["title"])[0]
        i = chance.randrange(len(text))
        typed = text[:i] + chance.choice(["", chance.choice(string.ascii_lowercase)]) + text[i + 1 :]
        if film(movie) not in map(film, recommender.search(typed, 5).frame.to_dicts()):
            lost.append(typed)
    print(f"{300 - len(lost)} of 300 found; lost: {lost}")  # when this was written: 299 and 300
    assert len(lost) <= 6


# Filters and explanations

SOME_YEARS = st.none() | st.tuples(st.none() | st.integers(1920, 1960), st.none() | st.integers(1960, 2000))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_filtered_answer_is_the_whole_answer_filtered_then_cut(data, recommender):
    movie_id = data.draw(st.integers(1, 1682))
    method, k = data.draw(st.sampled_from(METHODS)), data.draw(st.sampled_from([1, 10, 2000]))
    genres = data.draw(st.none() | st.lists(st.sampled_from(recommender.genres), max_size=3, unique=True))
    years = data.draw(SOME_YEARS)
    wanted = recommender.similar(movie_id, 2000, method).frame
    if genres:
        wanted = wanted.filter(pl.col("genres").list.set_intersection(genres).list.len() > 0)
    if years is not None:
        low, high = years[0] or 0, years[1] or 9999
        wanted = wanted.filter(pl.col("year").is_between(low, high))  # an unknown year is in no range
    wanted = wanted.head(k)
    found = recommender.similar(movie_id, k, method, genres, years).frame
    assert found.drop("rank").equals(wanted.drop("rank"))
    assert found["rank"].to_list() == list(range(1, len(wanted) + 1))


@pytest.mark.parametrize("text", ["love", "star wars", "the man"])
def test_a_filtered_search_is_the_whole_search_filtered(text, recommender):
    whole = recommender.search(text, 2000).frame
    found = recommender.search(text, 2000, ["Comedy", "Drama"], (1990, 1996)).frame
    wanted = whole.filter(
        (pl.col("genres").list.contains("Comedy") | pl.col("genres").list.contains("Drama"))
        & pl.col("year").is_between(1990, 1996)
    )
    assert found.drop("rank").equals(wanted.drop("rank")) and 0 < len(found) < len(whole)


@pytest.mark.parametrize("method", METHODS)
def test_explanations_add_up_to_the_score(method, recommender):
    chance = random.Random(0)
    pairs = [(chance.randint(1, 1682), chance.randint(1, 1682)) for _ in range(300)] + [
        (267, 1),
        (1, 267),
        (267, 267),
        (5, 5),
    ]
    for movie, other in pairs:
        explained = recommender.explain(movie, other, method)
        parts = explained.frame["contribution"]
        assert abs(parts.sum() - explained.score) < 1e-12 and (parts >= 0).all()
        flags = [name for name, value in explained.frame.select("name", "value").iter_rows() if value == "both"]
        shared = set(explained.movie["genres"]) & set(explained.other["genres"])
        assert set(flags) == shared
        assert explained.score == recommender.explain(other, movie, method).score


@pytest.mark.parametrize("method", METHODS)
def test_the_explained_score_is_the_listed_one(method, recommender):
    for movie in (1, 50, 267, 1682):
        for item in recommender.similar(movie, 20, method).frame.iter_rows(named=True):
            explained = recommender.explain(movie, item["movie_id"], method)
            assert (explained.score, explained.why) == (item["score"], item["why"])


# Loading


def test_a_loaded_recommender_answers_as_the_one_in_memory(recommender, trained_root):
    loaded = Recommender.load(root=trained_root)
    assert loaded.movies.equals(recommender.movies) and loaded.index.step == recommender.index.step
    for movie in range(1, 1683, 40):
        for method in METHODS:
            assert loaded.similar(movie, 50, method).frame.equals(recommender.similar(movie, 50, method).frame)


def test_loading_and_answering_import_none_of_the_slow_libraries(trained_root):
    script = """
import sys
from movierec.recommender import Recommender
rec = Recommender.load(root=sys.argv[1])
rec.similar("Fargo (1996)", 5, "jaccard", ["Drama"], (1990, 1999)), rec.search("matrx"), rec.explain(1, 50)
print(repr(rec.similar(1)), rec.similar(1)._repr_markdown_(), rec.similar(1).to_dict(), file=sys.stderr)
print(*sorted({"sklearn", "scipy", "pandas", "matplotlib", "numba", "pyarrow"} & sys.modules.keys()))
"""
    command = [sys.executable, "-c", script, str(trained_root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr[-2000:]


# A catalogue of one's own

MOVIES = {
    "movie_id": [1, 2, 3],
    "title": ["One (1990)", "Two (1991)", "Three (1992)"],
    "year": [1990, 1991, 1992],
    "genres": [["x"], ["x", "y"], ["y"]],
}


def table(**changes):
    "A small catalogue with some of its columns replaced."
    return pl.DataFrame(MOVIES | changes, strict=False)


def use(rec):
    "Ask for everything there is to ask."
    for movie_id in rec.movies["movie_id"]:
        for method in rec.methods:
            rec.similar(movie_id, 5, method).to_dict()
        rec.similar(movie_id, 5, genres=rec.genres[:1], years=(None, 2000))
        rec.explain(movie_id, movie_id)
    rec.search("one"), rec.find("One (1990)")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("movie_id", [1, 1, 2]),
        ("movie_id", [None, 2, 3]),
        ("movie_id", [1.5, 2.0, 3.0]),
        ("movie_id", [True, False, None]),
        ("movie_id", [[1], [2], [3]]),
        ("title", ["One (1990)", None, "Three (1992)"]),
        ("title", [1, 2, 3]),
        ("title", [None, None, None]),
        ("year", ["1990", "1991", "soon"]),
        ("year", [float("nan"), 1990.0, 1991.0]),
        ("year", [float("inf"), 1990.0, 1991.0]),
        ("year", [1990.5, 1991.0, 1992.0]),
        ("year", [[1990], [1991], [1992]]),
        ("genres", ["x", "y", "z"]),
        ("genres", [["x"], None, ["y"]]),
        ("genres", [None, None, None]),
        ("genres", [["x"], [None], ["y"]]),
        ("genres", [[1], [2], [1]]),
    ],
    ids=str,
)
def test_a_column_that_is_not_what_it_should_be_is_refused_by_name(column, values):
    with pytest.raises(MovierecError, match=column.removesuffix("s")):
        use(Recommender.from_tables(table(**{column: values})))


@pytest.mark.parametrize(
    "ratings",
    [{}, {"user_id": [1]}, {"movie_id": ["1"]}, {"movie_id": [1.5]}, {"movie_id": [[1]]}],
    ids=str,
)
def test_ratings_that_name_no_movies_are_refused(ratings):
    with pytest.raises(MovierecError, match="movie_id"):
        Recommender.from_tables(table(), pl.DataFrame(ratings))


@pytest.mark.parametrize(
    "options",
    [
        {"year_weight": 0},
        {"year_weight": -1},
        {"year_weight": float("nan")},
        {"year_weight": float("inf")},
        {"year_weight": 1e300},
        {"year_weight": "heavy"},
        {"year_weight": None},
        {"methods": ()},
        {"methods": ("euclid",)},
        {"default_method": "euclid"},
        {"methods": ("jaccard",), "default_method": "cosine"},
        {"genres": ["x"]},
        {"genres": ["x", "y", "y"]},
    ],
    ids=str,
)
def test_an_option_that_is_not_what_it_should_be_is_refused(options):
    with pytest.raises(MovierecError):
        use(Recommender.from_tables(table(), **options))


@pytest.mark.parametrize("column", list(MOVIES))
def test_a_table_without_a_column_is_refused_by_name(column):
    with pytest.raises(MovierecError, match=column):
        Recommender.from_tables(table().drop(column))


def test_a_table_without_movies_is_refused():
    with pytest.raises(MovierecError, match="empty"):
        Recommender.from_tables(table().clear())


@pytest.mark.parametrize(
    "changes",
    [
        {"year": [None, None, None]},
        {"year": [1990, None, 1992]},
        {"year": pl.Series([1990, 1991, 1992], dtype=pl.UInt16)},
        {"year": [-50, 0, 476]},
        {"genres": [[], [], []]},
        {"genres": [["x", "x"], ["x"], []]},
        {"genres": pl.Series([["x"], ["y"], ["y"]], dtype=pl.List(pl.Categorical))},
        {"title": ["One (1990)", "", "()"]},
        {"title": ["One (1990)"] * 3, "year": [1990] * 3},
        {"movie_id": [-1, 0, 2**53]},
        {"movie_id": pl.Series([7, 8, 9], dtype=pl.UInt8)},
        {"extra": ["a", None, "b"]},
    ],
    ids=str,
)
def test_unusual_tables_are_fine(changes):
    movies = table(**changes)
    rec = Recommender.from_tables(movies, pl.DataFrame({"movie_id": [2, 2, 99]}, schema={"movie_id": pl.Int64}))
    use(rec)
    for movie_id, title in rec.movies.select("movie_id", "title").iter_rows():
        assert title not in rec.similar(movie_id, 5).frame["title"]
        row, _ = rec.find(movie_id)
        assert rec.movies["movie_id"][row] == movie_id


def test_one_movie_has_no_neighbours():
    rec = Recommender.from_tables(table().head(1))
    assert len(rec.similar(1)) == 0 and rec.similar(1).to_dict()["items"] == []


def test_years_too_far_apart_for_64_bits_are_refused_or_ranked_rightly():
    movies = pl.DataFrame(
        {
            "movie_id": [1, 2, 3, 4],
            "title": ["asked", "same", "no genre", "far"],
            "year": [0, 0, 4, 2**62],
            "genres": [["x"], ["x"], [], ["x", "y"]],
        }
    )
    ratings = pl.DataFrame({"movie_id": [3, 3, 3]})
    try:
        rec = Recommender.from_tables(movies, ratings)
    except MovierecError as error:
        assert "year" in str(error)
    else:
        assert rec.similar(1).frame["movie_id"].to_list() == [2, 4]
