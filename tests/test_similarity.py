"""The index against slower ways to the same answer, on real and random catalogues.

What is right is said by scikit-learn, rounded to 12 decimals, and one `lexsort`.
"""

import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import cosine_similarity

from movierec.catalogue import build_catalogue
from movierec.config import FeaturesConfig
from movierec.features import Block, Features, build_features
from movierec.neighbours import (
    STORED,
    build_neighbours,
    crowded_lists,
    nearest_lists,
)
from movierec.pruning import draw_catalogue, find_nearest, group_films, nearest_of_all
from movierec.similarity import (
    METHODS,
    Method,
    best_films,
    build_index,
    explain_pair,
    nearest_films,
    score_pairs,
    score_vectors,
    similarity_matrix,
)


def reference(features, method):
    "What scikit-learn says of all pairs; films without flags are like nothing."
    flags = features["genres"].values
    if method == "content":
        return by_parts(features)
    if method == "cosine":
        matrix = cosine_similarity(features.matrix)
    else:
        matrix = 1 - pairwise_distances(flags.astype(bool), metric="jaccard")
    return matrix.round(12) * np.outer(flags.any(1), flags.any(1))


def by_parts(features):
    "The weighted sum of what scikit-learn says of the parts of `content`."
    flags = features["genres"].values.any(1)
    cosines = [cosine_similarity(features.matrix) * np.outer(flags, flags)]
    people = features.used_in("content")
    extra = np.zeros((len(features), 1))  # scikit-learn takes no table without columns
    cosines += [
        cosine_similarity(np.hstack([block.values.toarray(), extra]))
        for block in people
    ]
    weights = np.array([1, *(block.weight for block in people)])
    return np.tensordot(weights / weights.sum(), cosines, 1).round(12)


def number_films(movies):
    "A number for each film, the same for entries with one title and year."
    films = list(movies.select("title", "year").iter_rows())
    number = {film: i for i, film in enumerate(films)}
    return np.array([number[film] for film in films])


def oracle(matrix, catalogue, row, allowed=None):
    "The whole list of a film by definition: pairs of row and score."
    movies, film = catalogue.movies, number_films(catalogue.movies)
    ids, n_ratings = movies["movie_id"].to_numpy(), movies["n_ratings"].to_numpy()
    return pairs(oracle_rows(matrix[row], ids, n_ratings, film, row, allowed))


def oracle_rows(scores, ids, n_ratings, film, row, allowed=None):
    "Its rows and scores, from arrays: one `lexsort`, and each film once."
    rows = np.lexsort((ids, -n_ratings, -scores))
    rows = rows[(scores[rows] > 0) & (film[rows] != film[row])]
    if allowed is not None:
        rows = rows[allowed[rows]]
    rows = rows[np.sort(np.unique(film[rows], return_index=True)[1])]
    return rows, scores[rows]


def pairs(answer):
    "Rows and scores as a list of pairs."
    return list(zip(answer[0].tolist(), answer[1].tolist(), strict=True))


def index_of(features, catalogue, method):
    "The index by a method."
    return build_index(
        features, METHODS[method], catalogue.tie_place, catalogue.film_of
    )


def same_list(found, expected):
    "Whether two lists have the same films in the same order, with the same scores."
    return [i for i, _ in found] == [i for i, _ in expected] and np.allclose(
        [s for _, s in found], [s for _, s in expected], rtol=0, atol=2e-12
    )


def same_arrays(found, rows, scores):
    "The same, of rows and scores."
    of_rows, of_scores = found
    return (
        np.array_equal(of_rows, rows)
        and np.abs(of_scores - scores).max(initial=0) <= 2e-12
    )


@pytest.fixture(scope="module")
def catalogue(dataset):
    "The films of MovieLens 100k."
    return build_catalogue(dataset.movies, dataset.ratings, dataset.genres)


@pytest.fixture(scope="module")
def features(dataset):
    "Their features, with the default weight of the year."
    return build_features(dataset.movies, dataset.genres)


@pytest.fixture(scope="module", params=METHODS)
def exact(request, features, catalogue):
    "An index over MovieLens 100k, and the whole list of every film by definition."
    matrix = reference(features, request.param)
    movies, film = catalogue.movies, number_films(catalogue.movies)
    ids, n_ratings = movies["movie_id"].to_numpy(), movies["n_ratings"].to_numpy()
    decides = ids, n_ratings, film
    lists = [oracle_rows(of, *decides, row) for row, of in enumerate(matrix)]
    return index_of(features, catalogue, request.param), lists, matrix


