"The harness: splits, models, ties, errors; and what `movierec evaluate` writes."

import json
import shutil

import numpy as np
import polars as pl
import pytest
import yaml
from click.testing import CliRunner
from conftest import ALL_FOLDS, FOLDS

from movierec import evaluation
from movierec.artifacts import (
    created_at,
    open_version,
    provenance,
    save,
    set_latest,
)
from movierec.cli import main
from movierec.config import TasteConfig, load_config
from movierec.data import Dataset, fold
from movierec.evaluation import (
    Split,
    cold_splits,
    evaluate,
    evaluate_version,
    figures_over_draws,
    fit_item_knn,
    folds,
    hold_out,
    list_metrics,
    mean_and_error,
    model_card,
    paired_difference,
    rank_candidates,
    recommend_lists,
    standard_models,
    tabulate_stars,
    user_metrics,
)
from movierec.features import build_features
from movierec.files import DataError
from movierec.makers import about_data
from movierec.metrics import LIST_METRICS, METRICS
from movierec.similarity import METHODS, Method, similarity_matrix


@pytest.fixture(scope="module")
def small():
    "Sixty people and fifty movies, made up; so few genres that many scores are equal."
    rng, genres = np.random.default_rng(0), ("a", "b", "c", "d")
    flags = rng.random((50, 4)) < 0.4
    names = [[g for g, has in zip(genres, row, strict=True) if has] for row in flags]
    movies = pl.DataFrame(
        {
            "movie_id": range(1, 51),
            "title": [f"movie {i}" for i in range(1, 51)],
            "year": rng.integers(1990, 1993, 50),
            "genres": pl.Series(names, dtype=pl.List(pl.String)),
        }
    )
    pairs = rng.permutation(60 * 50)[:1200]
    ratings = pl.DataFrame(
        {
            "user_id": pairs // 50 + 1,
            "movie_id": pairs % 50 + 1,
            "rating": rng.integers(1, 6, 1200),
            "timestamp": np.arange(1200),
        }
    )
    return Dataset("small", movies, ratings, None, genres, {})


@pytest.fixture(scope="module")
def quick():
    "Settings for it: its few films need no long search for factors."
    return load_config(taste={"factors": 2, "sweeps": 1})


@pytest.fixture(scope="module")
def of_small(small, quick):
    "What is found about it."
    return evaluate(small, quick)


# The harness


def test_ties_are_in_random_order_with_a_fixed_seed():
    scores, candidates = np.array([1.0, 1, 1, 0]), np.ones(4, dtype=bool)

    def order(seed):
        rng = np.random.default_rng(seed)
        return tuple(rank_candidates(scores, candidates, 4, rng))

    orders = {order(seed) for seed in range(200)}
    assert len(orders) == 6 and all(order[-1] == 3 for order in orders)
    assert len({order(5) for _ in range(9)}) == 1


@pytest.mark.parametrize("name", standard_models(TasteConfig()))
def test_noise_in_the_last_digits_changes_no_list(small, name):
    "What another processor, or another order of adding, does to scores."
    features = build_features(small.movies, small.genres)
    split, noise = folds(small)[0], np.random.default_rng(1)
    scores = standard_models(TasteConfig())[name](split, features)

    def noisy(table):
        found = scores(table)
        return found * (1 + 1e-15 * noise.standard_normal(found.shape))

    assert recommend_lists(split, noisy, 10) == recommend_lists(split, scores, 10)


def test_what_differs_by_more_than_12_decimals_is_no_tie():
    scores, every = np.array([0.3, 0.3 + 2e-12]), np.ones(2, bool)
    for seed in range(20):
        assert rank_candidates(scores, every, 2, np.random.default_rng(seed)) == [1, 0]


def test_neighbours_that_are_equal_on_paper_all_vote():
    "Two films with the same fans, in another order, are equally near to a third."
    fans = np.array([[5, 5, 0], [4, 4, 0], [5, 0, 5], [4, 0, 4]] * 9, np.float32)
    split = Split("toy", fans, fans > 0, fans == 0)
    votes = fit_item_knn(split, None, neighbours=1)(np.eye(3) * 5)
    assert votes[1, 0] == votes[2, 0] > 0


