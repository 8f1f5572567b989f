"Taste: the closed form against its formulas, and explanations that add up."

import numpy as np
import polars as pl
import pytest
from conftest import FOLDS, save_version
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from movierec.catalogue import build_catalogue
from movierec.config import QueryError, TasteConfig
from movierec.data import grade
from movierec.evaluation import (
    MAIN_METRIC,
    folds,
    paired_difference,
    recommend_lists,
    user_metrics,
)
from movierec.factors import (
    People,
    each_person,
    factor_scores,
    one_person,
    people_in,
)
from movierec.features import Block, Features
from movierec.files import DataError
from movierec.likeness import (
    build_likeness,
    keep_nearest,
    kind_vectors,
    kinship_vectors,
    liked_scores,
)
from movierec.parts import learn_taste, rated_rows, taste_arrays
from movierec.ranking import diversify, rank_films, reach_of_others
from movierec.recommender import Recommender, write_recommender
from movierec.similarity import METHODS, similarity_matrix
from movierec.taste import (
    add_signals,
    contributions,
    fit_taste,
    make_profile,
    score_alike,
    score_others,
    score_people,
)
from movierec.titles import first_of_each
from movierec.weights import (
    content_matrix,
    extend_weights,
    gram_matrix,
    keep_largest,
    penalties,
    smoother_flags,
    solve_weights,
    weighted_signals,
)

# The closed form


@pytest.mark.parametrize(("dropout", "ridge"), [(0.0, 1.0), (0.5, 0.1), (0.8, 3.0)])
def test_the_weights_have_the_smallest_expected_error(dropout, ridge):
    rng = np.random.default_rng(0)
    signals = grade(rng.integers(0, 6, (30, 6)))
    gram = signals.T @ signals
    penalty = dropout / (1 - dropout) * np.diag(gram) + ridge

    def loss(
        weights,
    ):  # the expectation over all deletions, plus the ridge (Steck 2020)
        return ((signals - signals @ weights) ** 2).sum() + (
            penalty[:, None] * weights**2
        ).sum()

    weights = solve_weights(gram, dropout, ridge)
    slope = 2 * (gram @ weights - gram + penalty[:, None] * weights)  # of the loss
    assert np.abs(slope).max() < 1e-10
    assert all(
        loss(weights) < loss(weights + rng.normal(scale=0.01, size=weights.shape))
        for _ in range(50)
    )


@pytest.mark.parametrize("n_learned", [1, 4, 6])
def test_a_film_that_is_not_learned_has_the_column_it_would_have(n_learned):
    rng = np.random.default_rng(n_learned)
    signals = grade(rng.integers(0, 6, (30, 7)))
    gram = signals.T @ signals
    others = range(n_learned, 7)
    penalty = penalties(np.diag(gram)[:n_learned], 0.4, 2.0)
    inverse = np.linalg.inv(gram[:n_learned, :n_learned] + np.diag(penalty))
    found = extend_weights(
        inverse, gram[:n_learned, others], np.diag(gram)[others], 0.4, 2.0
    )
    for column, other in zip(found.T, others, strict=True):
        chosen = [*range(n_learned), other]
        whole = solve_weights(gram[np.ix_(chosen, chosen)], 0.4, 2.0)
        assert np.allclose(column, whole[:-1, -1], atol=1e-12)


