"""What was tried for the taste model, one change at a time, into
benchmarks/results.json.

    python benchmarks/tried.py

Each variant is measured on the inner splits of the folds' bases (never on a test), and,
where it changes what the model knows about content, on draws of hidden movies other
than those that the evaluation reports. Changes are to the weights alone, without
factors and likeness; the first rows say what these bring.
"""

from collections.abc import Callable

import numpy as np
import polars as pl
import stored
from threadpoolctl import threadpool_limits

from movierec.config import TasteConfig, load_config
from movierec.data import Dataset, fold, grade
from movierec.evaluation import (
    LIST_LENGTH,
    MAIN_METRIC,
    Scores,
    Split,
    cold_splits,
    hold_out,
    learn_on_split,
    make_split,
    paired_difference,
    recommend_lists,
    scores_by,
    tabulate_stars,
    user_metrics,
)
from movierec.features import build_features, fill_years
from movierec.likeness import kinship_vectors
from movierec.makers import read_dataset
from movierec.weights import content_gram, content_matrix, smoother_flags, solve_weights

WEIGHTS = {"factor_weight": 0.0, "newcomer": 0.0}
CONFIG = TasteConfig(**WEIGHTS)  # the weights alone
WHOLE = TasteConfig()
Variant = Callable[[Split], Scores]