def test_the_order_of_people_changes_no_neighbour(small):
    split, shuffled = folds(small)[0], np.random.default_rng(0).permutation(60)
    parts = (split.base[shuffled], split.liked[shuffled], split.candidates[shuffled])
    votes = fit_item_knn(split, None, neighbours=5)(np.eye(50) * 5)
    again = fit_item_knn(Split("u1", *parts), None, neighbours=5)(np.eye(50) * 5)
    assert np.array_equal(votes, again)


def test_only_candidates_are_listed_and_fewer_than_k_if_there_are_fewer():
    scores, candidates = np.array([3.0, 2, 1]), np.array([False, True, False])
    assert rank_candidates(scores, candidates, 10, np.random.default_rng(0)) == [1]


def test_a_perfect_and_a_blind_model():
    rng = np.random.default_rng(3)
    liked = rng.random((20, 30)) < 0.2
    base, every = np.zeros((20, 30), np.float32), np.ones((20, 30), bool)
    split = Split("toy", base, liked, every)
    lists = recommend_lists(split, lambda table: liked[split.users] * 1.0, 10)
    perfect = user_metrics(split, lists, 10)
    assert perfect["ndcg_at_10"].to_list() == pytest.approx([1] * len(split.users))
    nobody = user_metrics(split, {}, 10).drop("fold", "user")
    assert set(nobody.columns) == {f"{name}_at_10" for name in METRICS}
    assert nobody.sum_horizontal().to_list() == [0] * len(split.users)


def test_only_what_was_rated_in_the_base_counts_as_a_rating():
    base = np.array([[4, 0, 1], [5, 0, 0], [0, 0, 0]], np.float32)
    every = np.ones(base.shape, bool)
    split = Split("toy", base, every, every)
    about = list_metrics(split, {0: [0, 1], 1: [1, 2]}, np.eye(3))
    assert about["popularity"] == (2 + 0 + 0 + 1) / 4
    assert about["novelty"] == pytest.approx(np.log2([3 / 2, 3, 3, 3]).mean())
    assert about["coverage"] == 1 and about["diversity"] == 1
    assert list(about) == list(LIST_METRICS)


def test_splits_are_compared_as_things():
    split = Split("toy", np.zeros((1, 1)), np.ones((1, 1), bool), np.ones((1, 1), bool))
    assert split == split and hash(split) == hash(split)


def test_the_standard_error_counts_a_user_in_several_folds_as_one():
    values = pl.DataFrame(
        {"fold": ["a", "a", "b", "b"], "user": [1, 2, 1, 2], "v": [0.0, 1, 0, 1]}
    )
    assert mean_and_error(values, "v") == pytest.approx((0.5, np.sqrt(2 * 0.25**2)))
    apart = values.with_columns(user=pl.Series([1, 2, 3, 4]))
    assert mean_and_error(apart, "v") == pytest.approx((0.5, np.sqrt(4 * 0.125**2)))
    assert paired_difference(
        values, values.with_columns(v=pl.col("v") - 0.25), "v"
    ) == pytest.approx((0.25, 0))


def test_the_standard_error_over_draws_is_that_of_their_mean():
    values = {"fold": ["a", "b", "c"], "user": [1, 1, 1], "v": [0.0, 1, 2]}
    found = figures_over_draws(pl.DataFrame(values), [{"w": n} for n in (1, 2, 6)])
    assert found["v"] == 1 and found["w"] == 3
    assert found["standard_error"] == {"v": pytest.approx(1 / np.sqrt(3))}


def test_folds_hide_every_rating_once_and_leak_none(dataset):
    splits = folds(dataset)
    whole = tabulate_stars(dataset.ratings, dataset)
    assert sum((whole > 0) & (split.base == 0) for split in splits).max() == 1
    for split in splits:
        assert not (split.liked & (split.base > 0)).any()
        assert np.array_equal(split.candidates, split.base == 0)
        assert np.array_equal(split.liked, (whole >= 4) & (split.base == 0))
        assert len(split.users) > 400