def scores_by_the_book(users, movies, ratings, content, config, mine):
    "The weights as the chapter's formulas have them: dense matrices, plain loops."
    n_movies, people = len(content), sorted(set(users))
    signals = np.zeros((len(people), n_movies))
    for user, movie, rating in zip(users, movies, ratings, strict=True):
        signals[people.index(user), movie] = np.interp(
            rating, [1, 2, 3, 4, 5], config.grades
        )
    counts = np.array([list(movies).count(movie) for movie in range(n_movies)])
    most = sorted(np.flatnonzero(counts), key=lambda m: (-counts[m], m))
    learned = sorted(most[: config.max_learned_movies])
    known = learned + [
        m
        for m in range(n_movies)
        if m not in learned and counts[m] >= config.least_ratings
    ]
    gram = np.zeros((n_movies, n_movies))
    for row, user in zip(signals, people, strict=True):
        gram += np.outer(row, row) / np.sqrt(list(users).count(user))
    lengths = np.linalg.norm(content, axis=1)
    lengths = np.where(lengths > 0, lengths, 1)
    gram += config.content_weight * (content @ content.T) / np.outer(lengths, lengths)
    plain = np.zeros((len(learned), len(known)))
    for j, movie in enumerate(known):  # as if it were learned, too
        chosen = learned + [movie] * (movie not in learned)
        whole = solve_weights(
            gram[np.ix_(chosen, chosen)], config.dropout, config.ridge
        )
        plain[:, j] = whole[: len(learned), chosen.index(movie)]
    flags = np.hstack([np.ones((n_movies, 1)), content])
    ridge = config.content_ridge * np.diag([0] + [1] * content.shape[1])
    shares = flags @ np.linalg.solve(
        flags[known].T @ flags[known] + ridge, flags[known].T
    )  # (movies, known)
    weights = np.zeros((len(learned), n_movies))
    popularity = signals.mean(0)
    for movie in range(n_movies):
        by_content = plain @ shares[movie]
        if movie in known:
            trust = counts[movie] / (counts[movie] + config.shrinkage)
            own = plain[:, known.index(movie)]
            weights[:, movie] = trust * own + (1 - trust) * by_content
    for movie in set(range(n_movies)) - set(known):
        level = (counts[movie] + 1) / (counts[known].mean() + 1)
        weights[:, movie] = level * weights[:, known] @ shares[movie]
        popularity[movie] = level * signals.mean(0)[known] @ shares[movie]
    n = (mine > 0).sum()
    fade = config.baseline * config.baseline_ratings / (config.baseline_ratings + n)
    return grade(mine, config.grades)[learned] @ weights + fade * popularity


@pytest.mark.parametrize("learned", [100, 5])
@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_the_formulas(seed, learned, monkeypatch):
    monkeypatch.setattr("movierec.weights.BLOCK", 1 + seed)
    rng = np.random.default_rng(seed)
    users, movies = np.nonzero(rng.random((25, 12)) < np.linspace(0.9, 0, 12))
    ratings = rng.choice([1, 2, 3, 3.5, 4, 5], len(users))
    content = (rng.random((12, 4)) < 0.5).astype(np.float32)
    config = TasteConfig(
        ridge=0.7,
        content_weight=2,
        content_ridge=3,
        shrinkage=2,
        baseline=0.6,
        max_learned_movies=learned,
        least_ratings=4,
        factors=3,
        newcomer=0.4,
        newcomer_ratings=5,
    )
    every = np.arange(12)
    kinds = kind_vectors(content)
    likeness = keep_nearest(build_likeness(users, movies, ratings, kinds, every, every))
    model = fit_taste(users, movies, ratings, content, config, likeness)
    alike = np.maximum(liked_scores(likeness, every), 0)  # none is unlike
    some = rng.random((5, 12)) < 0.4
    stars = np.where(some, rng.integers(1, 6, (5, 12)), 0).astype(float)
    scores = score_people(model, people_in(stars))
    by_factors = factor_scores(model.factors, people_in(stars))
    for mine, found, factors in zip(stars, scores, by_factors, strict=True):
        expected = scores_by_the_book(users, movies, ratings, content, config, mine)
        expected += config.factor_weight * factors
        newcomer = 0.4 * max(0, 1 - (mine > 0).sum() / 5)
        expected += newcomer * np.maximum(grade(mine, config.grades), 0) @ alike
        assert np.allclose(found, expected, atol=1e-5)


def test_the_gram_matrix_does_not_depend_on_order_chunks_or_the_numbers_of_users():
    rng = np.random.default_rng(1)
    users, rows = np.nonzero(rng.random((50, 9)) < 0.4)
    signals = rng.normal(size=len(users))
    whole = gram_matrix(weighted_signals(users, rows, signals, 9), 9)
    shuffled = rng.permutation(len(users))
    others = users[shuffled] * 7 - 3, rows[shuffled], signals[shuffled]
    again = weighted_signals(*others, 9)
    assert np.allclose(whole, gram_matrix(again, 9, chunk=4))
    assert np.allclose(whole[:3, 2:8], gram_matrix(again, 3, slice(2, 8), chunk=2))
    dense = np.zeros((50, 9))
    dense[users, rows] = signals
    assert np.allclose(
        whole, sum(np.outer(x, x) / np.sqrt((x != 0).sum()) for x in dense if x.any())
    )


