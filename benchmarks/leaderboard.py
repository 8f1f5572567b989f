"""The leaderboard: our models and those of other libraries on the same folds, with one
search and one harness for all: python benchmarks/leaderboard.py followed by

    prepare WORK        the splits, as Parquet
    search WORK OUT     our models' trials on the inner splits
    choose WORK OUT     the best trial of every model on each inner split
    final WORK OUT      our models on the folds: with these settings, and by default
    report WORK OUT     all figures, into benchmarks/results.json

`make bench-board` runs all of it, with peers.py in between. Settings are chosen on a
split of each fold's own base: a random fifth of it is hidden, and the best of the
trials there is the one that is used on the fold. The fold's test is read by `report`
alone. Times are seconds of CPU, so that a busy machine does no harm.
"""

import argparse
import json
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import stored
from threadpoolctl import threadpool_limits
from trials import Settings, draw, write

from movierec.config import TasteConfig, load_config
from movierec.data import Dataset, fold, load
from movierec.evaluation import (
    LIST_LENGTH,
    MAIN_METRIC,
    Scores,
    Split,
    content_name,
    figures,
    fit_item_knn,
    hold_out,
    list_metrics,
    make_split,
    paired_difference,
    protocol,
    recommend_lists,
    standard_models,
    user_metrics,
)
from movierec.features import Features, build_features
from movierec.similarity import METHODS, similarity_matrix

FOLDS = [f"u{i}" for i in range(1, 6)]
INNER = [f"{name}.inner" for name in FOLDS]

RATINGS_ONLY: Settings = {
    "grades": [
        [-0.2, 0, 0.4, 0.8, 1],
        [0, 0.1, 0.4, 0.8, 1],
        [-0.3, -0.1, 0.4, 0.8, 1],
    ],
    "dropout": [0.5, 0.3, 0.4, 0.6, 0.7],
    "ridge": [10.0, (2.0, 50.0)],
    "baseline": [0.15, 0.0, 0.05, 0.1, 0.2],
}
CONTENT: Settings = {
    "content_weight": [10.0, (1.0, 60.0)],
    "shrinkage": [1.0, 0.0, 3.0],
}
FACTORS: Settings = {
    "factor_weight": [0.2, 0.1, 0.3, 0.4],
    "factors": [24, 16, 32],
    "unobserved": [0.168, (0.05, 0.5)],
    "factor_ridge": [0.0133, (0.004, 0.04)],
}
LINEAR: Settings = {"factor_weight": [0.0], "newcomer": [0.0]}  # the weights alone
SPACES: dict[str, Settings] = {  # as trials.draw reads them
    "random": {},
    "popular": {},
    # the methods that need nobody's names: the board's films come without
    **{content_name(method): {} for method in METHODS.values() if not method.parts},
    "item_knn": {
        "neighbours": [160, 10, 20, 40, 80, 320, 640],
        "shrinkage": [10.0, (0.1, 100.0)],
    },
    "taste_linear": RATINGS_ONLY | CONTENT | LINEAR,
    "taste_ratings_only": RATINGS_ONLY | FACTORS,
    "taste": RATINGS_ONLY | CONTENT | FACTORS,
}


def fit(model: str, split: Split, features: Features, settings: Settings) -> Scores:
    "One of our models with these settings."
    if model == "item_knn":
        return fit_item_knn(split, features, **settings)
    known = "taste" if model == "taste_linear" else model
    return standard_models(TasteConfig(**settings))[known](split, features)


