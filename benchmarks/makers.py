"""What it brings to know who made a film, into benchmarks/results.json.

    python benchmarks/makers.py

The whole taste model on the draws of hidden movies, and on the folds, that the
evaluation reports; the settings were chosen on other draws and on the folds' bases.
"""

import numpy as np
import stored
from threadpoolctl import threadpool_limits
from tried import Variant, mean_of_draws, measure, new_movies

from movierec.config import LikenessConfig, TasteConfig, load_config
from movierec.data import Dataset
from movierec.evaluation import (
    MAIN_METRIC,
    Scores,
    Split,
    cold_splits,
    fit_taste_on,
    folds,
    paired_difference,
)
from movierec.features import Features, build_features
from movierec.likeness import kinship_vectors
from movierec.makers import read_dataset
from movierec.taste import content_matrix, smoother_flags

ADDED = {  # what the smoother knows beside genres and years, one after the other
    "genres and years": (),
    "when it was released": ("release",),
    "who made it": ("directors", "writers", "cast"),
    "finer genres": ("kinds",),
    "countries and languages": ("countries", "languages"),
}
BEFORE = TasteConfig(shrinkage=1)  # what was the setting without makers


def taste(
    features: Features, known: tuple[str, ...], config: TasteConfig = TasteConfig()
) -> Variant:
    "The taste model that knows some of the blocks beside genres and years."
    blocks = [b for b in features.blocks if "smoother" not in b.uses or b.name in known]
    some = Features(tuple(blocks))
    kinds = kinship_vectors(some, LikenessConfig())
    content, names = content_matrix(some), smoother_flags(some, config.most_names)

    def fit(split: Split) -> Scores:
        return fit_taste_on(split, content, kinds, config, names=names)

    return fit


def only(split: Split, movies: np.ndarray) -> Split:
    "The split with some of the candidates."
    return Split(
        split.name, split.base, split.liked & movies, split.candidates & movies
    )


def measure_cold(dataset: Dataset, features: Features) -> dict[str, dict[str, float]]:
    "Movies that nobody has rated, by what is known of them."
    splits, found, known = cold_splits(dataset), {}, ()
    joined = dataset.movies["imdb_id"].is_not_null().to_numpy()
    plain = Features(tuple(b for b in features.blocks if "smoother" not in b.uses))
    is_there = fit_with_flag(plain, joined)
    for name, blocks in ADDED.items():
        known = (*known, *blocks)
        found[name] = mean_of_draws(splits, taste(features, known))
    found["only that it is in Wikidata"] = mean_of_draws(splits, is_there)
    among = [only(split, joined) for split in splits]
    for name, blocks in (("genres and years", ()), ("all of it", known)):
        fit = taste(features, blocks)
        found[f"{name}, among those in Wikidata"] = mean_of_draws(among, fit)
    return found


def fit_with_flag(features: Features, joined: np.ndarray) -> Variant:
    "The taste model that knows genres, years, and whether a movie is in Wikidata."
    from scipy.sparse import csr_array

    content, kinds = content_matrix(features), kinship_vectors(features)
    names = csr_array(joined[:, None].astype(float))
    return lambda split: fit_taste_on(split, content, kinds, TasteConfig(), names=names)


def main() -> None:
    "Measure everything."
    dataset = read_dataset(load_config())
    features = build_features(dataset.movies, dataset.genres)
    every = tuple(name for blocks in ADDED.values() for name in blocks)
    models = {
        "before": taste(features, (), BEFORE),
        "now": taste(features, every),
    }
    with threadpool_limits(limits=1):
        found = {"cold": measure_cold(dataset, features), "few": {}, "folds": {}}
        print(found["cold"], flush=True)
        for n_ratings in (1, 2, 4, 8):
            splits = new_movies(dataset, cold_splits(dataset), n_ratings)
            for name, fit in models.items():
                figure = mean_of_draws(splits, fit)
                found["few"][f"{n_ratings} ratings, {name}"] = figure
                print(n_ratings, name, figure, flush=True)
        tables = {name: measure(folds(dataset), fit) for name, fit in models.items()}
        for name, table in tables.items():
            gap, error = paired_difference(table, tables["before"], MAIN_METRIC)
            per_fold = table.group_by("fold").mean()[MAIN_METRIC]
            found["folds"][name] = {
                "ndcg_at_10": float(per_fold.mean()),
                "difference": gap,
                "standard_error": error,
            }
        print(found["folds"], flush=True)
    stored.store("makers", found)


if __name__ == "__main__":
    main()