@pytest.mark.parametrize("cap", [200, 400, 800])
def test_films_that_are_not_learned_do_the_lists_no_harm(cap, dataset, recommender):
    features = recommender.features
    content, names = content_matrix(features), smoother_flags(features)
    kinship, every = kinship_vectors(features), np.arange(len(content))
    for split in folds(dataset)[FOLDS]:
        users, movies = np.nonzero(split.base)
        given = users, movies, split.base[users, movies]
        likeness = keep_nearest(build_likeness(*given, kinship, every, every))
        settings = TasteConfig(max_learned_movies=cap)
        model = fit_taste(*given, content, settings, likeness, names)
        scores = score_people(model, people_in(split.base[split.users]))
        learned = np.isin(every, model.rows[: model.weights.shape[0]])
        assert learned.sum() == cap and len(model.rows) > cap
        of_all, of_learned = (
            user_metrics(split, recommend_lists(split, lambda _, s=s: s, 10), 10)
            for s in (scores, np.where(learned, scores, -1e9))
        )
        gap, error = paired_difference(of_all, of_learned, MAIN_METRIC)
        assert gap >= -2 * error, (split.name, gap, error)
        assert gap > -0.002


def test_fitting_twice_gives_the_same_arrays(dataset, recommender):
    again = Recommender.from_tables(dataset.movies, dataset.ratings, dataset.genres)
    mine, its = taste_arrays(recommender.taste), taste_arrays(again.taste)
    assert mine.keys() == its.keys() and "taste_factors" in mine
    assert all(np.array_equal(mine[name], its[name]) for name in mine)


def test_scores_are_the_same_after_a_save_and_load(recommender, tmp_path):
    save_version(tmp_path, "v1.0.0", recommender)
    loaded = Recommender.load(root=tmp_path)
    for user in (1, 405, 943):
        mine, its = (
            r.recommend_for_user(user, 1682).frame.drop("why")
            for r in (recommender, loaded)
        )
        assert mine.equals(its)
    assert recommender.recommend({}, 50).frame.equals(loaded.recommend({}, 50).frame)


def test_the_model_on_the_disk_is_single_precision(recommender, tmp_path):
    write_recommender(recommender, tmp_path)
    kinds = {np.load(path).dtype for path in tmp_path.glob("taste_*.npy")}
    assert kinds == {np.dtype(kind) for kind in (np.float32, np.int32, np.int64)}


@pytest.mark.parametrize("learned", [1, 5, 400])
def test_fewer_movies_learn_and_content_covers_those_with_few_ratings(learned, dataset):
    rec = Recommender.from_tables(
        dataset.movies, dataset.ratings, taste=TasteConfig(max_learned_movies=learned)
    )
    counts = rec.movies["n_ratings"].to_numpy()
    rows, least = rec.taste.rows, TasteConfig().least_ratings
    rest = np.setdiff1d(np.arange(len(counts)), rows)
    assert rec.taste.weights.shape[0] == learned and counts[rest].max() < least
    assert counts[rows[:learned]].min() >= counts[rows[learned:]].max()
    found = rec.recommend({50: 5, 1682: 4, "Fargo": 1}, 1682).frame
    assert (
        len(found) == rec.movies.select("title", "year").n_unique() - 3
        and found["score"].is_finite().all()
    )
    by_content = found["why"].str.contains("judged by what is known of it alone")
    assert set(found.filter(by_content)["movie_id"]) <= set(
        rec.movies["movie_id"][rest.tolist()]
    )


# Explanations


def test_contributions_are_additive_for_every_recommendation_of_a_hundred_users(
    recommender,
):
    for user in range(1, 101):
        ratings = recommender.ratings_of(user)
        for item in recommender.recommend(ratings, 10).frame.iter_rows(named=True):
            explained = recommender.explain(item["movie_id"], ratings)
            assert explained.score == item["score"]
            assert abs(explained.frame["contribution"].sum() - item["score"]) < 1e-6
            assert len(explained.frame) == len(ratings) + 1


SMALL = pl.DataFrame(
    {
        "movie_id": range(1, 9),
        "title": [f"Film {i}" for i in range(1, 9)],
        "year": [1990, 1990, 1991, 1995, None, 1999, 2001, 1950],
        "genres": [["a"], ["a", "b"], ["b"], [], ["c"], ["a", "c"], ["b"], ["a"]],
    }
)
some_ratings = st.dictionaries(
    st.tuples(st.integers(1, 6), st.integers(1, 8)),
    st.sampled_from([1, 2, 3, 3.5, 4, 5]),
    min_size=1,
)


