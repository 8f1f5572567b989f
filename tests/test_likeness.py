"Likeness: `liked` against its formula, exactly, with filters, doubles and ties."

import numpy as np
import polars as pl
import pytest
from conftest import QUICK
from hypothesis import given, settings
from hypothesis import strategies as st

from movierec.config import LikenessConfig, QueryError, TasteConfig
from movierec.data import grade
from movierec.likeness import (
    LEAST_RATERS,
    build_likeness,
    count_both,
    explain_liked,
    keep_nearest,
    kind_vectors,
    liked_neighbours,
    liked_scores,
    why_liked,
)
from movierec.recommender import Recommender
from movierec.similarity import METHODS, check_methods, method_names


def by_the_book(table, flags, config):
    "The formula of the chapter, with plain loops over films."
    signals, n_movies = grade(table), len(flags)
    n = np.maximum((table > 0).sum(0), 1)
    counts = sorted((table > 0).sum(0))
    m = max(
        next(
            c for i, c in enumerate(counts) if sum(counts[: i + 1]) >= sum(counts) / 2
        ),
        1,
    )
    told = [np.log(n_movies / max(flags[:, g].sum(), 1)) for g in range(flags.shape[1])]
    scores = np.zeros((n_movies, n_movies))
    for i in range(n_movies):
        for j in range(n_movies):
            a, b = signals[:, i], signals[:, j]
            divisor = np.linalg.norm(a) * np.linalg.norm(b) + config.shrinkage
            liking = a @ b / divisor if divisor else 0
            shared = sum(
                (t / np.log(n_movies)) ** 2
                for t, x, y in zip(told, flags[i], flags[j], strict=True)
                if x and y
            )
            sizes = max(flags[i].sum(), 1) * max(flags[j].sum(), 1)
            damping = (m * m / (n[i] * n[j])) ** config.damping
            scores[i, j] = liking * damping + shared / np.sqrt(sizes)
    return scores


@pytest.fixture
def small():
    "A small index, with its table, flags, tie order and doubles."
    rng = np.random.default_rng(5)
    table = np.where(rng.random((40, 15)) < 0.4, rng.integers(1, 6, (40, 15)), 0)
    table[:, 13:] = 0  # nobody has rated these
    flags = rng.random((15, 4)) < 0.4
    flags[3] = False
    tie_place, film_of = rng.permutation(15), np.arange(15)
    film_of[7] = 2  # 2 and 7 are one film
    users, rows = np.nonzero(table)
    config = LikenessConfig(shrinkage=3, damping=0.3)
    kinds = kind_vectors(flags)
    given_ = users * 3 + 1, rows, table[users, rows], kinds, tie_place, film_of
    return build_likeness(*given_, config), table, flags


def test_scores_are_those_of_the_formula_and_symmetric(small):
    index, table, flags = small
    every = liked_scores(index, np.arange(15))
    assert np.allclose(every, by_the_book(table, flags, index.config), atol=1e-11)
    assert np.array_equal(every, every.T)
    for row in range(15):  # alone as in a block
        assert np.array_equal(liked_scores(index, np.array([row]))[0], every[row])


def test_the_nearest_are_those_of_a_plain_sort(small):
    index, _, _ = small
    near, every = (
        liked_neighbours(keep_nearest(index)),
        liked_scores(index, np.arange(15)),
    )
    rng = np.random.default_rng(0)
    for row in range(15):
        for allowed in (None, rng.random(15) < 0.6):
            films, expected = {index.film_of[row]}, []
            order = sorted(
                range(15), key=lambda j: (-every[row, j], index.tie_place[j])
            )
            for other in order:
                fits = allowed is None or allowed[other]
                film = index.film_of[other]
                if fits and every[row, other] > 0 and film not in films:
                    films.add(film)
                    expected.append(other)
            for k in (1, 4, 40):
                rows, scores = near.nearest(row, k, allowed)
                assert rows.tolist() == expected[:k]
                assert scores.tolist() == every[row, expected[:k]].tolist()