def test_cold_splits_hide_all_ratings_of_the_candidates(dataset):
    for split in cold_splits(dataset, [7, 8]):
        assert (
            split.candidates[0].sum() == 168
            and split.base[:, split.candidates[0]].sum() == 0
        )
        assert not (split.liked & ~split.candidates).any() and split.liked.any()


def test_hold_out_splits_without_overlap(dataset):
    base = fold(dataset.ratings, 1)[0]
    kept, hidden = hold_out(base, 0.2, seed=1)
    assert (len(kept), len(hidden)) == (64_000, 16_000)
    assert (
        pl.concat([kept, hidden])
        .sort("user_id", "movie_id")
        .equals(base.sort("user_id", "movie_id"))
    )
    assert hold_out(base, 0.2, seed=1)[1].equals(hidden) and not hold_out(
        base, 0.2, seed=2
    )[1].equals(hidden)


# The report


def measure_less(patch, newcomers):
    "Let an evaluation fit the taste model on fewer splits, and on no newcomers."

    def fewer_models(*settings):
        found = standard_models(*settings)
        del found["taste_ratings_only"]
        return found

    patch.setattr(evaluation, "folds", lambda data: folds(data)[FOLDS])
    patch.setattr(evaluation, "cold_splits", lambda data: cold_splits(data, [0, 1]))
    patch.setattr(evaluation, "standard_models", fewer_models)
    patch.setattr(evaluation, "compare_newcomers", lambda *asked: newcomers)


@pytest.fixture(scope="module")
def evaluated(dataset, of_small, tmp_path_factory):
    """A folder with a version, and what `movierec evaluate --json` says about it: on
    some of the folds, where the chapter measures all models on all of them."""
    root = tmp_path_factory.mktemp("evaluated")
    environment = {
        "MOVIEREC_MODEL__DIR": str(root / "artifacts"),
        "MOVIEREC_LOGGING__HANDLERS": "[]",
        "FORCE_COLOR": None,
    }
    counts = {"movies": 1682, "ratings": 100_000, "users": 943, "learned_movies": 1682}
    counts["feature_vectors"] = 710
    metadata = {
        "created_at": created_at(),
        "provenance": provenance(dataset.digests, load_config()),
        "counts": counts,
        "data": about_data(dataset),
    }
    save(root / "artifacts", "v1.0.0", lambda folder: None, metadata)
    set_latest(root / "artifacts", "v1.0.0")
    with pytest.MonkeyPatch.context() as patch:
        if not ALL_FOLDS:
            measure_less(patch, of_small["newcomers"])
        done = CliRunner().invoke(main, ["evaluate", "--json"], env=environment)
    assert done.exit_code == 0, done.output
    return root / "artifacts", environment, json.loads(done.stdout)


@pytest.mark.parametrize("data", ["ml-100k", "small"])
def test_the_report_has_the_agreed_form_and_adds_up(data, evaluated, of_small):
    whole = data == "small" or ALL_FOLDS
    report, n_folds = of_small if data == "small" else evaluated[2], 5 if whole else 1
    names = {"random", "popular", "item_knn", "content_cosine", "content_jaccard"}
    names |= {"content", "taste"} if data == "ml-100k" else {"taste"}
    names |= {"taste_ratings_only"} if whole else set()
    assert report["models"].keys() == report["cold"].keys() == names
    for part, n in (("models", n_folds), ("cold", 2 * n_folds)):
        for figures in report[part].values():
            assert len(figures["per_fold"]) == n
            for metric in [f"{name}_at_10" for name in METRICS] + list(LIST_METRICS):
                per_fold = [row[metric] for row in figures["per_fold"]]
                assert figures[metric] == pytest.approx(np.mean(per_fold))
    assert report["protocol"]["k"] == 10 and "ties" in report["protocol"]
    for name, gap in report["taste_minus"].items():
        expected = (
            report["models"]["taste"]["ndcg_at_10"]
            - report["models"][name]["ndcg_at_10"]
        )
        assert gap["ndcg_at_10"] == pytest.approx(expected)