@given(
    some_ratings, st.dictionaries(st.integers(1, 8), st.floats(1, 5)), st.integers(1, 9)
)
@settings(max_examples=60)
def test_contributions_are_additive_whatever_was_rated_and_learned(
    known, mine, learned
):
    ratings = pl.DataFrame(
        [(u, m, float(r)) for (u, m), r in known.items()],
        ["user_id", "movie_id", "rating"],
        orient="row",
    )
    rec = Recommender.from_tables(
        SMALL, ratings, taste=TasteConfig(max_learned_movies=learned)
    )
    scores = {
        item["movie_id"]: item["score"]
        for item in rec.recommend(mine, 8).frame.iter_rows(named=True)
    }
    assert scores.keys() == set(range(1, 9)) - mine.keys()
    for movie in range(1, 9):
        explained = rec.explain(movie, mine)
        assert abs(explained.frame["contribution"].sum() - explained.score) < 1e-6
        assert abs(scores.get(movie, explained.score) - explained.score) < 1e-12


def test_a_film_rated_1_lowers_its_nearest_twenty_also_beside_other_ratings(
    dataset, recommender
):
    alike = similarity_matrix(recommender.features, METHODS["cosine"])
    np.fill_diagonal(alike, -1)

    def scores(ratings):
        person = one_person(*recommender.catalogue.look_up_ratings(ratings)[:2])
        return score_people(recommender.taste, person)[0]

    for history in ({}, {50: 5}, recommender.ratings_of(405)):
        before = scores(history)
        for row in range(0, 1682, 7):
            movie = int(dataset.movies["movie_id"][row])
            if movie in history:
                continue
            after = scores({**history, movie: 1})
            nearest = np.argsort(-alike[row], kind="stable")[:20]
            assert after[nearest].mean() < before[nearest].mean(), (movie, len(history))


# A block of people


def rank_by_the_book(scores, people, i, k, catalogue, allowed):
    "Rows of the best films of person i: sort all, then walk down and leave out."
    seen = set(catalogue.film_of[people.rows[people.person == i]].tolist())
    rows = sorted(
        range(len(scores)), key=lambda row: (-scores[row], catalogue.tie_place[row])
    )
    chosen = []
    for row in rows:
        film = int(catalogue.film_of[row])
        if film not in seen and (allowed is None or allowed[row]):
            seen.add(film)
            chosen.append(row)
    return chosen[:k]


@pytest.mark.parametrize("seed", range(6))
def test_a_block_of_people_is_ranked_like_each_of_them(seed):
    rng = np.random.default_rng(seed)
    n = 25
    movies = pl.DataFrame(
        {
            "movie_id": rng.permutation(n),
            "title": [f"Film {i}" for i in rng.integers(0, 18, n)],  # some stand twice
            "year": [1990] * n,
            "genres": [["x"]] * n,
        }
    )
    some = np.nonzero(rng.random((12, n)) < 0.3)
    given = pl.DataFrame({"movie_id": movies["movie_id"].to_numpy()[some[1]]})
    catalogue = build_catalogue(movies, given)
    stars = rng.integers(1, 6, len(some[0])).astype(float)
    coarse = TasteConfig(grades=(0, 0, 0, 0, 1), baseline=0)  # many scores are equal
    model = fit_taste(*some, stars, np.zeros((n, 0)), coarse)
    people = People(*some, stars, 13)  # the last one has rated nothing
    allowed = None if seed % 2 else rng.random(n) < 0.7
    scores = score_people(model, people)
    for k in (1, 5, 100):
        asked = k, catalogue, allowed
        ranked = [rank_films(model, *rated, *asked) for rated in each_person(people)]
        for i, (rows, found) in enumerate(ranked):
            wanted = rank_by_the_book(scores[i], people, i, k, catalogue, allowed)
            assert rows.tolist() == wanted and found.tolist() == [*scores[i][wanted]]


@pytest.fixture(scope="module", params=[(300, 60), (60, 400)])
def partial(request, dataset, recommender):
    "A model in which few films have weights, and the others are judged by content."
    learned, least = request.param
    few = TasteConfig(
        max_learned_movies=learned, least_ratings=least, most_weights=10**5
    )
    given = recommender.catalogue, dataset.ratings, recommender.features
    return learn_taste(*given, few, recommender.likeness), given


