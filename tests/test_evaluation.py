"Metrics against values by hand and against scikit-learn, the harness, and what `movierec evaluate` writes."

import json
import shutil
from math import isnan, log2

import numpy as np
import polars as pl
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from movierec.artifacts import open_version
from movierec.cli import main
from movierec.config import TasteConfig, load_config
from movierec.data import fold
from movierec.evaluation import (
    METRICS,
    Split,
    average_precision_at_k,
    cold_splits,
    coverage,
    diversity,
    evaluate,
    folds,
    gini,
    hit_rate_at_k,
    hits,
    hold_out,
    mean_and_error,
    ndcg_at_k,
    novelty,
    paired_difference,
    popularity,
    precision_at_k,
    recall_at_k,
    reciprocal_rank_at_k,
    recommend_lists,
    stars_matrix,
    top_k,
    user_metrics,
)
from movierec.training import train

ALL = (ndcg_at_k, recall_at_k, precision_at_k, reciprocal_rank_at_k, average_precision_at_k, hit_rate_at_k)

# One list

BY_HAND = [  # list, relevant, k, then ndcg, recall, precision, reciprocal rank, average precision, hit rate
    ([1, 2, 3], {1, 2, 3}, 3, 1, 1, 1, 1, 1, 1),
    ([1, 2, 3], {9}, 3, 0, 0, 0, 0, 0, 0),
    ([9, 1], {1}, 2, 1 / log2(3), 1, 1 / 2, 1 / 2, 1 / 2, 1),
    ([1, 9, 2, 8], {1, 2, 3}, 4, (1 + 1 / 2) / (1 + 1 / log2(3) + 1 / 2), 2 / 3, 2 / 4, 1, (1 + 2 / 3) / 3, 1),
    ([9, 8, 7, 1], {1}, 3, 0, 0, 0, 0, 0, 0),  # a hit beyond k is none
    ([1], {1, 2}, 10, 1 / (1 + 1 / log2(3)), 1 / 2, 1 / 10, 1, 1 / 2, 1),  # fewer than k items
    ([], {1}, 10, 0, 0, 0, 0, 0, 0),
    ([1, 2], {1, 2, 3, 4}, 2, 1, 1 / 2, 1, 1, 1, 1),  # more relevant items than places
    ([1, 1, 1], {1, 2}, 3, 1 / (1 + 1 / log2(3)), 1 / 2, 1 / 3, 1, 1 / 2, 1),  # duplicates: one hit
    ([9, 9, 1], {1}, 3, 1 / 2, 1, 1 / 3, 1 / 3, 1 / 3, 1),
]


@pytest.mark.parametrize("case", BY_HAND, ids=[str(case[:3]) for case in BY_HAND])
def test_metrics_by_hand(case):
    items, relevant, k, *expected = case
    assert [metric(items, relevant, k) for metric in ALL] == pytest.approx(expected)


@pytest.mark.parametrize("metric", ALL)
def test_nothing_relevant_is_nothing_measured(metric):
    assert isnan(metric([1, 2, 3], set(), 3)) and isnan(metric([], set(), 3))


lists_and_relevant = st.tuples(
    st.lists(st.integers(0, 12), max_size=12), st.sets(st.integers(0, 12), min_size=1), st.integers(1, 12)
)


@given(lists_and_relevant)
def test_metrics_lie_between_0_and_1_and_grow_with_a_hit_in_front(case):
    items, relevant, k = case
    better = [min(relevant), *(item for item in items if item != min(relevant))]
    for metric in ALL:
        assert 0 <= metric(items, relevant, k) <= 1 + 1e-12
        if hits(items, relevant, k)[:1] == [False]:
            assert metric(better, relevant, k) >= metric(items, relevant, k) - 1e-12


@given(st.permutations(range(12)), st.sets(st.integers(0, 11), min_size=1), st.integers(1, 12))
def test_ndcg_agrees_with_scikit_learn(items, relevant, k):
    truth = [[item in relevant for item in range(12)]]
    scores = [[-items.index(item) for item in range(12)]]
    assert ndcg_at_k(items, relevant, k) == pytest.approx(ndcg_score(truth, scores, k=k))


@given(st.permutations(range(8)), st.sets(st.integers(0, 7), min_size=1), st.integers(1, 8))
def test_average_precision_agrees_with_its_definition(items, relevant, k):
    total = sum(precision_at_k(items, relevant, place) for place in range(1, k + 1) if items[place - 1] in relevant)
    assert average_precision_at_k(items, relevant, k) == pytest.approx(total / min(k, len(relevant)))


# All lists


