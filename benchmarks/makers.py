"""What it brings to know who made a film, into benchmarks/results.json.

    python benchmarks/makers.py

The whole taste model on the draws of hidden movies, and on the folds, that the
evaluation reports; the settings were chosen on other draws and on the folds' bases.
"""

import re
import time

import numpy as np
import polars as pl
import stored
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits
from tried import Variant, mean_of_draws, measure, new_movies

from movierec.catalogue import build_catalogue
from movierec.config import LikenessConfig, TasteConfig, load_config
from movierec.data import Dataset
from movierec.evaluation import (
    MAIN_METRIC,
    Scores,
    Split,
    cold_splits,
    folds,
    learn_on_split,
    paired_difference,
    scores_by,
)
from movierec.features import Block, Features, build_features, flag_names
from movierec.likeness import kinship_vectors
from movierec.makers import read_dataset, read_free_dataset
from movierec.neighbours import build_neighbours
from movierec.similarity import METHODS, build_index, nearest_films
from movierec.weights import content_matrix, smoother_flags

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
        return scores_by(learn_on_split(split, content, kinds, config, names=names))

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
    content, kinds = content_matrix(features), kinship_vectors(features)
    names = csr_array(joined[:, None].astype(float))
    settings = TasteConfig()
    return lambda split: scores_by(
        learn_on_split(split, content, kinds, settings, names=names)
    )


def left_out(dataset: Dataset, features: Features) -> dict[str, np.ndarray]:
    "What else the data says of a movie, and the smoother does without; flags."
    titles = [title.partition(" (")[0] for title in dataset.movies["title"]]
    words = pl.Series([re.findall("[a-z']{2,}", title.lower()) for title in titles])
    names = [bool(re.search(r"\((?!\d{4}\))", t)) for t in dataset.movies["title"]]
    numbers = [bool(re.search(r"\b(II|III|IV|V|VI|[2-5])\b", t)) for t in titles]
    years = dataset.movies["year"].fill_null(1995).to_numpy()[:, None]
    eras = np.searchsorted([1950, 1970, 1985, 1993], years, side="right") == np.arange(
        5
    )
    genres = features["genres"].values
    pairs = (genres[:, :, None] * eras[:, None, :]).reshape(len(years), -1)
    return {
        "words of the title": flag_names(words)[1].toarray(),
        "a second, foreign title": np.array(names)[:, None],
        "a number in the title": np.array(numbers)[:, None],
        "genres by era": pairs[:, pairs.sum(0) >= 5],
    }


def measure_left_out(
    dataset: Dataset, features: Features, known: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    "The same model with one thing more, on the draws that settings are chosen on."
    splits = cold_splits(dataset, range(100, 110))
    found = {"the model": mean_of_draws(splits, taste(features, known))}
    for name, flags in left_out(dataset, features).items():
        columns = tuple(map(str, range(flags.shape[1])))
        block = Block(name, columns, flags.astype(np.uint8), True, uses=("smoother",))
        more = Features((*features.blocks, block))
        found[name] = mean_of_draws(splits, taste(more, (*known, name)))
    return found


def many_films(dataset: Dataset, n: int) -> pl.DataFrame:
    "Films of Wikidata over and over, in each copy half of the people other ones."
    copies = []
    for number in range(-(-n // len(dataset.movies))):
        name = pl.element()
        other = pl.when(name.hash() % 2 == 0).then(name + f" {number}").otherwise(name)
        people = [
            pl.col(column).list.eval(other)
            for column in ("directors", "writers", "cast")
            if number
        ]
        unique = pl.col("movie_id") + number * 10**9, pl.col("title") + f" {number}"
        copies.append(dataset.movies.with_columns(*people, *unique))
    return pl.concat(copies).head(n)


def measure_cost() -> dict[str, dict[str, float]]:
    "Seconds and milliseconds of CPU for the method `content`, by number of films."
    dataset, found = read_free_dataset(load_config().makers_dir), {}
    for n in (len(dataset.movies), 62_423):
        catalogue = build_catalogue(many_films(dataset, n), None, dataset.genres)
        features = build_features(catalogue.movies, catalogue.genres)
        decides, start = (catalogue.tie_place, catalogue.film_of), time.process_time()
        index = build_index(features, METHODS["content"], *decides)
        lists = build_neighbours(index).lists
        spent, asked = time.process_time() - start, []
        for row in range(0, n, n // 50):
            start = time.process_time()
            nearest_films(index, row, 10)
            asked.append(time.process_time() - start)
        found[f"{n:,}"] = {
            "vectors": len(lists),
            "lists_seconds": spent,
            "lists_megabytes": lists.nbytes / 1e6,
            "question_milliseconds": 1000 * float(np.median(asked)),
        }
    return found


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
        found["left_out"] = measure_left_out(dataset, features, every)
        found["cost"] = measure_cost()
        print(found, flush=True)
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