def test_oracle_content_is_what_a_regression_on_all_flags_says(partial):
    model, (catalogue, _, features) = partial
    c, content = model.config, content_matrix(features)
    flags = np.hstack([content, smoother_flags(features).toarray()])
    full = np.hstack([np.ones((len(flags), 1)), flags])
    known, others = full[model.rows], np.flatnonzero(model.known.number < 0)
    ridge = np.diag([0.0] + [c.content_ridge] * flags.shape[1])
    counts = catalogue.movies["n_ratings"].to_numpy()
    how_known = (counts[others] + 1) / (counts[model.rows].mean() + 1)
    smoother = known @ np.linalg.inv(known.T @ known + ridge) @ full[others].T
    expected = model.weights.astype(float) @ smoother * how_known
    found = model.effects.astype(float) @ model.content[others].T
    assert 0 < len(others) < len(full) and np.allclose(found, expected, atol=1e-6)


def test_oracle_the_largest_weights_are_kept():
    weights = np.random.default_rng(0).normal(size=(40, 30))
    for most in (1, 7, 30, 99):
        kept = keep_largest(weights, most, chunk=9).toarray()
        for row, of_row in zip(weights, kept, strict=True):
            largest = np.argsort(-np.abs(row))[:most]
            assert np.array_equal(np.flatnonzero(of_row), np.sort(largest))
            assert np.array_equal(of_row[largest], row[largest])


def test_oracle_likeness_is_that_to_the_nearest_films(recommender):
    index, catalogue = recommender.likeness, recommender.catalogue
    for row in (0, 49, 800, 1681):
        scores = liked_scores(index, np.array([row]))[0]
        order = np.lexsort((catalogue.tie_place, -scores))
        nearest = first_of_each(order[scores[order] > 0], catalogue.film_of)
        kept = index.nearest[row][index.nearest[row] >= 0]
        assert kept.tolist() == nearest[: index.config.nearest].tolist()
        found = index.nearest_scores[row][: len(kept)]
        assert np.array_equal(found, scores[kept].astype(np.float32))


def test_oracle_lists_are_those_of_all_scores_sorted(partial, dataset, recommender):
    model, catalogue = partial[0], recommender.catalogue
    users, rows, stars = rated_rows(catalogue, dataset.ratings)
    asked, rng = np.arange(1, 81), np.random.default_rng(0)
    some = np.isin(users, asked) & (rng.random(len(users)) < (users % 8 + 1) / 8)
    person = users[some] - 1
    few = (person % 3 == 0) & (np.arange(len(person)) % 17 > 0)  # leaves newcomers
    people = People(person[~few], rows[some][~few], stars[some][~few], 80)
    scores, wider = score_people(model, people), 0
    for k, genres in ((10, None), (10, ["Documentary"]), (200, None)):
        allowed = catalogue.allowed(genres)
        asked = k, catalogue, allowed
        lists = [rank_films(model, *rated, *asked) for rated in each_person(people)]
        for i, (best, found) in enumerate(lists):
            wanted = rank_by_the_book(scores[i], people, i, k, catalogue, allowed)
            assert best.tolist() == wanted
            assert np.allclose(found, scores[i][wanted], 0, 2e-12)
            wider += (model.known.number[best] < 0).sum()
    assert wider  # some films without weights are on these lists


def test_oracle_no_score_of_a_film_without_weights_is_above_the_reach():
    rng = np.random.default_rng(0)
    users, rows = np.nonzero(rng.random((60, 40)) < 0.2)
    stars, content = rng.integers(1, 6, len(users)), rng.normal(size=(40, 5))
    few = TasteConfig(max_learned_movies=10, least_ratings=99, factors=2, newcomer=0)
    model = fit_taste(users, rows, stars.astype(float), content, few)
    found = []
    for rated in each_person(People(users, rows, stars.astype(float), 60)):
        profile = make_profile(model, *rated)
        effects = add_signals(profile.numbers, profile.signals, model.effects)
        found.append(score_others(model, profile, effects).max())
        assert found[-1] <= reach_of_others(model, profile, effects)
    assert max(found) > 0


def test_oracle_what_is_scored_alone_is_what_likeness_brings_above_a_score(partial):
    model, rng, several = partial[0], np.random.default_rng(1), 0
    for _ in range(20):
        rows = rng.choice(len(model.popularity), 4, replace=False)
        profile = make_profile(model, rows, np.full(4, 5.0))
        effects = add_signals(profile.numbers, profile.signals, model.effects)
        of_all = score_others(model, profile, effects)
        least = np.median(profile.likeness)
        chosen, scores = score_alike(model, profile, effects, least)
        assert np.allclose(scores, of_all[model.others.number[chosen]], 0, 1e-12)
        rest = np.setdiff1d(model.others.rows, chosen)
        above = of_all[model.others.number[rest]]
        assert (above < reach_of_others(model, profile, effects) + least).all()
        several += len(chosen) > 1
    assert several