def test_figures_of_all_lists_by_hand():
    alike = np.array([[1, 0.2, 0], [0.2, 1, 0], [0, 0, 1.0]])
    assert coverage([[0, 1], [1]], 4) == 1 / 2
    assert gini([[0], [1], [2], [3]], 4) == pytest.approx(0)
    assert gini([[0, 1], [0]], 2) == pytest.approx(1 / 6)
    assert isnan(gini([[], []], 4))
    assert novelty([[0], [1]], np.array([4, 0]), 8) == pytest.approx((1 + 3) / 2)
    assert popularity([[0, 1], [1]], np.array([6, 3])) == pytest.approx((6 + 3 + 3) / 3)
    assert diversity([[0, 1], [0, 2]], alike) == pytest.approx((0.8 + 1) / 2)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_gini_agrees_with_its_definition_by_differences(items):
    counts = np.bincount(items, minlength=6)
    differences = np.abs(counts[:, None] - counts).sum() / (2 * 6 * counts.sum())
    assert gini([items], 6) == pytest.approx(differences)


# The harness


def test_ties_are_in_random_order_with_a_fixed_seed():
    scores, candidates = np.array([1.0, 1, 1, 0]), np.ones(4, dtype=bool)
    orders = {tuple(top_k(scores, candidates, 4, np.random.default_rng(seed))) for seed in range(200)}
    assert len(orders) == 6 and all(order[-1] == 3 for order in orders)
    assert len({tuple(top_k(scores, candidates, 4, np.random.default_rng(5))) for _ in range(9)}) == 1


def test_only_candidates_are_listed_and_fewer_than_k_if_there_are_fewer():
    assert top_k(np.array([3.0, 2, 1]), np.array([False, True, False]), 10, np.random.default_rng(0)) == [1]


def test_a_perfect_and_a_blind_model():
    rng = np.random.default_rng(3)
    liked = rng.random((20, 30)) < 0.2
    split = Split("toy", np.zeros((20, 30), dtype=np.float32), liked, np.ones((20, 30), dtype=bool))
    perfect = user_metrics(split, recommend_lists(split, lambda stars: liked[split.users].astype(float), 10), 10)
    assert perfect["ndcg_at_10"].to_list() == pytest.approx([1] * len(split.users))
    nobody = user_metrics(split, {}, 10)
    assert nobody.select(f"{name}_at_10" for name in METRICS).sum_horizontal().to_list() == [0] * len(split.users)


def test_the_standard_error_counts_a_user_in_several_folds_as_one():
    values = pl.DataFrame({"fold": ["a", "a", "b", "b"], "user": [1, 2, 1, 2], "v": [0.0, 1, 0, 1]})
    assert mean_and_error(values, "v") == pytest.approx((0.5, np.sqrt(2 * 0.25**2)))
    apart = values.with_columns(user=pl.Series([1, 2, 3, 4]))
    assert mean_and_error(apart, "v") == pytest.approx((0.5, np.sqrt(4 * 0.125**2)))
    assert paired_difference(values, values.with_columns(v=pl.col("v") - 0.25), "v") == pytest.approx((0.25, 0))


def test_folds_hide_every_rating_once_and_leak_none(dataset):
    splits = folds(dataset)
    whole = stars_matrix(dataset.ratings, dataset)
    assert sum((whole > 0) & (split.stars == 0) for split in splits).max() == 1
    for split in splits:
        assert not (split.liked & (split.stars > 0)).any()
        assert np.array_equal(split.candidates, split.stars == 0)
        assert (whole[split.liked] >= 4).all() and len(split.users) > 400


def test_cold_splits_hide_all_ratings_of_the_candidates(dataset):
    for split in cold_splits(dataset, [7, 8]):
        assert split.candidates[0].sum() == 168 and split.stars[:, split.candidates[0]].sum() == 0
        assert not (split.liked & ~split.candidates).any() and split.liked.any()


def test_hold_out_splits_without_overlap(dataset):
    base = fold(dataset.ratings, 1)[0]
    kept, hidden = hold_out(base, 0.2, seed=1)
    assert (len(kept), len(hidden)) == (64_000, 16_000)
    assert pl.concat([kept, hidden]).sort("user_id", "movie_id").equals(base.sort("user_id", "movie_id"))
    assert hold_out(base, 0.2, seed=1)[1].equals(hidden) and not hold_out(base, 0.2, seed=2)[1].equals(hidden)


# The report


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    "A home with a trained version, and what `movierec evaluate --json` says about it."
    root = tmp_path_factory.mktemp("evaluated")
    environment = {
        "MOVIEREC_MODEL__DIR": str(root / "artifacts"),
        "MOVIEREC_LOGGING__HANDLERS": "[]",
        "FORCE_COLOR": None,
    }
    train(load_config(model={"dir": root / "artifacts"}))
    done = CliRunner().invoke(main, ["evaluate", "--json"], env=environment)
    assert done.exit_code == 0, done.output
    return root / "artifacts", environment, json.loads(done.stdout)


