"The films: tables as people bring them, filters, and what somebody has rated."

import random
import re

import numpy as np
import polars as pl
import pytest
from conftest import THREE, UNUSUAL, table
from hypothesis import given, settings
from hypothesis import strategies as st

from movierec.catalogue import (
    build_catalogue,
    checked_ratings,
    filter_mask,
    look_up_excluded,
    tie_order,
    with_rating_counts,
)
from movierec.config import MovierecError, QueryError
from movierec.titles import AmbiguousTitle, MovieNotFound, first_of_each, number_films


@pytest.fixture(scope="module")
def catalogue(dataset):
    "MovieLens 100k."
    return build_catalogue(dataset.movies, dataset.ratings, dataset.genres)


# A table of one's own


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("movie_id", [1, 1, 2]),
        ("movie_id", [None, 2, 3]),
        ("movie_id", [1.5, 2.0, 3.0]),
        ("movie_id", [True, False, None]),
        ("movie_id", [[1], [2], [3]]),
        ("movie_id", pl.Series([1, 2, 2**64 - 1], dtype=pl.UInt64)),
        ("title", ["One (1990)", None, "Three (1992)"]),
        ("title", [1, 2, 3]),
        ("title", [None, None, None]),
        ("year", ["1990", "1991", "soon"]),
        ("year", [float("nan"), 1990.0, 1991.0]),
        ("year", [float("inf"), 1990.0, 1991.0]),
        ("year", [1990.5, 1991.0, 1992.0]),
        ("year", [[1990], [1991], [1992]]),
        ("year", [1990, 1991, 10_000]),
        ("year", [1990, 1991, -10_000]),
        ("year", [1990, 1991, 2**62]),
        ("genres", ["x", "y", "z"]),
        ("genres", [["x"], None, ["y"]]),
        ("genres", [None, None, None]),
        ("genres", [["x"], [None], ["y"]]),
        ("genres", [[1], [2], [1]]),
    ],
    ids=str,
)
def test_a_column_that_is_not_what_it_should_be_is_refused_by_name(column, values):
    with pytest.raises(MovierecError, match=column):
        build_catalogue(table(**{column: values}))


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("title", ["a", "b", None], "row 3: nothing there; expected text"),
        ("year", [1990, 12345, None], "row 2: 12345; expected whole numbers"),
        ("genres", [["x"], ["y", None], []], "row 2: ['y', None]; expected lists"),
        ("movie_id", ["1", "2", "3"], "holds String; expected whole numbers"),
    ],
)
def test_what_is_wrong_with_a_column_is_said_with_its_row(column, values, words):
    with pytest.raises(MovierecError, match=re.escape(words)):
        build_catalogue(table(**{column: values}))


@pytest.mark.parametrize("column", list(THREE))
def test_a_table_without_a_column_is_refused_by_name(column):
    with pytest.raises(MovierecError, match=f"no column '{column}'"):
        build_catalogue(table().drop(column))


def test_a_table_without_movies_and_no_table_are_refused():
    with pytest.raises(MovierecError, match="empty"):
        build_catalogue(table().clear())
    with pytest.raises(MovierecError, match="expected a polars DataFrame"):
        build_catalogue(THREE)


@pytest.mark.parametrize(
    "genres", [["x"], ["x", "y", "y"], [], "xyx", ["x", "Y"]], ids=str
)
def test_genres_that_do_not_fit_the_movies_are_refused(genres):
    with pytest.raises(MovierecError, match="genre"):
        build_catalogue(table(), genres=genres)