# Every film of MovieLens


def test_the_whole_ranking_of_every_film_is_the_oracle(exact):
    index, lists, _ = exact
    n = len(lists)
    assert n == 1682
    wrong = [
        i for i in range(n) if not same_arrays(nearest_films(index, i, n), *lists[i])
    ]
    assert wrong == []


def test_a_smaller_k_is_the_head_of_the_whole_ranking(exact):
    index, lists, _ = exact
    for row in range(0, len(lists), 5):
        rows, scores = nearest_films(index, row, 1682)
        for k in (1, 10, 100):
            found = nearest_films(index, row, k)
            assert np.array_equal(found[0], rows[:k]), (row, k)
            assert np.array_equal(found[1], scores[:k]), (row, k)


@pytest.mark.parametrize("weight", [0.01, 0.03, 0.1, 0.37, 1])
def test_the_ten_nearest_are_the_oracle_at_every_year_weight(
    weight, dataset, catalogue
):
    features = build_features(
        dataset.movies, dataset.genres, FeaturesConfig(year_weight=weight)
    )
    index, matrix = (
        index_of(features, catalogue, "cosine"),
        reference(features, "cosine"),
    )
    for row in range(0, 1682, 7):
        found = pairs(nearest_films(index, row, 10))
        assert same_list(found, oracle(matrix, catalogue, row)[:10]), row


def test_all_ways_to_a_score_agree(exact, features):
    index, _, matrix = exact
    assert np.abs(similarity_matrix(features, index.method) - matrix).max() <= 2e-12
    everything = np.arange(len(matrix))
    vectors = score_vectors(index, index.flags_of(slice(None)), index.numbers)
    for row in range(0, len(matrix), 11):
        of_row = score_pairs(index, row, everything)
        assert np.abs(of_row - matrix[row]).max() <= 2e-12
        assert (of_row == vectors[index.vector_of[row]][index.vector_of]).all()
        for other in (0, 266, row):
            parts = explain_pair(index, row, other)[2]
            assert abs(parts.sum() - of_row[other]) < 2e-12 and (parts >= 0).all()


def test_the_stored_lists_are_exact_for_every_film(exact):
    index, lists, _ = exact
    neighbours = build_neighbours(index)
    for row, (rows, scores) in enumerate(lists):
        assert neighbours.look_up(row, STORED - 2) == rows[: STORED - 2].tolist(), row
        assert same_arrays(neighbours.nearest(row, 10), rows[:10], scores[:10]), row
        if len(rows) > 40:
            assert neighbours.look_up(row, 40) is None
            assert np.array_equal(neighbours.nearest(row, 40)[0], rows[:40])


def test_a_filtered_list_is_what_the_oracle_allows(exact, catalogue):
    index, _, matrix = exact
    neighbours, rng = build_neighbours(index), np.random.default_rng(2)
    for row in range(0, 1682, 13):
        allowed = rng.random(1682) < 0.2
        before, expected = allowed.copy(), oracle(matrix, catalogue, row, allowed)[:25]
        assert same_list(pairs(neighbours.nearest(row, 25, allowed)), expected)
        assert (allowed == before).all()


# Random catalogues

SPANS = [1, 2, 10, 21, 76]  # years; short ranges are dense with ties


@st.composite
def catalogues(draw):
    """Films with few genres, years, titles and ratings: ties and doubles abound. They
    are made from a number, since hypothesis would draw for longer than they are tested.
    """
    rng = random.Random(draw(st.integers(0, 2**32)))
    genres = [f"g{j}" for j in range(rng.randint(1, 6))]
    span = range(1990, 1991 + rng.choice(SPANS))
    rare = [1995], [None], [None, 1922, 1995, 1998], [0, 1, 9999]
    years = rng.choice([*rare, span, [*span, None]])

    def film():
        return rng.sample(genres, rng.randint(0, len(genres))), rng.choice(years)

    pool = [film() for _ in range(rng.randint(1, 8))]
    films = [rng.choice([rng.choice(pool), film()]) for _ in range(rng.randint(1, 40))]
    ids = rng.sample(range(1, len(films) + 1), len(films))
    movies = pl.DataFrame(
        {
            "movie_id": ids,
            "title": [f"Film {rng.randint(0, 60)}" for _ in films],
            "year": [year for _, year in films],
            "genres": [names for names, _ in films],
        },
        schema_overrides={"genres": pl.List(pl.String), "year": pl.Int64},
    )
    if rng.random() < 0.5:
        for column in ("directors", "cast", "kinds"):
            named = [rng.choices("ABCDE", k=rng.randint(0, 3)) for _ in films]
            names = pl.Series(column, named, dtype=pl.List(pl.String))
            movies = movies.with_columns(names)
    rated = pl.DataFrame(
        {"movie_id": [i for i in ids for _ in range(i % 3)]}, {"movie_id": pl.Int64}
    )
    weight = rng.choice([0.01, 0.05, 0.1, 1 / 3, 0.5, 1, *[rng.uniform(0.01, 1)] * 4])
    return movies, rated, genres, weight