def test_the_report_has_the_agreed_form_and_adds_up(evaluated):
    _, _, report = evaluated
    names = {"random", "popular", "content_cosine", "content_jaccard", "item_knn", "taste_ratings_only", "taste"}
    assert report["models"].keys() == report["cold"].keys() == names
    for part, n in (("models", 5), ("cold", 10)):
        for figures in report[part].values():
            assert len(figures["per_fold"]) == n
            for metric in [f"{name}_at_10" for name in METRICS] + [
                "coverage",
                "diversity",
                "novelty",
                "gini",
                "popularity",
            ]:
                assert figures[metric] == pytest.approx(np.mean([row[metric] for row in figures["per_fold"]]))
    assert report["protocol"]["k"] == 10 and "ties" in report["protocol"]
    for name, gap in report["taste_minus"].items():
        expected = report["models"]["taste"]["ndcg_at_10"] - report["models"][name]["ndcg_at_10"]
        assert gap["ndcg_at_10"] == pytest.approx(expected)


def test_the_figures_are_those_that_the_project_stands_for(evaluated):
    models, cold = evaluated[2]["models"], evaluated[2]["cold"]
    assert models["taste"]["ndcg_at_10"] > 0.41 and models["taste"]["recall_at_10"] > 0.28
    assert models["taste"]["hit_rate_at_10"] > 0.86
    assert 0.19 < models["popular"]["ndcg_at_10"] < 0.22 and models["random"]["ndcg_at_10"] < 0.02
    assert cold["taste"]["ndcg_at_10"] > 0.2 > 0.1 > cold["random"]["ndcg_at_10"]


def test_the_report_is_written_beside_the_version_and_breaks_no_digest(evaluated):
    root, _, report = evaluated
    artifact = open_version(root)
    assert json.loads((artifact.folder / "evaluation.json").read_text()) == report
    card = (artifact.folder / "MODEL_CARD.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    values = {m["type"]: m["value"] for m in front["model-index"][0]["results"][0]["metrics"]}
    assert values["ndcg_at_10"] == round(report["models"]["taste"]["ndcg_at_10"], 4)
    for heading in ("Intended use", "Data and licence", "Method", "Figures", "Known limits"):
        assert f"\n## {heading}\n" in card
    assert artifact.verify() == [] and str(root) not in card + json.dumps(report)


def test_a_version_with_other_settings_is_not_evaluated(evaluated):
    _, environment, _ = evaluated
    done = CliRunner().invoke(main, ["evaluate"], env=environment | {"MOVIEREC_TASTE__RIDGE": "20"})
    assert done.exit_code == 1 and "was trained with other data, settings or libraries" in done.output


def test_without_data_or_a_version_evaluate_says_what_to_do(evaluated, tmp_path):
    _, environment, _ = evaluated
    done = CliRunner().invoke(main, ["evaluate", "--data", str(tmp_path)], env=environment)
    assert done.exit_code == 1 and "movierec fetch" in done.output
    done = CliRunner().invoke(main, ["evaluate"], env=environment | {"MOVIEREC_MODEL__DIR": str(tmp_path)})
    assert done.exit_code == 1 and "movierec train" in done.output


def test_figures_that_cant_be_written_are_an_error_that_says_where(evaluated, tmp_path, monkeypatch):
    root, environment, report = evaluated
    copy = shutil.copytree(root, tmp_path / "artifacts")
    (copy / "v1.0.0" / "evaluation.json").unlink()
    (copy / "v1.0.0" / "evaluation.json").mkdir()
    monkeypatch.setattr("movierec.evaluation.evaluate", lambda *_: report)
    done = CliRunner().invoke(main, ["evaluate"], env=environment | {"MOVIEREC_MODEL__DIR": str(copy)})
    assert done.exit_code == 1 and "the evaluation can't be written to" in done.output and "v1.0.0" in done.output


def test_evaluating_twice_gives_the_same_figures(dataset, evaluated, monkeypatch):
    from movierec import evaluation

    monkeypatch.setattr(evaluation, "standard_models", lambda config: {"taste": kept["taste"]})
    kept = {"taste": lambda split, features: evaluation.fit_taste_model(split, features, TasteConfig())}
    again = evaluate(dataset, load_config())
    assert again["models"]["taste"] == evaluated[2]["models"]["taste"]


# The stored leaderboard


def test_the_stored_leaderboard_adds_up():
    results = json.loads((load_config().home / "benchmarks" / "results.json").read_text())["leaderboard"]
    figures = {name: about["figures"] for name, about in results["models"].items()}
    assert {
        "taste",
        "taste_ratings_only",
        "rectools-ease",
        "implicit-als",
        "implicit-bpr",
        "implicit-knn",
    } <= figures.keys()
    assert {"rectools-puresvd", "lenskit-als", "random", "popular", "item_knn"} <= figures.keys()
    order = [f["ndcg_at_10"] for f in figures.values()]
    assert order == sorted(order, reverse=True)
    for name, about in results["models"].items():
        assert about["figures"]["ndcg_at_10"] == pytest.approx(
            np.mean([r["ndcg_at_10"] for r in about["figures"]["per_fold"]])
        )
        gap = figures["taste"]["ndcg_at_10"] - figures[name]["ndcg_at_10"]
        assert about["taste_minus"]["ndcg_at_10"] == pytest.approx(gap) and len(about["settings"]) == 5
