"""Recommenders of other libraries, and of papers, on our folds: settings in, lists of
ten out, as Parquet, in their own environment.

    python -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/peers.txt
    .venv-peers/bin/python benchmarks/peers.py list
    .venv-peers/bin/python benchmarks/peers.py search WORK OUT --trials 20 --seed 0
    .venv-peers/bin/python benchmarks/peers.py final WORK OUT --settings settings.json

WORK holds a folder for each split, with base.parquet (user_id, movie_id, rating) and
users.parquet (user_id). What the lists are worth is decided elsewhere
(benchmarks/leaderboard.py): nothing here ever sees a test rating. `make bench` runs it
on one thread (OMP_NUM_THREADS=1), and times are seconds of CPU.
"""

import argparse
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plain
import polars as pl
from scipy import sparse
from trials import Settings, draw, write

K = 10
SEED = 0
INPUTS = {  # what 1 to 5 stars are worth
    "graded": (0, 0.1, 0.4, 0.8, 1),
    "liked": (0, 0, 0, 1, 1),
    "rated": (1, 1, 1, 1, 1),
    "stars": (1, 2, 3, 4, 5),
}

Lists = dict[int, list[int]]  # movie ids, best first, by user id
Fit = Callable[[pl.DataFrame, Settings], Callable[[list[int]], Lists]]