def built(movies, rated, genres, weight):
    "The catalogue and the features of a drawn table."
    catalogue = build_catalogue(movies, rated, genres)
    return catalogue, build_features(movies, genres, FeaturesConfig(year_weight=weight))


def agrees(found, matrix, catalogue, row, allowed=None):
    """Whether a list is the oracle's, but for films at a boundary of the rounding.

    Two ways to compute a cosine may differ by 1e-16, and then one in ten thousand is
    rounded up by one and down by the other. So scores may differ by 1e-12, and where
    they do, films whose scores are that near may change places.
    """
    expected = oracle(matrix, catalogue, row, allowed)
    if [i for i, _ in found] == [i for i, _ in expected[: len(found)]]:
        return True
    scores = np.array([s for _, s in expected[: len(found)]])
    return np.allclose([s for _, s in found], scores, rtol=0, atol=2e-12)


@settings(max_examples=200)
@given(catalogues(), st.data())
def test_on_random_catalogues_the_index_is_the_oracle(drawn, data):
    catalogue, features = built(*drawn)
    n = len(catalogue.movies)
    row, k = data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, n + 2))
    allowed = np.random.default_rng(data.draw(st.integers(0, 99))).random(n) < 0.5
    for method in METHODS:
        matrix, index = (
            reference(features, method),
            index_of(features, catalogue, method),
        )
        found = pairs(nearest_films(index, row, k))
        assert len(found) == min(k, len(oracle(matrix, catalogue, row)))
        assert agrees(found, matrix, catalogue, row)
        filtered = pairs(nearest_films(index, row, k, allowed))
        assert agrees(filtered, matrix, catalogue, row, allowed)
        assert pairs(build_neighbours(index).nearest(row, k)) == found
        assert pairs(build_neighbours(index).nearest(row, k, allowed)) == filtered


@settings(max_examples=60)
@given(catalogues(), st.integers(1, 6))
def test_on_random_catalogues_the_pruned_lists_are_the_index(drawn, length):
    catalogue, features = built(*drawn)
    for film_of in (catalogue.film_of, np.arange(len(catalogue.movies))):
        index = build_index(features, METHODS["cosine"], catalogue.tie_place, film_of)
        lists = nearest_of_all(index, length)
        crowded = set(crowded_lists(lists, film_of).tolist())
        vectors = score_vectors(index, index.flags_of(slice(None)), index.numbers)
        for v, scores in enumerate(vectors):
            rows = lists[v][lists[v] >= 0].tolist()
            assert (len({*film_of[rows]}) < len(rows)) == (v in crowded)
            if v not in crowded:
                assert rows == best_films(index, scores, length)[0].tolist()


@settings(max_examples=60)
@given(catalogues(), st.data())
def test_the_order_of_the_catalogue_does_not_matter(drawn, data):
    movies, rated, genres, weight = drawn
    shuffled = movies.sample(
        fraction=1, shuffle=True, seed=data.draw(st.integers(0, 99))
    )
    asked = data.draw(st.sampled_from(movies["movie_id"].to_list()))
    k = data.draw(st.integers(1, len(movies)))
    for method in METHODS:
        answers = []
        for table in (movies, shuffled):
            catalogue, features = built(table, rated, genres, weight)
            ids = table["movie_id"].to_list()
            found = nearest_films(
                index_of(features, catalogue, method), ids.index(asked), k
            )
            answers.append([(ids[row], score) for row, score in pairs(found)])
        assert answers[0] == answers[1]