def test_contributions_are_additive_for_300_pairs_by_every_method(recommender):
    ids = recommender.movies["movie_id"].to_list()
    pairs = np.random.default_rng(3).choice(ids, (300, 2)).tolist()
    for method in recommender.neighbours:
        for movie, other in pairs:
            explained = recommender.explain(movie, other, method)
            assert abs(explained.frame["contribution"].sum() - explained.score) < 1e-6
        found = recommender.similar(pairs[0][0], 1, method).items[0]
        assert (
            recommender.explain(pairs[0][0], found["movie_id"], method).score
            == (found["score"])
        )


def test_a_part_for_each_kind_of_rater_and_each_shared_genre(small):
    index, table, flags = small
    for row, other in ((0, 1), (2, 2), (3, 14), (13, 14)):
        parts = explain_liked(index, row, other, ["a", "b", "c", "d"])
        total = sum(part for _, _, part in parts)
        assert abs(total - liked_scores(index, np.array([row]))[0, other]) < 1e-9
        both = [table[:, i] for i in (row, other)]
        rated = int(((both[0] > 0) & (both[1] > 0)).sum())
        people = [int(what.split()[0]) for _, what, _ in parts[:3]]
        assert sum(people) == rated == count_both(index, row, np.array([other]))[0, 0]
        shared = {"abcd"[g] for g in np.flatnonzero(flags[row] & flags[other])}
        assert {name for name, what, _ in parts if what == "both"} == shared


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_the_reason_is_never_of_a_handful(both, loved):
    said = why_liked(both, min(both, loved))
    assert (said is None) == (both < LEAST_RATERS or min(both, loved) == 0)


def test_reasons_count_the_people_that_there_are(recommender, dataset):
    table = dataset.ratings.select("user_id", "movie_id", "rating")
    for item in recommender.similar("Vertigo", 10, "liked").items:
        pair = [
            dict(table.filter(movie_id=m).select("user_id", "rating").iter_rows())
            for m in (
                recommender.similar("Vertigo").movie["movie_id"],
                item["movie_id"],
            )
        ]
        both = pair[0].keys() & pair[1].keys()
        loved = [u for u in both if min(pair[0][u], pair[1][u]) >= 4]
        counted = f"{len(loved)} of the {len(both)} people who rated both loved both"
        assert item["why"].startswith(counted)


def test_liked_has_filters_diversity_doubles_and_ties_as_the_others(recommender):
    comedies = recommender.similar("Fargo", 30, "liked", genres=["Comedy"]).frame
    assert comedies["genres"].list.contains("Comedy").all() and len(comedies) == 30
    old = recommender.similar("Fargo", 30, "liked", years=(None, 1969)).frame
    assert old["year"].max() <= 1969
    for diversity in (0, 0.6):
        every = recommender.similar(268, 300, "liked", diversity=diversity)
        assert every.frame.select("title", "year").is_unique().all()
        assert "Chasing Amy (1997)" not in every.frame["title"]
    first, varied = (
        recommender.similar("Alien", 10, "liked", diversity=d).frame for d in (0, 0.8)
    )
    assert first["movie_id"][0] == varied["movie_id"][0]
    assert first["movie_id"].to_list() != varied["movie_id"].to_list()
    assert first["score"].is_sorted(descending=True)


def test_lists_repeat_bit_for_bit_through_a_fit_in_another_order(dataset, recommender):
    again = Recommender.from_tables(
        dataset.movies, dataset.ratings.sample(fraction=1, shuffle=True, seed=1)
    )
    for movie in (1, 50, 267, 1682):
        for method in recommender.neighbours:
            assert again.similar(movie, 50, method) == (
                recommender.similar(movie, 50, method)
            )
    mine = {50: 5, 100: 4, 300: 1}
    assert again.recommend(mine, 300).items == recommender.recommend(mine, 300).items
    turned = dict(reversed(mine.items()))
    found = recommender.recommend(turned, 300).frame.drop("why")
    assert found.equals(recommender.recommend(mine, 300).frame.drop("why"))