def test_contributions_are_additive_for_any_film(recommender):
    rows, stars = np.array([0, 49, 99, 1681]), np.array([5.0, 1, 4, 0.5])
    targets = np.array([7, 49, 300, 1680])
    added, baseline = contributions(recommender.taste, rows, stars, targets)
    scores = score_people(recommender.taste, one_person(rows, stars))[0]
    assert np.allclose(added.sum(0) + baseline, scores[targets], rtol=0, atol=1e-6)


# What is recommended


def test_what_was_rated_or_excluded_is_left_out_with_its_doubles(recommender):
    titles = set(
        recommender.recommend({268: 5}, 1682, exclude=["Fargo", 50]).frame["title"]
    )
    assert not titles & {"Chasing Amy (1997)", "Fargo (1996)", "Star Wars (1977)"}


def test_no_film_stands_twice_in_a_list(recommender):
    for diversity in (0, 0.5):
        frame = recommender.recommend({50: 5, 100: 4}, 300, diversity=diversity).frame
        assert frame.select("title", "year").is_unique().all() and frame[
            "rank"
        ].to_list() == list(range(1, 301))


def test_the_list_is_in_the_order_of_the_scores(recommender):
    frame = recommender.recommend({50: 5, 100: 4, 300: 1}, 1000).frame
    assert frame["score"].is_sorted(descending=True)


def test_filters_hold(recommender):
    frame = recommender.recommend(
        {50: 5}, 50, genres=["War", "Western"], years=(1950, 1969)
    ).frame
    assert len(frame) and frame["year"].is_between(1950, 1969).all()
    assert (
        frame["genres"]
        .list.eval(pl.element().is_in(["War", "Western"]))
        .list.any()
        .all()
    )


def test_without_ratings_come_popular_films_and_a_note(recommender):
    found = recommender.recommend({}, 20)
    assert found.notes == ("No ratings were given, so these are popular movies.",)
    assert set(found.frame["why"]) == {"popular"}
    assert (
        recommender.movies.filter(
            pl.col("movie_id").is_in(found.frame["movie_id"].to_list())
        )["n_ratings"].min()
        > 200
    )


def test_somebody_with_only_dislikes_gets_popular_films_unlike_them(recommender):
    disliked = {"Star Wars": 1, "Empire Strikes Back, The": 1, "Return of the Jedi": 1}
    titles = recommender.recommend(disliked, 5).frame["title"].to_list()
    assert "Fargo (1996)" in titles and "Raiders of the Lost Ark (1981)" not in titles


def test_too_large_a_k_gives_all_that_are_left_and_says_so(recommender):
    found = recommender.recommend({50: 5}, 10**9)
    left = f"Only {len(found)} movies are left"
    assert found.notes == (f"{left}: the others are rated, excluded or filtered out.",)
    assert len(found) == recommender.movies.select("title", "year").n_unique() - 1


def test_the_last_film_is_one_movie(recommender):
    all_but_one = dict.fromkeys(recommender.movies["movie_id"].to_list()[1:], 3)
    (note,) = recommender.recommend(all_but_one, 5).notes
    assert note.startswith("Only 1 movie is left: ")


def test_a_disliked_film_is_no_reason(recommender):
    for disliked in ({"Fargo": 1, "Pulp Fiction": 1, "Titanic": 1}, {"Fargo": 2}):
        for item in recommender.recommend(disliked, 50).items:
            assert "because" not in item["why"], item
    mixed = {"Fargo": 1, "Star Wars": 5, "Titanic": 2}
    for item in recommender.recommend(mixed, 50).items:
        assert "Fargo" not in item["why"] and "Titanic" not in item["why"]
        explained = recommender.explain(item["movie_id"], mixed).frame
        added = dict(explained.select("name", "contribution").iter_rows())
        if "Star Wars" in item["why"]:
            assert added["Star Wars"] > 0


def test_somebody_who_has_rated_every_film_gets_an_empty_list_and_is_told(recommender):
    every = dict.fromkeys(recommender.movies["movie_id"], 3)
    for options in ({}, {"diversity": 0.5}):
        found = recommender.recommend(every, **options)
        assert len(found) == 0
        assert found.notes == (
            "No movie is left: the others are rated, excluded or filtered out.",
        )