@pytest.mark.parametrize(
    "ratings",
    [
        {},
        {"user_id": [1]},
        {"movie_id": ["1"]},
        {"movie_id": [1.5]},
        {"movie_id": [[1]]},
        {"movie_id": [None]},
    ],
    ids=str,
)
def test_ratings_that_name_no_movies_are_refused(ratings):
    with pytest.raises(MovierecError, match="movie_id"):
        build_catalogue(table(), pl.DataFrame(ratings))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rating": [0.4, 5.0]}, "row 1: 0.4"),
        ({"rating": [5.0, 5.1]}, "row 2: 5.1"),
        ({"rating": [5.0, float("nan")]}, "row 2: nan"),
        ({"rating": [5, None]}, "row 2: nothing there"),
        ({"rating": ["5", "4"]}, "holds String"),
        ({"user_id": [1, None]}, "row 2: nothing there"),
        ({"user_id": ["a", "b"]}, "holds String"),
        ({"movie_id": [1, 1]}, "user 7 has rated movie 1 twice"),
    ],
    ids=str,
)
def test_ratings_that_cannot_be_learned_from_are_refused(changes, words):
    rated = {"user_id": [7, 7], "movie_id": [1, 2], "rating": [5.0, 0.5]}
    ids = pl.Series([1, 2])
    assert len(checked_ratings(pl.DataFrame(rated), ids)) == 2
    with pytest.raises(MovierecError, match=re.escape(words)):
        checked_ratings(pl.DataFrame(rated | changes, strict=False), ids)


def test_ratings_of_unknown_movies_are_left_out_and_nothing_is_none():
    rated = pl.DataFrame({"user_id": [7, 7], "movie_id": [1, 99], "rating": [5, 4]})
    assert checked_ratings(rated, pl.Series([1, 2])).rows() == [(7, 1, 5.0)]
    assert checked_ratings(rated, pl.Series([2])) is None
    assert checked_ratings(rated.select("movie_id"), pl.Series([1])) is None
    assert checked_ratings(None, pl.Series([1])) is None
    for column in ("user_id", "rating"):
        with pytest.raises(MovierecError, match="no column"):
            checked_ratings(rated.drop(column), pl.Series([1]))


@pytest.mark.parametrize("changes", UNUSUAL, ids=str)
def test_unusual_tables_are_fine(changes):
    movies = table(**changes)
    ratings = pl.DataFrame({"movie_id": [2, 2, 99]}, schema={"movie_id": pl.Int64})
    catalogue = build_catalogue(movies, ratings)
    assert catalogue.movies["movie_id"].to_list() == movies["movie_id"].to_list()
    assert catalogue.genres == tuple(sorted({g for gs in movies["genres"] for g in gs}))
    for row, movie_id in enumerate(catalogue.movies["movie_id"]):
        record = catalogue.record(row)
        assert (
            catalogue.row_of[movie_id] == row == catalogue.title_index.find(movie_id)[0]
        )
        assert record["genres"] == movies["genres"].to_list()[row]
        assert record["n_ratings"] == 2 * (movie_id == 2)
        for genre in catalogue.genres:
            assert catalogue.has_genre[genre][row] == (genre in record["genres"])
    assert catalogue.allowed(None, (None, None)).sum() == movies["year"].count()
    assert catalogue.allowed([], None) is None


# Popularity, and films that stand twice


@settings(max_examples=100)
@given(counts=st.lists(st.integers(0, 3), min_size=1, max_size=12), seed=st.integers())
def test_the_order_of_popularity_is_by_ratings_then_by_id(counts, seed):
    ids = random.Random(seed).sample(range(100), len(counts))
    rows = sorted(range(len(ids)), key=lambda row: (-counts[row], ids[row]))
    assert tie_order(counts, ids).tolist() == rows


def test_counts_and_places_are_those_of_the_ratings(catalogue, dataset):
    counted = dataset.ratings["movie_id"].value_counts(name="n")
    counts = dict(counted.iter_rows())
    shown = catalogue.movies.select("movie_id", "n_ratings").rows()
    assert all(n == counts.get(movie_id, 0) for movie_id, n in shown)
    assert catalogue.order[catalogue.tie_place].tolist() != catalogue.order.tolist()
    assert catalogue.order[0] == catalogue.row_of[50] and catalogue.tie_place[49] == 0
    assert catalogue.tie_place[catalogue.order].tolist() == list(range(1682))
    assert with_rating_counts(dataset.movies, None)["n_ratings"].sum() == 0