def test_the_figures_are_those_that_the_project_stands_for(evaluated):
    models, cold = evaluated[2]["models"], evaluated[2]["cold"]
    assert (
        models["taste"]["ndcg_at_10"] > 0.41 and models["taste"]["recall_at_10"] > 0.28
    )
    assert models["taste"]["hit_rate_at_10"] > 0.86
    assert (
        0.19 < models["popular"]["ndcg_at_10"] < 0.23
        and models["random"]["ndcg_at_10"] < 0.02
    )
    assert cold["taste"]["ndcg_at_10"] > 0.2 > 0.1 > cold["random"]["ndcg_at_10"]


def test_the_report_is_written_beside_the_version_and_breaks_no_digest(evaluated):
    root, _, report = evaluated
    artifact = open_version(root)
    assert json.loads((artifact.folder / "evaluation.json").read_text()) == report
    card = (artifact.folder / "MODEL_CARD.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    values = {
        m["type"]: m["value"] for m in front["model-index"][0]["results"][0]["metrics"]
    }
    assert values["ndcg_at_10"] == round(report["models"]["taste"]["ndcg_at_10"], 4)
    for heading in (
        "Intended use",
        "Data and licence",
        "Method",
        "Figures",
        "Known limits",
    ):
        assert f"\n## {heading}\n" in card
    assert artifact.verify() == [] and str(root) not in card + json.dumps(report)


def test_a_version_with_other_settings_is_not_evaluated(evaluated):
    _, environment, _ = evaluated
    done = CliRunner().invoke(
        main, ["evaluate"], env=environment | {"MOVIEREC_TASTE__RIDGE": "20"}
    )
    assert (
        done.exit_code == 1
        and "was trained with other data, settings or libraries" in done.output
    )


def test_without_data_or_a_version_evaluate_says_what_to_do(evaluated, tmp_path):
    _, environment, _ = evaluated
    done = CliRunner().invoke(
        main, ["evaluate", "--data", str(tmp_path)], env=environment
    )
    assert done.exit_code == 1 and "movierec fetch" in done.output
    done = CliRunner().invoke(
        main, ["evaluate"], env=environment | {"MOVIEREC_MODEL__DIR": str(tmp_path)}
    )
    assert done.exit_code == 1 and "movierec train" in done.output


def test_figures_that_cant_be_written_are_an_error_that_says_where(
    evaluated, tmp_path, monkeypatch
):
    root, environment, report = evaluated
    copy = shutil.copytree(root, tmp_path / "artifacts")
    (copy / "v1.0.0" / "evaluation.json").unlink()
    (copy / "v1.0.0" / "evaluation.json").mkdir()
    monkeypatch.setattr("movierec.evaluation.evaluate", lambda *_: report)
    done = CliRunner().invoke(
        main, ["evaluate"], env=environment | {"MOVIEREC_MODEL__DIR": str(copy)}
    )
    assert (
        done.exit_code == 1
        and "the evaluation can't be written to" in done.output
        and "v1.0.0" in done.output
    )


def test_evaluating_twice_gives_the_same_figures(small, quick, of_small):
    assert evaluate(small, quick) == of_small


def test_the_folds_are_those_of_the_100k(evaluated, small, monkeypatch):
    root, _, _ = evaluated
    monkeypatch.setattr(evaluation, "read_dataset", lambda *_: small)
    with pytest.raises(DataError, match="small, and the folds u1 to u5 are made of"):
        evaluate_version(load_config(model={"dir": root}))


# What is added is there