def test_a_title_that_stands_twice_is_noted(recommender):
    assert "stands 2 times" in recommender.recommend({"Chasing Amy": 5}).notes[0]


def test_ratings_and_numbers_of_numpy_are_understood(recommender):
    one = recommender.recommend({50: 5, 100: 3})
    other = recommender.recommend(
        {np.int64(50): np.float32(5), "100": np.int8(3)},
        np.int64(10),
        diversity=np.float64(0),
    )
    assert one.to_dict() == other.to_dict()


def test_films_with_the_same_score_are_in_the_order_of_the_tie_rule():
    ratings = pl.DataFrame(
        {"user_id": [1, 2, 2, 3], "movie_id": [8, 8, 7, 6], "rating": [3, 3, 3, 3]}
    )
    flat = TasteConfig(grades=(-0.2, 0, 0, 0, 1), baseline=0, content_weight=0)
    found = Recommender.from_tables(SMALL, ratings, taste=flat).recommend({}, 8).frame
    assert found["score"].n_unique() == 1 and found["movie_id"].to_list() == [
        8,
        6,
        7,
        1,
        2,
        3,
        4,
        5,
    ]


# Diversity


@pytest.mark.parametrize("diversity", [0, 0.2, 0.5, 0.9, 1])
def test_diversify_takes_the_best_film_at_each_step(diversity):
    rng = np.random.default_rng(4)
    scores, points = np.sort(rng.random(40))[::-1], rng.random((40, 3))
    alike = (
        points
        @ points.T
        / np.outer(np.linalg.norm(points, axis=1), np.linalg.norm(points, axis=1))
    )
    relevance = (scores - scores[-1]) / (scores[0] - scores[-1])
    expected = []
    for _ in range(10):
        rest = [i for i in range(40) if i not in expected]
        value = [
            (1 - diversity) * relevance[i]
            - diversity * max([alike[i, j] for j in expected], default=0)
            for i in rest
        ]
        expected.append(rest[int(np.argmax(value))])
    assert diversify(scores, lambda i: alike[i], 10, diversity) == expected


def test_more_diversity_makes_lists_more_different(recommender):
    alike = similarity_matrix(recommender.features, METHODS["cosine"])

    def spread(diversity):
        found = recommender.recommend_for_user(13, 10, diversity=diversity)
        rows = [recommender.find(item["movie_id"])[0] for item in found.items]
        return 1 - alike[np.ix_(rows, rows)][np.triu_indices(10, 1)].mean()

    spreads = [spread(d) for d in (0, 0.3, 0.6, 1)]
    assert spreads == sorted(spreads) and spreads[-1] > spreads[0] + 0.1


# Wrong questions

WRONG = [
    ({"Fargo": 0}, {}, "the rating of 'Fargo' is 0, expected a number from 0.5"),
    ({"Fargo": 6}, {}, "the rating of 'Fargo' is 6"),
    ({"Fargo": float("nan")}, {}, "is nan, expected"),
    ({"Fargo": "5"}, {}, "is '5', expected"),
    ({"Fargo": True}, {}, "is True, expected"),
    ({"Fargo": None}, {}, "is None, expected"),
    ({"Fargo": 10**400}, {}, "expected a number from 0.5"),
    ({"Fargoo": 5}, {}, r"no movie is called 'Fargoo'. Nearest: Fargo \(1996\)"),
    ({99999: 5}, {}, "there is no movie with id 99999"),
    ({"sabrina": 5}, {}, "fits 2 films"),
    (
        {"Fargo (1996)": 5, 100: 5},
        {},
        r"Fargo \(1996\) is rated twice: as 'Fargo \(1996\)' and as 100. Name it once.",
    ),
    ([("Fargo", 5)], {}, r"ratings is \[\('Fargo', 5\)\], expected movies and stars"),
    (None, {}, "ratings is None"),
    ({50: 5}, {"diversity": 2}, "diversity is 2, expected a number from 0"),
    ({50: 5}, {"diversity": -0.1}, "diversity is -0.1"),
    ({50: 5}, {"diversity": "high"}, "diversity is 'high'"),
    ({50: 5}, {"k": 0}, "k is 0, expected"),
    ({50: 5}, {"k": 2.5}, "k is 2.5"),
    ({50: 5}, {"exclude": "Fargo"}, "exclude is 'Fargo', expected a list"),
    ({50: 5}, {"exclude": ["Fargoo"]}, "no movie is called"),
    ({50: 5}, {"genres": ["Opera"]}, "genre 'Opera' is not known"),
    ({50: 5}, {"years": 1990}, "years is 1990"),
]