def test_entries_of_one_film_have_one_number_and_know_each_other(catalogue, dataset):
    films = list(dataset.movies.select("title", "year").iter_rows())
    for row, film in enumerate(films):
        others = [i for i, other in enumerate(films) if other == film and i != row]
        assert catalogue.doubles.get(row, []) == others
        assert (catalogue.film_of == catalogue.film_of[row]).sum() == 1 + len(others)
    assert len(catalogue.doubles) == 36


def test_the_same_title_in_another_year_is_another_film():
    years = pl.Series([1990, None, 1990, None, 1991], dtype=pl.Int64)
    movies = pl.DataFrame({"title": ["X"] * 5, "year": years})
    assert number_films(movies).tolist() == [0, 1, 0, 1, 2]


@settings(max_examples=100)
@given(film_of=st.lists(st.integers(0, 4), min_size=1, max_size=10), seed=st.integers())
def test_of_each_film_the_first_entry_stays(film_of, seed):
    rows = random.Random(seed).sample(range(len(film_of)), len(film_of))
    first, seen = [], set()
    for row in rows:
        if film_of[row] not in seen:
            first.append(row)
        seen.add(film_of[row])
    assert first_of_each(np.array(rows), np.array(film_of)).tolist() == first


def test_a_record_is_nobody_elses(catalogue):
    record = catalogue.record(0)
    record["genres"].append("x")
    record["title"] = "x"
    assert catalogue.record(0)["genres"] == ["Animation", "Children's", "Comedy"]
    assert catalogue.record(0)["title"] == catalogue.titles[0] == "Toy Story (1995)"


# Filters


@settings(max_examples=60)
@given(data=st.data())
def test_a_filter_lets_pass_what_polars_does(data, catalogue):
    genres = data.draw(
        st.none() | st.lists(st.sampled_from(catalogue.genres), max_size=3, unique=True)
    )
    low = data.draw(st.none() | st.integers(1920, 1960))
    high = data.draw(st.none() | st.integers(1960, 2000))
    years = data.draw(st.sampled_from([None, (low, high)]))
    wanted = pl.lit(True)
    if genres:
        wanted = pl.col("genres").list.set_intersection(genres).list.len() > 0
    if years is not None:  # an unknown year is in no range
        between = pl.col("year").is_between(low or 0, high or 9999).fill_null(False)
        wanted = wanted & between
    mask = catalogue.movies.select(pl.repeat(True, pl.len()) & wanted).to_series()
    found = catalogue.allowed(genres, years)
    assert mask.all() if found is None else found.tolist() == mask.to_list()


@pytest.mark.parametrize(
    "years",
    [(None, None), (None, 10**30), (-(10**30), None), (-(10**30), 10**30)],
    ids=str,
)
def test_a_limit_that_is_too_far_away_is_no_limit(years, catalogue):
    assert catalogue.allowed(years=years).sum() == 1681


def test_the_first_and_the_last_year_count(catalogue):
    mask = filter_mask({}, np.array([1990, 1991, 1992, np.nan]), years=(1990, 1991))
    assert mask.tolist() == [True, True, False, False]
    shown = catalogue.movies.filter(catalogue.allowed(years=(1939, 1939)))
    assert set(shown["year"]) == {1939}


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"genres": "Comedy"}, "genres is 'Comedy', expected a list"),
        (
            {"genres": ["Comedie"]},
            "genre 'Comedie' is not known (did you mean Comedy?)",
        ),
        ({"genres": ["Drama", None]}, "genre None"),
        ({"genres": 5}, "genres is 5"),
        ({"years": 1990}, "years is 1990"),
        ({"years": (1990,)}, "years is (1990,)"),
        ({"years": "90s"}, "years is '90s'"),
        ({"years": (1999, 1990)}, "the first year is after the last"),
        ({"years": ("1990", "1999")}, "years is ('1990', '1999')"),
        ({"years": (1990.5, None)}, "years is (1990.5, None)"),
    ],
    ids=str,
)
def test_a_filter_that_cannot_be_is_refused(question, words, catalogue):
    with pytest.raises(QueryError, match=re.escape(words)) as caught:
        catalogue.allowed(**question)
    assert [caught.value.parameter] == list(question)