def signals(base: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """user_id, movie_id and value (above 0) of the ratings, read in the way that the
    settings name."""
    worth = {
        stars: float(value) for stars, value in enumerate(INPUTS[settings["input"]], 1)
    }
    value = pl.col("rating").replace_strict(worth, return_dtype=pl.Float64)
    return base.select("user_id", "movie_id", value=value).filter(pl.col("value") > 0)


class Matrix:
    "Ratings as a sparse matrix (users, movies), and which movies each user has rated."

    def __init__(self, base: pl.DataFrame, settings: Settings):
        self.users = np.unique(base["user_id"].to_numpy())
        self.movies = np.unique(base["movie_id"].to_numpy())
        shape = (len(self.users), len(self.movies))

        def matrix(table: pl.DataFrame, values: np.ndarray) -> sparse.csr_matrix:
            rows = np.searchsorted(self.users, table["user_id"].to_numpy())
            columns = np.searchsorted(self.movies, table["movie_id"].to_numpy())
            return sparse.csr_matrix(
                (values.astype(np.float32), (rows, columns)), shape
            )

        used = signals(base, settings)
        self.values = matrix(used, used["value"].to_numpy())
        self.rated = matrix(base, np.ones(len(base)))

    def top(self, users: list[int], score: Callable[[np.ndarray], np.ndarray]) -> Lists:
        """The best K unrated movies of each user, from a function that scores all
        movies for rows of users."""
        rows = np.searchsorted(self.users, users)
        scores = np.where(self.rated[rows].toarray() > 0, -np.inf, score(rows))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        return {
            user: self.movies[b].tolist() for user, b in zip(users, best, strict=True)
        }


# implicit: https://benfred.github.io/implicit/


def implicit_lists(model: Any, matrix: Matrix) -> Callable[[list[int]], Lists]:
    "Lists of a model of implicit, without what the user has rated."
    model.fit(matrix.values, show_progress=False)

    def lists(users: list[int]) -> Lists:
        rows = np.searchsorted(matrix.users, users)
        most = int(matrix.rated[rows].sum(1).max())
        found, _ = model.recommend(
            rows, matrix.values[rows], N=K + most, filter_already_liked_items=False
        )
        rated = [set(matrix.rated[row].indices) for row in rows]
        kept = [
            [i for i in f if i >= 0 and i not in r][:K]
            for f, r in zip(found, rated, strict=True)
        ]
        return {
            user: matrix.movies[k].tolist() for user, k in zip(users, kept, strict=True)
        }

    return lists


def implicit_als(
    base: pl.DataFrame, settings: Settings
) -> Callable[[list[int]], Lists]:
    from implicit.cpu.als import AlternatingLeastSquares

    chosen = {k: v for k, v in settings.items() if k != "input"}
    return implicit_lists(
        AlternatingLeastSquares(**chosen, num_threads=1, random_state=SEED),
        Matrix(base, settings),
    )


def implicit_bpr(
    base: pl.DataFrame, settings: Settings
) -> Callable[[list[int]], Lists]:
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    chosen = {k: v for k, v in settings.items() if k != "input"}
    return implicit_lists(
        BayesianPersonalizedRanking(**chosen, num_threads=1, random_state=SEED),
        Matrix(base, settings),
    )


def implicit_knn(
    base: pl.DataFrame, settings: Settings
) -> Callable[[list[int]], Lists]:
    from implicit.nearest_neighbours import (
        BM25Recommender,
        CosineRecommender,
        TFIDFRecommender,
    )

    kinds = {
        "cosine": CosineRecommender,
        "tfidf": TFIDFRecommender,
        "bm25": BM25Recommender,
    }
    return implicit_lists(
        kinds[settings["weighting"]](K=settings["K"], num_threads=1),
        Matrix(base, settings),
    )


# RecTools: https://rectools.readthedocs.io/


def rectools_lists(
    model: Any, base: pl.DataFrame, settings: Settings
) -> Callable[[list[int]], Lists]:
    """Lists of a model of RecTools. What is rated but worth nothing is left out by us,
    the rest by the library."""
    from rectools import Columns
    from rectools.dataset import Dataset

    used, matrix = signals(base, settings), Matrix(base, settings)
    columns = [Columns.User, Columns.Item, Columns.Weight]
    interactions = pd.DataFrame(
        dict(zip(columns, [used[c].to_numpy() for c in used.columns], strict=True))
    )
    dataset = Dataset.construct(
        interactions.assign(**{Columns.Datetime: pd.Timestamp("1998-01-01")})
    )
    model.fit(dataset)
    with_signal = set(interactions[Columns.User])
    rated = {
        int(user): set(m)
        for user, m in base.group_by("user_id").agg("movie_id").iter_rows()
    }

    def lists(users: list[int]) -> Lists:
        known = [user for user in users if user in with_signal]
        extra = int((matrix.rated.sum(1).A1 - (matrix.values > 0).sum(1).A1).max())
        table = model.recommend(known, dataset, k=K + extra, filter_viewed=True)
        found: Lists = {user: [] for user in users}
        for user, movie in zip(table[Columns.User], table[Columns.Item], strict=True):
            if movie not in rated[user] and len(found[user]) < K:
                found[user].append(int(movie))
        return found

    return lists


def rectools_ease(
    base: pl.DataFrame, settings: Settings
) -> Callable[[list[int]], Lists]:
    from rectools.models import EASEModel

    model = EASEModel(regularization=settings["regularization"], recommend_n_threads=1)
    return rectools_lists(model, base, settings)


def rectools_puresvd(
    base: pl.DataFrame, settings: Settings
) -> Callable[[list[int]], Lists]:
    from rectools.models import PureSVDModel

    model = PureSVDModel(factors=settings["factors"], recommend_n_threads=1)
    return rectools_lists(model, base, settings)


# LensKit: https://lkpy.lenskit.org/


def lenskit_lists(
    scorer: Any, base: pl.DataFrame, settings: Settings
) -> Callable[[list[int]], Lists]:
    """Lists of a scorer of LensKit: its scores, and the best of the movies that are not
    rated."""
    from lenskit.data import ItemList, RecQuery, from_interactions_df
    from lenskit.training import TrainingOptions

    used, matrix = signals(base, settings), Matrix(base, settings)
    frame = pd.DataFrame(
        {
            "user_id": used["user_id"],
            "item_id": used["movie_id"],
            "rating": used["value"],
        }
    )
    dataset = from_interactions_df(
        frame, user_col="user_id", item_col="item_id", rating_col="rating"
    )
    scorer.train(dataset, TrainingOptions(rng=SEED))
    items = ItemList(item_ids=matrix.movies)

    def score(row: int) -> np.ndarray:
        user = int(matrix.users[row])
        history = dataset.user_row(user)
        scores = scorer(RecQuery(user_id=user, user_items=history), items).scores()
        return np.nan_to_num(np.asarray(scores, dtype=np.float64), nan=-1e9)

    return lambda users: matrix.top(
        users, lambda rows: np.array([score(row) for row in rows])
    )


def lenskit_als(base: pl.DataFrame, settings: Settings) -> Callable[[list[int]], Lists]:
    from lenskit.als import ImplicitMFScorer

    chosen = {k: v for k, v in settings.items() if k != "input"}
    scorer = ImplicitMFScorer(
        **chosen, use_ratings=settings["input"] not in ("liked", "rated")
    )
    return lenskit_lists(scorer, base, settings)


def lenskit_knn(base: pl.DataFrame, settings: Settings) -> Callable[[list[int]], Lists]:
    from lenskit.knn import ItemKNNScorer

    return lenskit_lists(
        ItemKNNScorer(**{k: v for k, v in settings.items() if k != "input"}),
        base,
        settings,
    )


# LightFM: https://making.lyst.com/lightfm/docs/


def lightfm_warp(
    base: pl.DataFrame, settings: Settings
) -> Callable[[list[int]], Lists]:
    from lightfm import LightFM

    matrix = Matrix(base, settings)
    chosen = {k: v for k, v in settings.items() if k not in ("input", "epochs")}
    model = LightFM(loss="warp", random_state=SEED, **chosen)
    weights = matrix.values.tocoo()
    likes = sparse.coo_matrix(
        (np.ones_like(weights.data), (weights.row, weights.col)), weights.shape
    )
    model.fit(likes, sample_weight=weights, epochs=settings["epochs"], num_threads=1)
    _, user_vectors = model.get_user_representations()
    movie_bias, movie_vectors = model.get_item_representations()
    return lambda users: matrix.top(
        users, lambda rows: user_vectors[rows] @ movie_vectors.T + movie_bias
    )


# Plain versions of what papers describe: benchmarks/plain.py


def plain_lists(make: Callable[..., plain.Score]) -> Fit:
    "Lists of a plain model, from the signals that the settings name."

    def fit(base: pl.DataFrame, settings: Settings) -> Callable[[list[int]], Lists]:
        matrix = Matrix(base, settings)
        chosen = {k: v for k, v in settings.items() if k != "input"}
        score = make(matrix.values, **chosen)
        return lambda users: matrix.top(users, score)

    return fit


# What is searched, as trials.draw reads it; the first value of each is the library's
# default.

MODELS: dict[str, tuple[str, Fit, Settings]] = {
    "implicit-als": (
        "implicit",
        implicit_als,
        {
            "input": ["graded", "liked", "rated", "stars"],
            "factors": [100, 8, 16, 24, 32, 48, 64],
            "regularization": [0.01, (0.01, 100.0)],
            "alpha": [1.0, (0.5, 40.0)],
            "iterations": [15, 10, 20],
        },
    ),
    "implicit-bpr": (
        "implicit",
        implicit_bpr,
        {
            "input": ["liked", "rated"],
            "factors": [100, 8, 16, 32, 64],
            "learning_rate": [0.01, (0.003, 0.3)],
            "regularization": [0.01, (0.001, 0.3)],
            "iterations": [100, 50, 200],
        },
    ),
    "implicit-knn": (
        "implicit",
        implicit_knn,
        {
            "input": ["graded", "liked", "rated", "stars"],
            "weighting": ["cosine", "tfidf", "bm25"],
            "K": [20, 5, 10, 40, 80, 160, 320, 640],
        },
    ),
    "rectools-ease": (
        "rectools",
        rectools_ease,
        {
            "input": ["graded", "liked", "rated", "stars"],
            "regularization": [500.0, (5.0, 5000.0)],
        },
    ),
    "rectools-puresvd": (
        "rectools",
        rectools_puresvd,
        {
            "input": ["graded", "liked", "rated", "stars"],
            "factors": [10, 4, 6, 8, 12, 16, 20, 24, 32, 48, 64],
        },
    ),
    "lenskit-als": (
        "lenskit",
        lenskit_als,
        {
            "input": ["rated", "graded", "liked", "stars"],
            "embedding_size": [50, 8, 16, 24, 32, 64],
            "epochs": [10, 5, 20],
            "regularization": [0.1, (0.01, 100.0)],
            "weight": [40.0, (0.5, 100.0)],
        },
    ),
    "lenskit-knn": (
        "lenskit",
        lenskit_knn,
        {
            "input": ["rated", "graded", "liked", "stars"],
            "feedback": ["implicit"],
            "max_nbrs": [20, 5, 10, 40, 80, 160, 320],
            "min_sim": [1e-6, (1e-6, 0.1)],
        },
    ),
    "lightfm-warp": (
        "lightfm-next",
        lightfm_warp,
        {
            "input": ["liked", "graded"],
            "no_components": [10, 16, 32, 64],
            "learning_rate": [0.05, (0.01, 0.2)],
            "item_alpha": [0.0, (1e-7, 1e-3)],
            "user_alpha": [0.0, (1e-7, 1e-3)],
            "max_sampled": [10, 30],
            "epochs": [10, 20, 40],
        },
    ),
}


AUTHORS: dict[str, list[Settings]] = {}  # what papers report, tried before others
for name, (library, make, space, authors) in plain.MODELS.items():
    MODELS[name] = library, plain_lists(make), space
    AUTHORS[name] = authors


def run(
    model: str, split: Path, settings: Settings
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The lists of one model on one split (user_id, rank, movie_id), and its settings
    and seconds."""
    base = pl.read_parquet(split / "base.parquet")
    users = pl.read_parquet(split / "users.parquet")["user_id"].to_list()
    start = time.process_time()
    lists = MODELS[model][1](base, settings)
    fitted = time.process_time()
    found = lists(users)
    done = time.process_time()
    rows = [
        (user, rank, movie)
        for user, movies in found.items()
        for rank, movie in enumerate(movies, 1)
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


def compare_ease(split: Path, regularization: float = 210.0) -> dict[str, Any]:
    """Whether the library's EASE multiplies signals by the weights or by their
    transpose: the shares of users whose ten films are those of either."""
    base = pl.read_parquet(split / "base.parquet")
    users = pl.read_parquet(split / "users.parquet")["user_id"].to_list()
    settings = {"input": "graded", "regularization": regularization}
    theirs = rectools_ease(base, settings)(users)
    matrix = Matrix(base, settings)
    gram = (matrix.values.T @ matrix.values).toarray().astype(np.float64)
    weights = plain.ease_weights(gram, regularization)
    same = {}
    for name, table in (("weights", weights), ("transpose", weights.T)):
        ours = matrix.top(users, plain.linear(matrix.values, table))
        same[name] = float(np.mean([ours[user] == theirs[user] for user in users]))
    return {"version": version("rectools"), "same_lists": same} | settings


def search(
    work: Path, out: Path, models: list[str], splits: list[str], trials: int, seed: int
) -> None:
    """Try the same settings of each model on every split; what is there already is left
    as it is."""
    for model in models:
        drawn = draw(MODELS[model][2], trials, seed, AUTHORS.get(model, ()))
        for split in splits:
            path = out / model / split
            if path.with_name(split + ".json").exists():
                continue
            tables, abouts = [], []
            for trial, settings in enumerate(drawn):
                table, about = run(model, work / split, settings)
                tables.append(
                    table.select(pl.lit(trial, pl.Int64).alias("trial"), pl.all())
                )
                abouts.append(about)
            write(pl.concat(tables), abouts, path)
            print(
                f"{model} {split}: "
                f"{sum(a['fit_seconds'] for a in abouts):.0f} s of CPU",
                file=sys.stderr,
            )


def final(work: Path, out: Path, chosen: dict[str, dict[str, Settings]]) -> None:
    "The lists of each model with the settings chosen for each split."
    for model, per_split in chosen.items():
        for split, settings in per_split.items():
            write(*run(model, work / split, settings), out / model / split)
        print(f"{model}: {len(per_split)} splits", file=sys.stderr)


def main() -> None:
    "Read the command line."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "list", help="the models, their versions and what is searched, as JSON"
    )
    ease = commands.add_parser(
        "ease", help="how RecTools multiplies, as JSON: compare_ease on u1"
    )
    ease.add_argument("work", type=Path)
    for name in ("search", "final"):
        command = commands.add_parser(name)
        command.add_argument("work", type=Path)
        command.add_argument("out", type=Path)
        if name == "search":
            command.add_argument("--trials", type=int, default=20)
            command.add_argument("--seed", type=int, default=0)
            command.add_argument("--models", default=",".join(MODELS))
            command.add_argument(
                "--splits", default=",".join(f"u{i}.inner" for i in range(1, 6))
            )
        else:
            command.add_argument("--settings", type=Path, required=True)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if given.command == "list":
        about = {
            name: {
                "library": library,
                "version": version(library).partition("+")[0],
                "space": space,
                "authors": AUTHORS.get(name, []),
                "default": draw(space, 1, 0)[0],
            }
            for name, (library, _, space) in MODELS.items()
        }
        return print(json.dumps(about, indent=1))
    if given.command == "ease":
        return print(json.dumps(compare_ease(given.work / "u1"), indent=1))
    if given.command == "final":
        chosen = json.loads(given.settings.read_text())
        models, splits = (
            list(chosen),
            sorted({split for per in chosen.values() for split in per}),
        )
    else:
        models, splits = given.models.split(","), given.splits.split(",")
    if unknown := [m for m in models if m not in MODELS]:
        parser.error(
            f"unknown model {', '.join(unknown)}; there are {', '.join(MODELS)}"
        )
    if missing := [
        s for s in splits if not (given.work / s / "base.parquet").is_file()
    ]:
        parser.error(
            f"{given.work} has no {missing[0]}/base.parquet; "
            "benchmarks/leaderboard.py writes it"
        )
    if given.command == "final":
        final(given.work, given.out, chosen)
    else:
        search(given.work, given.out, models, splits, given.trials, given.seed)


if __name__ == "__main__":
    main()