class Inputs:
    "What the variants are made from: the data, and arrays that all splits share."

    def __init__(self, dataset: Dataset):
        features = build_features(dataset.movies, dataset.genres)
        self.flags = features["genres"].values.astype(np.float64)
        self.years = fill_years(dataset.movies["year"])
        self.content = content_matrix(features)
        self.similar = content_gram(self.content)  # (movies, movies)
        self.kinship = kinship_vectors(features)
        self.names = smoother_flags(features)
        times = dataset.ratings.with_columns(
            rating=pl.col("timestamp").cast(pl.Float64) / 86400
        )
        # (users, movies) days since 1970, 0 where not rated
        self.days = tabulate_stars(times, dataset).astype(np.float64)
        users = dataset.users.sort("user_id")
        age = (users["age"].to_numpy()[:, None] // 10) == np.arange(1, 8)
        kinds = users.select("gender", "occupation").to_dummies().to_numpy()
        self.people = np.hstack([age, kinds]).astype(np.float64)  # (users, groups)


def user_weights(split: Split, power: float) -> np.ndarray:
    """The root of each user's weight, n^-power, scaled so that a typical user's is that
    of the model; (users, 1)."""
    n = np.maximum((split.base > 0).sum(1, keepdims=True), 1)
    typical = np.exp(np.log(n).mean())
    return ((n / typical) ** -power * typical**-0.5) ** 0.5


def linear(
    split: Split,
    inputs: Inputs,
    signals: np.ndarray,
    power: float = 0.5,
    similar: np.ndarray | None = None,
) -> np.ndarray:
    "The model's weights from other signals, user weights or content; (movies, movies)."
    weighted = signals * user_weights(split, power)
    similar = inputs.similar if similar is None else similar
    return solve_weights(
        weighted.T @ weighted + CONFIG.content_weight * similar,
        CONFIG.dropout,
        CONFIG.ridge,
    )


def baseline(split: Split, table: np.ndarray) -> np.ndarray:
    "The baseline of the model, for users with these ratings."
    n = (table > 0).sum(1, keepdims=True)
    return (
        CONFIG.baseline
        * CONFIG.baseline_ratings
        / (CONFIG.baseline_ratings + n)
        * grade(split.base).mean(0)
    )


def model(
    inputs: Inputs, content: np.ndarray | None = None, **changes: object
) -> Variant:
    "The weights alone, with other settings; or other content, and nothing beside it."

    def fit(split: Split) -> Scores:
        known = inputs.content if content is None else content.astype(np.float32)
        settings = CONFIG.model_copy(update=changes)
        kinds, names = inputs.kinship, inputs.names if content is None else None
        return scores_by(learn_on_split(split, known, kinds, settings, names=names))

    return fit


def power(inputs: Inputs, value: float) -> Variant:
    def fit(split: Split) -> Scores:
        weights = linear(split, inputs, grade(split.base), value)
        return lambda table: grade(table) @ weights + baseline(split, table)

    return fit


def zero_diagonal(inputs: Inputs) -> Variant:
    """EASE: no film may predict itself, instead of dropout (Steck 2019); the ridge is
    larger, as it has to do more."""

    def fit(split: Split) -> Scores:
        weighted = grade(split.base) * user_weights(split, 0.5)
        inverse = np.linalg.inv(
            weighted.T @ weighted
            + CONFIG.content_weight * inputs.similar
            + 20 * np.eye(len(inputs.years))
        )
        weights = np.eye(len(inverse)) - inverse / np.diag(inverse)
        return lambda table: grade(table) @ weights + baseline(split, table)

    return fit


def user_means(inputs: Inputs) -> Variant:
    """User bias: stars are shifted by half the distance of the user's mean from the
    mean of all."""

    def shifted(table: np.ndarray) -> np.ndarray:
        n = np.maximum((table > 0).sum(1, keepdims=True), 1)
        means = table.sum(1, keepdims=True) / n
        return np.where(
            table > 0, grade(np.clip(table - 0.5 * (means - means.mean()), 1, 5)), 0
        )

    def fit(split: Split) -> Scores:
        weights = linear(split, inputs, shifted(split.base))
        return lambda table: shifted(table) @ weights + baseline(split, table)

    return fit


def intercept(inputs: Inputs) -> Variant:
    "Item bias: a regression with an intercept for each movie, instead of the baseline."

    def fit(split: Split) -> Scores:
        signals = grade(split.base)
        mean = np.average(signals, axis=0, weights=user_weights(split, 0.5)[:, 0] ** 2)
        weights = linear(split, inputs, signals - mean)
        return lambda table: mean + (grade(table) - mean) @ weights

    return fit


def decay(inputs: Inputs, half_life_days: float) -> Variant:
    "Older ratings of a user count less, in learning and in asking."

    def faded(table: np.ndarray, days: np.ndarray) -> np.ndarray:
        last = np.where(table > 0, days, 0).max(1, keepdims=True)
        return grade(table) * 0.5 ** (
            np.where(table > 0, last - days, 0) / half_life_days
        )

    def fit(split: Split) -> Scores:
        weights = linear(split, inputs, faded(split.base, inputs.days))
        return lambda table: (
            faded(table, inputs.days[split.users]) @ weights + baseline(split, table)
        )

    return fit


def already_there(inputs: Inputs) -> Variant:
    """Movies that nobody had rated before a user's last rating are dropped: they came
    too late for this user."""

    def fit(split: Split) -> Scores:
        scores = model(inputs)(split)
        first = np.where(split.base > 0, inputs.days, np.inf).min(0)  # (movies,)
        # (users, 1)
        last = np.where(split.base > 0, inputs.days, -np.inf).max(1, keepdims=True)
        return lambda table: np.where(first > last[split.users], -1e9, scores(table))

    return fit


def more_columns(
    inputs: Inputs, extra: Callable[[Split], np.ndarray], penalty: float
) -> Variant:
    """Further inputs beside the signals: (users, columns) for all users, each with a
    ridge of its own."""

    def fit(split: Split) -> Scores:
        columns, n_movies = extra(split), split.base.shape[1]
        both = np.hstack([grade(split.base), columns]) * user_weights(split, 0.5)
        gram = both.T @ both
        gram[:n_movies, :n_movies] += CONFIG.content_weight * inputs.similar
        ridge = np.append(
            CONFIG.ridge + np.diag(gram)[:n_movies], np.full(columns.shape[1], penalty)
        )
        weights = np.linalg.solve(gram + np.diag(ridge), gram[:, :n_movies])

        return lambda table: (
            np.hstack([grade(table), columns[split.users]]) @ weights
            + baseline(split, table)
        )

    return fit


def blend(inputs: Inputs, factors: int, share: float) -> Variant:
    "With PureSVD: part of the score from a truncated singular value decomposition."

    def fit(split: Split) -> Scores:
        signals = grade(split.base)
        weights = linear(split, inputs, signals)
        popularity = np.maximum(np.abs(signals).sum(0), 1) ** -0.25
        right = np.linalg.svd(
            signals * popularity * user_weights(split, 0.5), full_matrices=False
        )[2][:factors]
        low = popularity[:, None] * (right.T @ right) / popularity
        scale = (signals @ weights).std() / (signals @ low).std()
        mixed = (1 - share) * weights + share * scale * low
        return lambda table: grade(table) @ mixed + baseline(split, table)

    return fit


def variants(inputs: Inputs) -> dict[str, Variant]:
    "What was tried, by what is different from the model."
    return {
        "the weights alone": model(inputs),
        "the model: with factors, and likeness for newcomers": model(
            inputs, **WHOLE.model_dump()
        ),
        "with factors": model(inputs, factor_weight=0.2),
        "with factors, half their weight": model(inputs, factor_weight=0.1),
        "with factors, twice their weight": model(inputs, factor_weight=0.4),
        "with 12 factors": model(inputs, factor_weight=0.2, factors=12),
        "with 48 factors": model(inputs, factor_weight=0.2, factors=48),
        "with factors that count every rating alike": model(
            inputs, factor_weight=0.2, confidences=(1.0, 1.0, 1.0, 1.0, 1.0)
        ),
        "with likeness for newcomers": model(inputs, newcomer=0.35),
        "likes only: 4 and 5 stars are worth 1, the rest nothing": model(
            inputs, grades=(0.0, 0.0, 0.0, 1.0, 1.0)
        ),
        "every rating is worth 1": model(inputs, grades=(1.0, 1.0, 1.0, 1.0, 1.0)),
        "1 star is worth nothing, 2 stars a little": model(
            inputs, grades=(0.0, 0.1, 0.4, 0.8, 1.0)
        ),
        "1 and 2 stars push down harder": model(
            inputs, grades=(-0.5, -0.2, 0.3, 0.8, 1.0)
        ),
        "every rating counts the same, however many somebody gives": power(inputs, 0.0),
        "every person counts the same": power(inputs, 1.0),
        "a zero diagonal instead of dropout (EASE)": zero_diagonal(inputs),
        "no content": model(inputs, content_weight=0.0, shrinkage=0.0),
        "no shrinkage of films with few ratings": model(inputs, shrinkage=0.0),
        "less shrinkage (1 rating)": model(inputs, shrinkage=1.0),
        "no baseline": model(inputs, baseline=0.0),
        "an intercept for each film (item bias)": intercept(inputs),
        "ratings relative to the person's mean (user bias)": user_means(inputs),
        "old ratings fade, half-life 100 days": decay(inputs, 100),
        "old ratings fade, half-life 20 days": decay(inputs, 20),
        "films that came after a user had left are dropped": already_there(inputs),
        "a second input: rated or not": more_columns(
            inputs, lambda split: (split.base > 0).astype(float), 100
        ),
        "age, gender and occupation as inputs": more_columns(
            inputs, lambda split: inputs.people, 100
        ),
        "blended with PureSVD (30 factors, a third)": blend(inputs, 30, 1 / 3),
    }


def contents(inputs: Inputs) -> dict[str, np.ndarray]:
    "What the model may know about a movie, by name; (movies, features) each."
    flags, years = inputs.flags, inputs.years
    pairs = [flags[:, i] * flags[:, j] for i in range(flags.shape[1]) for j in range(i)]
    pairs = np.array([pair for pair in pairs if pair.sum() >= 3]).T
    decades = (years[:, None] // 10 == np.unique(years // 10)).astype(float)
    line = ((years - years.min()) / (years.max() - years.min()))[:, None]
    steps = inputs.content[:, flags.shape[1] :]
    return {
        "genres, steps of years (the model)": np.hstack([flags, steps]),
        "genres": flags,
        "genres, year as a number": np.hstack([flags, line]),
        "genres, decades": np.hstack([flags, decades]),
        "genres, pairs of genres, steps of years": np.hstack([flags, pairs, steps]),
        "genres, pairs of genres, decades": np.hstack([flags, pairs, decades]),
        "steps of years": steps,
    }


def collective(inputs: Inputs) -> Variant:
    """Collective EASE alone: unrated films get what the content's cosines give them,
    without the regression."""

    def fit(split: Split) -> Scores:
        weights = linear(split, inputs, grade(split.base))
        return lambda table: grade(table) @ weights

    return fit


def new_movies(dataset: Dataset, splits: list[Split], n_ratings: int) -> list[Split]:
    """The splits with hidden movies, but that n of the ratings of each hidden movie are
    shown: movies that are new."""
    table = tabulate_stars(dataset.ratings, dataset)
    shown = []
    for seed, split in enumerate(splits):
        rng, base = np.random.default_rng(seed), split.base.copy()
        for movie in np.flatnonzero(split.candidates[0]):
            users = np.flatnonzero(table[:, movie])
            users = rng.choice(users, min(n_ratings, len(users)), replace=False)
            base[users, movie] = table[users, movie]
        shown.append(
            Split(
                split.name,
                base,
                split.liked & (base == 0),
                split.candidates & (base == 0),
            )
        )
    return shown


def mean_of_draws(splits: list[Split], variant: Variant) -> dict[str, float]:
    "NDCG@10 over the draws, and its standard error."
    per_draw = (
        measure(splits, variant)
        .group_by("fold", maintain_order=True)
        .agg(pl.col(MAIN_METRIC).mean())[MAIN_METRIC]
    )
    return {
        "ndcg_at_10": float(per_draw.mean()),
        "standard_error": float(per_draw.std() / len(per_draw) ** 0.5),
    }


def measure(splits: list[Split], variant: Variant) -> pl.DataFrame:
    "`user_metrics` of a variant on all splits."
    return pl.concat(
        [
            user_metrics(s, recommend_lists(s, variant(s), LIST_LENGTH), LIST_LENGTH)
            for s in splits
        ]
    )


def main() -> None:
    "Measure everything."
    dataset = read_dataset(load_config())
    inputs = Inputs(dataset)
    inner = []
    for number in range(1, 6):
        base, test = hold_out(fold(dataset.ratings, number)[0], 0.2, seed=number)
        inner.append(make_split(f"u{number}.inner", base, test, dataset))
    hidden = cold_splits(dataset, range(100, 110))
    found: dict[str, dict[str, dict[str, float]]] = {"inner": {}, "cold": {}, "new": {}}
    with threadpool_limits(limits=1):
        reference = measure(inner, variants(inputs)["the weights alone"])
        for name, variant in variants(inputs).items():
            table = measure(inner, variant)
            gap, error = paired_difference(table, reference, MAIN_METRIC)
            mean = (
                table.group_by("fold", maintain_order=True)
                .agg(pl.col(MAIN_METRIC).mean())[MAIN_METRIC]
                .mean()
            )
            found["inner"][name] = {
                "ndcg_at_10": float(mean),
                "difference": gap,
                "standard_error": error,
            }
            print(f"{mean:.4f} {gap:+.4f} ± {2 * error:.4f}  {name}", flush=True)
        content = {
            name: model(inputs, content=c) for name, c in contents(inputs).items()
        }
        for name, variant in (
            content | {"cosines alone (collective EASE)": collective(inputs)}
        ).items():
            found["cold"][name] = mean_of_draws(hidden, variant)
            print(f"{found['cold'][name]['ndcg_at_10']:.4f}  {name}", flush=True)
        for n_ratings in (1, 2, 4, 8):
            splits = new_movies(dataset, hidden, n_ratings)
            for strength in (0.0, 1.0, 20.0):
                name = f"{n_ratings} ratings, shrinkage {strength:g}"
                found["new"][name] = mean_of_draws(
                    splits, model(inputs, shrinkage=strength)
                )
                print(f"{found['new'][name]['ndcg_at_10']:.4f}  {name}", flush=True)
    stored.store("tried", found)


if __name__ == "__main__":
    main()