# What somebody has rated


def test_ratings_become_rows_and_stars_whatever_their_order(catalogue):
    for ratings in (
        {"Fargo": 5, 50: 0.5},
        {np.int64(50): np.float64(0.5), "id:100": 5},
    ):
        rows, stars, notes = catalogue.look_up_ratings(ratings)
        assert (rows.tolist(), stars.tolist(), notes) == ([49, 99], [0.5, 5], [])
    rows, stars, notes = catalogue.look_up_ratings({"Chasing Amy": 2})
    assert (rows.tolist(), stars.tolist(), len(notes)) == ([267], [2], 1)
    assert [len(part) for part in catalogue.look_up_ratings({})] == [0, 0, 0]


@pytest.mark.parametrize(
    "ratings",
    [
        {"Fargo": 5, 100: 4},
        {"Fargo": 5, "fargo (1996)": 5},
        {100: 5, "id:100": 5},
        {"Chasing Amy": 5, 246: 4},
        {246: 4, "Chasing Amy": 5},
        {268: 4, 246: 4, "Chasing Amy": 5},
    ],
    ids=str,
)
def test_a_film_that_is_named_twice_is_refused(ratings, catalogue):
    with pytest.raises(QueryError, match=r"is rated twice: as .* and as") as caught:
        catalogue.look_up_ratings(ratings)
    assert caught.value.parameter == "ratings"


def test_two_entries_of_a_film_are_told_apart_by_id(catalogue, dataset):
    rows, stars, _ = catalogue.look_up_ratings({268: 5, 246: 3})
    assert (rows.tolist(), stars.tolist()) == ([245, 267], [3, 5])
    for user_id in range(1, 944, 20):  # whatever people have rated can be asked about
        rated = dataset.ratings.filter(user_id=user_id).select("movie_id", "rating")
        rows, stars, notes = catalogue.look_up_ratings(dict(rated.iter_rows()))
        ids = catalogue.movies["movie_id"][rows].to_list()
        assert dict(zip(ids, stars.tolist(), strict=True)) == dict(rated.iter_rows())
        assert notes == []


@pytest.mark.parametrize(
    "stars", [0, 0.49, 5.01, -1, "5", None, True, float("nan"), [5]], ids=str
)
def test_stars_out_of_range_are_refused(stars, catalogue):
    with pytest.raises(QueryError, match="the rating of 'Fargo' is") as caught:
        catalogue.look_up_ratings({"Fargo": stars})
    assert caught.value.parameter == "ratings"


@pytest.mark.parametrize("ratings", [[5], "Fargo", None, 5, {"Fargo"}], ids=str)
def test_ratings_that_are_no_mapping_are_refused(ratings, catalogue):
    with pytest.raises(QueryError, match="ratings is") as caught:
        catalogue.look_up_ratings(ratings)
    assert caught.value.parameter == "ratings"


@pytest.mark.parametrize("exclude", ["Fargo", None, 5, {"Fargo": 5}], ids=str)
def test_movies_to_leave_out_that_are_no_list_are_refused(exclude, catalogue):
    with pytest.raises(QueryError, match="exclude is") as caught:
        look_up_excluded(exclude, catalogue.title_index)
    assert caught.value.parameter == "exclude"


def test_an_unknown_title_says_where_it_stands(catalogue):
    for parameter, ask in (
        ("ratings", lambda title: catalogue.look_up_ratings({title: 5})),
        ("exclude", lambda title: look_up_excluded([50, title], catalogue.title_index)),
    ):
        for title, kind in (("Fargoo", MovieNotFound), ("sabrina", AmbiguousTitle)):
            with pytest.raises(kind) as caught:
                ask(title)
            assert caught.value.parameter == parameter and caught.value.candidates


def test_movies_to_leave_out_become_rows(catalogue):
    rows = look_up_excluded(["Fargo", 50, "id:50"], catalogue.title_index)
    assert rows.tolist() == [99, 49, 49]
    assert look_up_excluded((), catalogue.title_index).dtype == np.int64