def tables(dataset: Dataset, split: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    "Base and test of a fold (u1), or of the inner split of its base (u1.inner)."
    number = int(split[1])
    base, test = fold(dataset.ratings, number)
    return (
        hold_out(base, 0.2, seed=number) if split.endswith(".inner") else (base, test)
    )


def prepare(dataset: Dataset, work: Path) -> None:
    """Write base.parquet and users.parquet of every split. Test ratings are not
    written: nobody could peek."""
    for name in FOLDS + INNER:
        base, test = tables(dataset, name)
        (work / name).mkdir(parents=True, exist_ok=True)
        split = make_split(name, base, test, dataset)
        users = dataset.ratings["user_id"].unique().sort()[split.users.tolist()]
        base.write_parquet(work / name / "base.parquet")
        pl.DataFrame({"user_id": users}).write_parquet(work / name / "users.parquet")


def run(
    model: str, split: Split, features: Features, dataset: Dataset, settings: Settings
) -> tuple[pl.DataFrame, Any]:
    """Lists of one of our models (user_id, rank, movie_id), its settings and seconds;
    as peers.py does it."""
    users, movies = (
        dataset.ratings["user_id"].unique().sort(),
        dataset.movies["movie_id"],
    )
    start = time.process_time()
    scores = fit(model, split, features, settings)
    fitted = time.process_time()
    lists = recommend_lists(split, scores, LIST_LENGTH)
    done = time.process_time()
    rows = [
        (users[u], rank, movies[m])
        for u, items in lists.items()
        for rank, m in enumerate(items, 1)
    ]
    table = pl.DataFrame(
        rows,
        {"user_id": pl.Int64, "rank": pl.Int64, "movie_id": pl.Int64},
        orient="row",
    )
    seconds = {
        "fit_seconds": round(fitted - start, 4),
        "recommend_seconds": round(done - fitted, 4),
    }
    return table, {"settings": settings, **seconds}


def search(
    dataset: Dataset, features: Features, out: Path, trials: int, seed: int
) -> None:
    "The trials of our models; what is there already is left as it is."
    for model, space in SPACES.items():
        for name in INNER:
            path = out / model / name
            if path.with_name(f"{name}.json").exists():
                continue
            split = make_split(name, *tables(dataset, name), dataset)
            lists, abouts = [], []
            for trial, settings in enumerate(draw(space, trials if space else 1, seed)):
                table, about = run(model, split, features, dataset, settings)
                lists.append(
                    table.select(pl.lit(trial, pl.Int64).alias("trial"), pl.all())
                )
                abouts.append(about)
            write(pl.concat(lists), abouts, path)
            print(
                f"{model} {name}: {sum(a['fit_seconds'] for a in abouts):.0f} s of CPU",
                file=sys.stderr,
            )


def read_lists(table: pl.DataFrame, dataset: Dataset) -> dict[int, list[int]]:
    "Lists as the harness has them: rows of movies, by row of the user."
    user_ids, movie_ids = (
        dataset.ratings["user_id"].unique().sort(),
        dataset.movies["movie_id"],
    )
    user_row = {user: row for row, user in enumerate(user_ids)}
    movie_row = {movie: row for row, movie in enumerate(movie_ids)}
    lists: dict[int, list[int]] = {}
    for user, movie in (
        table.sort("user_id", "rank").select("user_id", "movie_id").iter_rows()
    ):
        lists.setdefault(user_row[user], []).append(movie_row[movie])
    return lists


def choose(dataset: Dataset, out: Path) -> dict[str, dict[str, Any]]:
    """For each model and fold: the trial with the best NDCG@10 on the inner split, its
    settings and that figure."""
    chosen: dict[str, dict[str, Any]] = {}
    splits = {name: make_split(name, *tables(dataset, name), dataset) for name in INNER}
    for model in sorted(
        path.name for path in out.iterdir() if (path / f"{INNER[0]}.json").exists()
    ):
        chosen[model] = {}
        for name, inner in zip(FOLDS, INNER, strict=True):
            abouts = json.loads((out / model / f"{inner}.json").read_text())
            lists = pl.read_parquet(out / model / f"{inner}.parquet").partition_by(
                "trial", as_dict=True
            )
            ndcg = [
                float(
                    user_metrics(
                        splits[inner], read_lists(lists[(trial,)], dataset), LIST_LENGTH
                    )[MAIN_METRIC].mean()
                )
                for trial in range(len(abouts))
            ]
            best = int(np.argmax(ndcg))
            chosen[model][name] = {
                "trial": best,
                "settings": abouts[best]["settings"],
                "inner_ndcg_at_10": ndcg[best],
            }
    return chosen


def check(split: Split, lists: dict[int, list[int]], model: str) -> None:
    """A list must be for the users who are measured, of distinct candidates, and at
    most ten long."""
    for user, items in lists.items():
        if (
            len(items) > LIST_LENGTH
            or len(set(items)) < len(items)
            or not split.candidates[user, items].all()
        ):
            raise SystemExit(
                f"{model}, {split.name}, user row {user}: "
                "a list with doubles, rated movies or too many"
            )


def measure(
    model: str, folder: Path, splits: dict[str, Split], dataset: Dataset, alike: Any
) -> tuple[pl.DataFrame, list[dict[str, float]], list[dict[str, Any]]]:
    "What a model's lists are worth: of users, of lists, and what was noted of a run."
    of_users, of_lists, abouts = [], [], []
    for name, split in splits.items():
        path = folder / model / name
        table = pl.read_parquet(path.with_name(f"{name}.parquet"))
        lists = read_lists(table, dataset)
        check(split, lists, model)
        of_users.append(user_metrics(split, lists, LIST_LENGTH))
        of_lists.append(list_metrics(split, lists, alike))
        abouts.append(json.loads(path.with_name(f"{name}.json").read_text()))
    return pl.concat(of_users), of_lists, abouts


def gap(ours: pl.DataFrame, theirs: pl.DataFrame) -> dict[str, Any]:
    "How much ours is above theirs: in all, its error, and by fold."
    mean, error = paired_difference(ours, theirs, MAIN_METRIC)
    both = ours.join(theirs, on=["fold", "user"], suffix="_other")
    change = pl.col(MAIN_METRIC) - pl.col(f"{MAIN_METRIC}_other")
    by_fold = both.group_by("fold", maintain_order=True).agg(change.mean())
    return {
        MAIN_METRIC: mean,
        "standard_error": error,
        "per_fold": by_fold[MAIN_METRIC].to_list(),
    }


def report(
    dataset: Dataset, features: Features, out: Path, peers: dict[str, Any]
) -> dict[str, Any]:
    "All figures of all models, nested and by default, and what taste is ahead by."
    chosen = json.loads((out / "chosen.json").read_text())
    alike = similarity_matrix(features, METHODS["cosine"])  # for diversity
    splits = {name: make_split(name, *tables(dataset, name), dataset) for name in FOLDS}
    nested, by_default, models = {}, {}, {}
    for model, per_fold in chosen.items():
        given = splits, dataset, alike
        nested[model], of_lists, abouts = measure(model, out / "final", *given)
        by_default[model], of_default, _ = measure(model, out / "default", *given)
        ours = {"library": "movierec", "version": version("movierec")}
        library, default = (
            peers.get(model, ours),
            figures(by_default[model], of_default),
        )
        models[model] = {
            "library": f"{library['library']} {library['version']}",
            "figures": figures(nested[model], of_lists),
            "default": {
                MAIN_METRIC: default[MAIN_METRIC],
                "standard_error": default["standard_error"][MAIN_METRIC],
            },
            "inner_ndcg_at_10": float(
                np.mean([c["inner_ndcg_at_10"] for c in per_fold.values()])
            ),
            "fit_seconds": float(np.median([about["fit_seconds"] for about in abouts])),
            "recommend_seconds": float(
                np.median([about["recommend_seconds"] for about in abouts])
            ),
            "search_seconds": cost(out, model),
            "settings": {name: c["settings"] for name, c in per_fold.items()},
        }
    for model, about in models.items():
        about["taste_minus"] = gap(nested["taste"], nested[model])
        about["default"]["taste_minus"] = gap(by_default["taste"], by_default[model])
    ordered = sorted(models, key=lambda m: -models[m]["figures"][MAIN_METRIC])
    return {
        "made": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, "
        f"Python {platform.python_version()}, one thread",
        "protocol": protocol(),
        "versions": {
            name: version(name)
            for name in ("movierec", "numpy", "polars", "scikit-learn")
        },
        "ease": json.loads((out / "ease.json").read_text()),
        "models": {model: models[model] for model in ordered},
    }


def cost(out: Path, model: str) -> float:
    "Seconds of CPU of all trials of a model."
    paths = [out / model / f"{name}.json" for name in INNER]
    abouts = [about for path in paths for about in json.loads(path.read_text())]
    return sum(about["fit_seconds"] + about["recommend_seconds"] for about in abouts)


def make_final(dataset: Dataset, features: Features, out: Path) -> None:
    "The lists of our models on the folds, with the chosen settings and the defaults."
    chosen = json.loads((out / "chosen.json").read_text())
    for model, space in SPACES.items():
        for name in FOLDS:
            split = make_split(name, *tables(dataset, name), dataset)
            settings = chosen[model][name]["settings"]
            found = run(model, split, features, dataset, settings)
            write(*found, out / "final" / model / name)
            found = run(model, split, features, dataset, draw(space, 1, 0)[0])
            write(*found, out / "default" / model / name)


def write_settings(
    chosen: dict[str, dict[str, Any]], out: Path, peers: dict[str, Any]
) -> None:
    "What peers.py needs for its final lists: the chosen settings, and the defaults."
    theirs = {m: per for m, per in chosen.items() if m not in SPACES}
    for name, settings in {
        "settings": {
            m: {f: c["settings"] for f, c in per.items()} for m, per in theirs.items()
        },
        "defaults": {m: dict.fromkeys(FOLDS, peers[m]["default"]) for m in theirs},
    }.items():
        (out / f"{name}.json").write_text(json.dumps(settings, indent=1) + "\n")


def main() -> None:
    "Read the command line."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "command", choices=["prepare", "search", "choose", "final", "report"]
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.command != "prepare" and given.out is None:
        parser.error(f"{given.command} needs OUT, the folder of the lists")
    config = load_config()
    dataset = load(config.data_dir)
    features = build_features(dataset.movies, dataset.genres, config.features)
    with threadpool_limits(limits=1):
        if given.command == "prepare":
            prepare(dataset, given.work)
        elif given.command == "search":
            search(dataset, features, given.out, given.trials, given.seed)
        elif given.command == "choose":
            chosen = choose(dataset, given.out)
            (given.out / "chosen.json").write_text(json.dumps(chosen, indent=1) + "\n")
            peers = json.loads((given.out / "peers.json").read_text())
            write_settings(chosen, given.out, peers)
        elif given.command == "final":
            make_final(dataset, features, given.out)
        else:
            peers = json.loads((given.out / "peers.json").read_text())
            stored.store("leaderboard", report(dataset, features, given.out, peers))


if __name__ == "__main__":
    main()