def test_films_without_genres_are_like_nothing():
    movies = pl.DataFrame(
        {
            "movie_id": [1, 2, 3],
            "title": ["A", "B", "C"],
            "year": [1990, 1990, 1995],
            "genres": [[], [], ["x"]],
        },
        schema_overrides={"genres": pl.List(pl.String)},
    )
    catalogue, features = built(movies, movies.head(0), ["x"], 0.1)
    for method in METHODS:
        index = index_of(features, catalogue, method)
        assert [len(nearest_films(index, row, 5)[0]) for row in range(3)] == [0, 0, 0]
        assert similarity_matrix(features, METHODS[method])[:2].max() == 0
        assert score_pairs(index, 0, np.arange(3)).tolist() == [0, 0, 0]
        assert explain_pair(index, 0, 1)[2].sum() == 0


# Other blocks, and large catalogues


def test_numbers_that_tell_all_films_apart_and_sparse_flags_are_exact(
    catalogue, features
):
    rng = np.random.default_rng(0)
    n = len(catalogue.movies)
    words = Block("words", tuple(map(str, range(30))), rng.random((n, 30)), False)
    people = csr_array((rng.random((n, 200)) < 0.02).astype(np.uint8))
    made = Block("people", tuple(f"p{i}" for i in range(200)), people, True)
    more = Features((*features.blocks, words, made))
    everything = Method("everything", METHODS["cosine"].divisor)
    matrix = cosine_similarity(
        np.hstack([features.matrix, words.values, people.toarray()])
    )
    index = build_index(more, everything, catalogue.tie_place, catalogue.film_of)
    assert len(index.set_of) == n  # no vector twice
    neighbours = build_neighbours(index)
    for row in range(0, n, 41):
        found = pairs(neighbours.nearest(row, 10))
        assert found == pairs(nearest_films(index, row, 10))
        assert agrees(found, matrix.round(12), catalogue, row)
    assert np.abs(similarity_matrix(more, everything) - matrix).max() < 2e-12


def made_up(genre_flags, n):
    "The index of cosines over a made-up catalogue."
    flags, years = draw_catalogue(genre_flags, n)
    scaled = 0.1 * (years - years.min()) / (years.max() - years.min())
    genres = Block("genres", tuple(map(str, range(19))), flags, True)
    blocks = genres, Block("year", ("year",), scaled[:, None], False, 0.1)
    return build_index(Features(blocks), METHODS["cosine"], np.arange(n), np.arange(n))


def test_lists_of_a_large_catalogue_are_exact_both_ways(features, monkeypatch):
    index = made_up(features["genres"].values, 62_423)
    pruned = nearest_of_all(index, STORED)
    rng, groups = np.random.default_rng(5), group_films(index)
    for v in rng.integers(len(index.set_of), size=400).tolist():
        scores = score_vectors(index, index.flags_of([v]), index.numbers[[v]])[0]
        exact = best_films(index, scores, STORED)[0].tolist()
        assert pruned[v][pruned[v] >= 0].tolist() == exact, v
    plain = find_nearest.py_func if hasattr(find_nearest, "py_func") else find_nearest
    monkeypatch.setattr(
        "movierec.pruning.visit", getattr(visit_of(), "py_func", visit_of())
    )
    cosine = METHODS["cosine"]
    for v in rng.integers(len(index.set_of), size=30).tolist():
        asked = groups, int(index.set_of[v]), float(index.numbers[v, 0]), STORED
        places = plain(cosine.divisor, cosine.reach, *asked)
        assert places[places >= 0].tolist() == pruned[v][pruned[v] >= 0].tolist(), v


def visit_of():
    "The function that `find_nearest` calls."
    from movierec.pruning import visit

    return visit


def test_a_catalogue_with_many_vectors_is_pruned_and_each_film_stands_once(
    features, catalogue, monkeypatch
):
    index = build_index(
        features, METHODS["cosine"], catalogue.tie_place, catalogue.film_of
    )
    expected = nearest_lists(index)
    monkeypatch.setattr("movierec.neighbours.MANY", 100)
    asked = []
    real = nearest_of_all
    monkeypatch.setattr(
        "movierec.pruning.nearest_of_all",
        lambda *args: asked.append(args) or real(*args),
    )
    assert (nearest_lists(index) == expected).all() and len(asked) == 1
    assert len(crowded_lists(real(index, STORED), catalogue.film_of)) > 0