def test_without_ratings_there_is_no_liked_and_it_says_so(dataset):
    without = Recommender.from_tables(dataset.movies)
    assert list(without.neighbours) == list(METHODS)
    for method in ("liked", "LIKED"):
        with pytest.raises(QueryError, match="has learned from no ratings") as error:
            without.similar("Fargo", method=method)
        assert error.value.parameter == "method"
        assert "cosine, jaccard" in str(error.value)
    with pytest.raises(QueryError, match="learned from ratings, and there are none"):
        Recommender.from_tables(dataset.movies, methods=["cosine", "liked"])
    with pytest.raises(QueryError, match="default_method 'liked' is not known"):
        Recommender.from_tables(dataset.movies, default_method="liked")
    quick = {"taste": TasteConfig(**QUICK)}
    tables = dataset.movies, dataset.ratings, dataset.genres
    alone = Recommender.from_tables(*tables, methods=["cosine"], **quick)
    with pytest.raises(QueryError, match="was made without"):
        alone.similar("Fargo", method="liked")
    assert alone.recommend({"Fargo": 5}, 3).items  # newcomers need no list of liked


def test_liked_can_be_the_default(dataset):
    quick = {"taste": TasteConfig(**QUICK)}
    tables = dataset.movies, dataset.ratings
    rec = Recommender.from_tables(*tables, default_method="liked", **quick)
    assert rec.similar("Toy Story", 2).frame["title"][0] == "Aladdin (1992)"
    assert rec.recommend({"Fargo": 5}, 5, diversity=0.5).items


@pytest.mark.parametrize("methods", [["likd"], [], "liked", None, ["cosine", 3]])
def test_wrong_methods_are_refused_by_name(methods):
    with pytest.raises(QueryError, match="method") as error:
        check_methods(methods, "cosine")
    assert "liked" in str(error.value)


def test_names_of_methods_come_from_the_table():
    assert method_names() == [*METHODS, "liked"]
    assert check_methods(["LIKED", "cosine"], "liked") == (["liked", "cosine"], "liked")


some_ratings = st.dictionaries(
    st.tuples(st.integers(1, 5), st.integers(0, 5)), st.sampled_from([0.5, 2, 3.5, 5])
)


@given(some_ratings, st.floats(0, 50), st.floats(0, 1))
@settings(max_examples=60)
def test_any_ratings_and_settings_give_finite_symmetric_scores(
    known, shrinkage, damping
):
    users, rows = (np.array([pair[i] for pair in known], int) for i in (0, 1))
    stars, every = np.array(list(known.values()), float), np.arange(6)
    config = LikenessConfig(shrinkage=shrinkage, damping=damping)
    kinds = kind_vectors(np.eye(6, 3))
    index = build_likeness(users, rows, stars, kinds, every, every, config)
    scores = liked_scores(index, every)
    assert np.isfinite(scores).all() and np.array_equal(scores, scores.T)
    near = liked_neighbours(keep_nearest(index))
    assert all(row not in near.nearest(row, 6)[0] for row in range(6))


def test_kinship_of_one_film_and_of_none_is_nothing():
    assert np.isfinite(kind_vectors(np.ones((1, 2)))).all()
    assert not kind_vectors(np.zeros((2, 3))).any()
    table = pl.DataFrame(
        {"movie_id": [1], "title": ["A"], "year": [1990], "genres": [["x"]]}
    )
    ratings = pl.DataFrame({"user_id": [1], "movie_id": [1], "rating": [5]})
    only = Recommender.from_tables(table, ratings)
    assert len(only.similar("A", method="liked")) == 0