@pytest.mark.parametrize(
    ("ratings", "options", "message"),
    WRONG,
    ids=[message[:40] for _, _, message in WRONG],
)
def test_a_wrong_question_has_a_clear_answer(ratings, options, message, recommender):
    with pytest.raises(QueryError, match=message) as error:
        recommender.recommend(ratings, **options)
    assert error.value.parameter == next(iter(options), "ratings")


def test_what_is_wrong_in_a_question_for_an_explanation_is_said_too(recommender):
    with pytest.raises(QueryError, match="no movie is called"):
        recommender.explain("Fargoo", {50: 5})
    with pytest.raises(QueryError, match="the rating of 50 is 9"):
        recommender.explain("Fargo", {50: 9})


def test_a_recommender_without_ratings_says_what_it_needs(dataset, tmp_path):
    for ratings in (None, dataset.ratings.select("movie_id"), dataset.ratings.head(0)):
        rec = Recommender.from_tables(dataset.movies, ratings)
        with pytest.raises(QueryError, match="has learned from no ratings"):
            rec.recommend({50: 5})
    save_version(tmp_path, "v1.0.0", rec)
    with pytest.raises(QueryError, match="has learned from no ratings"):
        Recommender.load(root=tmp_path).recommend_for_user(1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user_id": [1], "movie_id": [1]}, "no column 'rating'"),
        ({"movie_id": [1], "rating": [4]}, "no column 'user_id'"),
        (
            {"user_id": ["u"], "movie_id": [1], "rating": [4]},
            "column 'user_id' holds String",
        ),
        (
            {"user_id": [1], "movie_id": [1], "rating": ["4"]},
            "column 'rating' holds String",
        ),
        (
            {"user_id": [1, 1], "movie_id": [1, 2], "rating": [4, 0.4]},
            "column 'rating', row 2: 0.4; expected numbers",
        ),
        (
            {"user_id": [1], "movie_id": [1], "rating": [float("nan")]},
            "column 'rating', row 1: nan",
        ),
        (
            {"user_id": [1], "movie_id": [1], "rating": [None]},
            "column 'rating', row 1: nothing there|holds Null",
        ),
        (
            {"user_id": [2, 2], "movie_id": [3, 3], "rating": [4, 5]},
            "user 2 has rated movie 3 twice",
        ),
    ],
)
def test_a_wrong_table_of_ratings_is_refused_with_what_is_wrong(columns, message):
    with pytest.raises(DataError, match=message):
        Recommender.from_tables(SMALL, pl.DataFrame(columns, strict=False))


def test_ratings_of_movies_that_are_not_in_the_catalogue_are_left_aside():
    ratings = pl.DataFrame(
        {"user_id": [1, 1, 2], "movie_id": [1, 99, 2], "rating": [5, 5, 4]}
    )
    rec = Recommender.from_tables(SMALL, ratings)
    assert rec.ratings_of(1) == {1: 5.0} and rec.taste.rows.tolist() == [0, 1]


def test_content_is_the_blocks_that_are_used_for_taste():
    numbers = np.array([[0.5], [2]])
    blocks = (
        Block("a", ("x", "y"), np.array([[1, 0], [0, 1]], np.uint8), flags=True),
        Block("b", ("z",), numbers, flags=False, uses=("similarity",)),
        Block("c", ("w",), csr_array(numbers), flags=False, uses=("taste",)),
    )
    content = content_matrix(Features(blocks))
    assert content.tolist() == [[1, 0, 0.5], [0, 1, 2]] and content.dtype == np.float32


def test_a_model_without_content_scores_every_unrated_film_alike():
    users, movies, ratings = np.array([0, 0, 1]), np.array([0, 1, 1]), [5.0, 4, 5]
    plain = TasteConfig(content_weight=0, shrinkage=0)
    model = fit_taste(users, movies, np.array(ratings), np.zeros((4, 0)), plain)
    (scores,) = score_people(model, people_in(np.array([[5.0, 0, 0, 0]])))
    assert np.isfinite(scores).all() and scores[2] == scores[3] and scores[1] > 0
