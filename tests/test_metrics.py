"Metrics against values by hand, against scikit-learn, and against their definitions."

from math import isnan, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from movierec.metrics import (
    LIST_METRICS,
    METRICS,
    Lists,
    average_precision_at_k,
    coverage,
    diversity,
    gini,
    hits,
    ndcg_at_k,
    novelty,
    popularity,
    precision_at_k,
)

NDCG3 = 1 + 1 / log2(3) + 1 / 2  # of a perfect list with three hits
NAMES = ["ndcg", "recall", "precision", "mrr", "map", "hit_rate"]
BY_HAND = [  # list, relevant, k, then the metrics in the order of NAMES
    ([1, 2, 3], {1, 2, 3}, 3, 1, 1, 1, 1, 1, 1),
    ([1, 2, 3], {9}, 3, 0, 0, 0, 0, 0, 0),
    ([9, 1], {1}, 2, 1 / log2(3), 1, 1 / 2, 1 / 2, 1 / 2, 1),
    ([1, 9, 2, 8], {1, 2, 3}, 4, 1.5 / NDCG3, 2 / 3, 2 / 4, 1, (1 + 2 / 3) / 3, 1),
    ([9, 8, 7, 1], {1}, 3, 0, 0, 0, 0, 0, 0),  # a hit beyond k is none
    (
        [1],
        {1, 2},
        10,
        1 / (1 + 1 / log2(3)),
        1 / 2,
        1 / 10,
        1,
        1 / 2,
        1,
    ),  # a short list
    ([], {1}, 10, 0, 0, 0, 0, 0, 0),
    ([1, 2], {1, 2, 3, 4}, 2, 1, 1 / 2, 1, 1, 1, 1),  # more relevant items than places
    ([1, 1, 1], {1, 2}, 3, 1 / (1 + 1 / log2(3)), 1 / 2, 1 / 3, 1, 1 / 2, 1),  # one hit
    ([9, 9, 1], {1}, 3, 1 / 2, 1, 1 / 3, 1 / 3, 1 / 3, 1),
]


@pytest.mark.parametrize("case", BY_HAND, ids=[str(case[:3]) for case in BY_HAND])
def test_metrics_by_hand(case):
    items, relevant, k, *expected = case
    found = [METRICS[name](items, relevant, k) for name in NAMES]
    assert found == pytest.approx(expected)


def test_every_metric_is_tested_by_hand():
    assert list(METRICS) == NAMES
    assert set(LIST_METRICS) == {
        "coverage",
        "diversity",
        "novelty",
        "gini",
        "popularity",
    }


@pytest.mark.parametrize("name", METRICS)
def test_nothing_relevant_is_nothing_measured(name):
    assert isnan(METRICS[name]([1, 2, 3], set(), 3))
    assert isnan(METRICS[name]([], set(), 3))


lists_and_relevant = st.tuples(
    st.lists(st.integers(0, 12), max_size=12),
    st.sets(st.integers(0, 12), min_size=1),
    st.integers(1, 12),
)


@given(lists_and_relevant)
def test_metrics_lie_between_0_and_1_and_grow_with_a_hit_in_front(case):
    items, relevant, k = case
    better = [min(relevant), *(item for item in items if item != min(relevant))]
    for metric in METRICS.values():
        assert 0 <= metric(items, relevant, k) <= 1 + 1e-12
        if hits(items, relevant, k)[:1] == [False]:
            assert metric(better, relevant, k) >= metric(items, relevant, k) - 1e-12


@given(
    st.permutations(range(12)),
    st.sets(st.integers(0, 11), min_size=1),
    st.integers(1, 12),
)
def test_ndcg_agrees_with_scikit_learn(items, relevant, k):
    truth = [[item in relevant for item in range(12)]]
    scores = [[-items.index(item) for item in range(12)]]
    expected = ndcg_score(truth, scores, k=k)
    assert ndcg_at_k(items, relevant, k) == pytest.approx(expected)


@given(
    st.permutations(range(8)),
    st.sets(st.integers(0, 7), min_size=1),
    st.integers(1, 8),
)
def test_average_precision_agrees_with_its_definition(items, relevant, k):
    ranks = [rank for rank in range(1, k + 1) if items[rank - 1] in relevant]
    total = sum(precision_at_k(items, relevant, rank) for rank in ranks)
    expected = total / min(k, len(relevant))
    assert average_precision_at_k(items, relevant, k) == pytest.approx(expected)


def of(lists, n_ratings=(0, 0, 0, 0), n_users=1, alike=None):
    "Lists of movies from a small catalogue."
    return Lists(lists, np.array(n_ratings), n_users, alike)


def test_metrics_of_all_lists_by_hand():
    alike = np.array([[1, 0.2, 0], [0.2, 1, 0], [0, 0, 1.0]])
    assert coverage(of([[0, 1], [1]])) == 1 / 2
    assert gini(of([[0], [1], [2], [3]])) == pytest.approx(0)
    assert gini(of([[0, 1], [0]], (0, 0))) == pytest.approx(1 / 6)
    assert novelty(of([[0], [1]], (4, 0), 8)) == pytest.approx((1 + 3) / 2)
    assert popularity(of([[0, 1], [1]], (6, 3))) == pytest.approx((6 + 3 + 3) / 3)
    assert diversity(of([[0, 1], [0, 2]], alike=alike)) == pytest.approx((0.8 + 1) / 2)
    assert diversity(of([[0, 1], [2]], alike=alike)) == pytest.approx(0.8)


@pytest.mark.parametrize("lists", [[], [[], []]])
def test_no_recommendations_are_nothing_measured_and_cover_nothing(lists):
    nothing = of(lists, alike=np.eye(4))
    found = {name: metric(nothing) for name, metric in LIST_METRICS.items()}
    assert found.pop("coverage") == 0 and all(map(isnan, found.values()))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_gini_agrees_with_its_definition_by_differences(items):
    counts = np.bincount(items, minlength=6)
    differences = np.abs(counts[:, None] - counts).sum() / (2 * 6 * counts.sum())
    assert gini(of([items], [0] * 6)) == pytest.approx(differences)
