"Factors: alternating least squares against ordinary least squares."

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from movierec.config import ConfigError, TasteConfig, load_config
from movierec.data import grade
from movierec.factors import (
    People,
    factor_contributions,
    factor_scores,
    fit_factors,
    one_person,
    people_in,
    solve_rows,
)

SMALL = TasteConfig(factors=3, sweeps=4, unobserved=0.3, factor_ridge=0.05)


def ratings(seed, shape=(20, 9)):
    "A table of stars, the last film without any."
    rng = np.random.default_rng(seed)
    table = np.where(rng.random(shape) < 0.4, rng.choice([0.5, 1, 2.5, 4, 5], shape), 0)
    table[:, -1] = 0
    table[:, 0] = np.where(table.any(1), table[:, 0], 3)  # everybody rates something
    return table


def least_squares(table, vectors, config):
    "The best row for each person: a regression with a weight for every cell."
    n, found = len(vectors), []
    for stars in table:
        c = grade(stars, config.confidences)
        penalty = config.factor_ridge * (c.sum() + config.unobserved * n)
        inputs = np.vstack([vectors, vectors, np.eye(vectors.shape[1])])
        targets = np.concatenate([np.ones(n), np.zeros(n + vectors.shape[1])])
        zeros = np.full(n, config.unobserved), np.full(vectors.shape[1], penalty)
        root = np.sqrt(np.concatenate([c, *zeros]))
        weighted = inputs * root[:, None], targets * root
        found.append(np.linalg.lstsq(*weighted, rcond=None)[0])
    return np.array(found)


@pytest.mark.parametrize("seed", range(4))
def test_learning_is_least_squares_to_and_fro(seed):
    table = ratings(seed)
    users, rows = np.nonzero(table)
    films = np.random.default_rng(0).normal(0, 0.1 / np.sqrt(3), (9, 3))
    for _ in range(SMALL.sweeps):
        people = least_squares(table, films, SMALL)
        films = least_squares(table.T, people, SMALL)
    found = fit_factors(users, rows, table[users, rows], 9, SMALL).films
    assert found.dtype == np.float32 and not found[-1].any()
    assert np.allclose(found, films, atol=1e-5)


def test_the_order_of_ratings_and_the_numbers_of_users_change_nothing():
    table = ratings(7)
    users, rows = np.nonzero(table)
    first = fit_factors(users, rows, table[users, rows], 9, SMALL).films
    order = np.random.default_rng(0).permutation(len(users))
    stars = table[users, rows][order]
    again = fit_factors(users[order] * 11 + 3, rows[order], stars, 9, SMALL).films
    assert np.array_equal(first, again)


def test_folding_in_is_the_same_least_squares_and_a_block_is_each_of_its_people():
    table, others = ratings(1), ratings(2)
    others[3] = 0  # has rated nothing
    users, rows = np.nonzero(table)
    factors = fit_factors(users, rows, table[users, rows], 9, SMALL)
    films = factors.films.astype(np.float64)
    scores = factor_scores(factors, people_in(others))
    expected = least_squares(others, films, SMALL) @ films.T
    assert np.allclose(scores, expected, atol=1e-9) and not scores[3].any()
    people = people_in(others)
    mixed = np.random.default_rng(0).permutation(len(people.person))
    mixed = People(*(values[mixed] for values in people[:3]), people.n)
    assert np.allclose(factor_scores(factors, mixed), scores, rtol=0, atol=1e-13)
    for person, stars in enumerate(others):
        mine = np.flatnonzero(stars)
        alone = factor_scores(factors, one_person(mine, stars[mine]))[0]
        assert np.allclose(alone, scores[person], rtol=0, atol=1e-13)


cells = st.dictionaries(st.integers(0, 8), st.floats(0.5, 5), min_size=0, max_size=9)


@given(cells)
@settings(max_examples=50)
def test_contributions_are_additive_whatever_was_rated(mine):
    table = ratings(5)
    users, rows = np.nonzero(table)
    factors = fit_factors(users, rows, table[users, rows], 9, SMALL)
    rated, stars = np.array(list(mine), int), np.array(list(mine.values()), float)
    added = factor_contributions(factors, rated, stars, np.arange(9))
    scores = factor_scores(factors, one_person(rated, stars))[0]
    assert added.shape == (len(mine), 9)
    assert np.allclose(added.sum(0), scores, rtol=0, atol=1e-11)


def test_more_stars_count_for_more():
    table = ratings(3)
    users, rows = np.nonzero(table)
    factors = fit_factors(users, rows, table[users, rows], 9, SMALL)
    scores = [
        factor_scores(factors, one_person(np.array([0]), np.array([stars])))[0, 0]
        for stars in (0.5, 1, 2, 3, 3.5, 4, 5)
    ]
    assert scores[0] == scores[1] and scores[1:] == sorted(scores[1:])
    assert len(set(scores)) == 6


def test_ratings_without_worth_say_nothing():
    config = SMALL.model_copy(update={"confidences": (0, 0.4, 1, 1.5, 2)})
    users, rows = np.array([1, 1, 2]), np.array([0, 1, 2])
    factors = fit_factors(users, rows, np.array([5, 4, 1]), 4, config)
    assert factors.films.any(1).tolist() == [True, True, False, False]
    hated = one_person(np.array([0]), np.array([1]))
    assert not factor_scores(factors, hated).any()


def test_rows_without_ratings_are_zero():
    empty = np.array([], int)
    solved = solve_rows(np.ones((2, 2)), empty, empty, np.zeros(4, int), 0.1, 0.1)
    assert solved.tolist() == [[0, 0]] * 3
    factors = fit_factors(empty, empty, empty, 3, SMALL)
    nobody = factor_scores(factors, People(empty, empty, empty, 2))
    assert not factors.films.any() and nobody.tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"confidences": [1, 0.5, 1, 1.5, 2]}, "confidences must not fall"),
        ({"confidences": [-0.1, 0, 1, 1.5, 2]}, "greater than or equal to 0"),
        ({"confidences": [0, 0, 0, 0, 0]}, "the last above 0"),
        ({"confidences": [0, 1]}, "confidences"),
        ({"factors": 0}, "greater than or equal to 1"),
        ({"factors": 300}, "less than or equal to 256"),
        ({"unobserved": 0}, "greater than or equal to 0.001"),
        ({"factor_ridge": "much"}, "a number"),
        ({"sweeps": 0}, "greater than or equal to 1"),
        ({"factor_weight": -1}, "greater than or equal to 0"),
        ({"newcomer": -1}, "greater than or equal to 0"),
        ({"newcomer_ratings": 0}, "greater than or equal to 0.01"),
        ({"least_ratings": 0}, "greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings_, message):
    (name,) = settings_
    with pytest.raises(ConfigError, match=message) as error:
        load_config(taste=settings_)
    assert f"taste.{name}" in str(error.value)


@pytest.mark.parametrize(
    "settings_", [{"shrinkage": -1}, {"damping": 1.1}, {"damping": float("nan")}]
)
def test_wrong_settings_of_likeness_are_refused_by_name(settings_):
    with pytest.raises(ConfigError) as error:
        load_config(likeness=settings_)
    assert f"likeness.{next(iter(settings_))}" in str(error.value)