def test_a_metric_that_is_added_is_measured_and_shown(small, quick, monkeypatch):
    def first_hit(items, relevant, k):
        return float(items[0] in relevant)

    monkeypatch.setitem(METRICS, "first_hit", first_hit)
    monkeypatch.setitem(LIST_METRICS, "n_lists", lambda given: float(len(given.lists)))
    split, report = folds(small)[0], evaluate(small, quick)
    table = user_metrics(split, {int(u): [0] for u in split.users}, 10)
    assert table["first_hit_at_10"].to_list() == split.liked[split.users, 0].tolist()
    for part in ("models", "cold"):
        for figures in report[part].values():
            assert 0 <= figures["first_hit_at_10"] <= 1
            assert "first_hit_at_10" in figures["standard_error"]
            assert all("n_lists" in row for row in figures["per_fold"])
    n_lists = [len(split.users) for split in folds(small)]
    assert report["models"]["taste"]["n_lists"] == np.mean(n_lists)
    counts = dict.fromkeys(("movies", "ratings", "users", "learned_movies"), 1)
    data = {"name": "small", "licence": "none"}
    card = model_card(report, {"version": "v1.0.0", "counts": counts, "data": data})
    assert "first_hit_at_10" in yaml.safe_load(card.split("---\n")[1])["metrics"]
    lines = card.splitlines()
    heading, of_few = [line for line in lines if line.startswith("| model |")]
    assert of_few == "| model | n = 1 | n = 2 | n = 3 | n = 5 | n = 10 |"
    assert "| first_hit |" in heading and heading.endswith("| n_lists |")
    row, few = [line for line in lines if line.startswith("| popular |")]
    assert few.count("|") == of_few.count("|")
    assert row.count("|") == heading.count("|")
    assert row.endswith(f"| {np.mean(n_lists):.3f} |")


def test_a_method_that_is_added_is_a_model(small, quick, monkeypatch):
    def smaller(dot, square, other):
        return np.minimum(square, other)

    monkeypatch.setitem(METHODS, "overlap", Method("overlap", smaller, ("genres",)))
    report = evaluate(small, quick)
    assert "content_overlap" in report["models"] and "content_overlap" in report["cold"]
    assert "content_overlap" in report["taste_minus"]
    features = build_features(small.movies, small.genres)
    split, fit = folds(small)[0], standard_models(TasteConfig())["content_overlap"]
    scores = fit(split, features)(np.eye(50) * 5)
    alike = similarity_matrix(features, METHODS["overlap"])
    assert scores == pytest.approx(alike)


def test_progress_counts_every_model_on_every_split_once(small, quick):
    calls = []
    evaluate(small, quick, lambda *call: calls.append(call))
    # all but 'content', since nobody knows who made these
    n, done = len(standard_models(TasteConfig())) - 1, [call[1] for call in calls]
    total = 15 * n + 3  # and three models for people with few ratings
    assert done == sorted(done) and set(done) == set(range(total + 1))
    assert {call[2] for call in calls} == {total}


# The stored leaderboard


def test_the_stored_leaderboard_adds_up():
    results = json.loads(
        (load_config().home / "benchmarks" / "results.json").read_text()
    )["leaderboard"]
    figures = {name: about["figures"] for name, about in results["models"].items()}
    assert {
        "taste",
        "taste_ratings_only",
        "rectools-ease",
        "implicit-als",
        "implicit-bpr",
        "implicit-knn",
    } <= figures.keys()
    assert {
        "rectools-puresvd",
        "lenskit-als",
        "random",
        "popular",
        "item_knn",
    } <= figures.keys()
    order = [f["ndcg_at_10"] for f in figures.values()]
    assert order == sorted(order, reverse=True)
    for name, about in results["models"].items():
        assert about["figures"]["ndcg_at_10"] == pytest.approx(
            np.mean([r["ndcg_at_10"] for r in about["figures"]["per_fold"]])
        )
        gap = figures["taste"]["ndcg_at_10"] - figures[name]["ndcg_at_10"]
        assert (
            about["taste_minus"]["ndcg_at_10"] == pytest.approx(gap)
            and len(about["settings"]) == 5
        )
