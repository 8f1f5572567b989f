"""Lists of other libraries for the same people: users a second of CPU, on one thread.

    .venv-peers/bin/python benchmarks/fast_peers.py RATINGS.parquet

Prints JSON. What is timed is the list alone, ten films that somebody has not rated.
Implicit's ALS has placed the people it learned from in training; placed anew, from
their ratings, is what movierec does for everybody.
"""

import json
import statistics
import sys
import time
import warnings

import numpy as np
import pandas as pd
import polars as pl
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

N_USERS, K = 2048, 10


def speed(recommend, n_users=N_USERS):
    "The median of three rounds."
    recommend()
    found = []
    for _ in range(3):
        start = time.process_time()
        recommend()
        found.append(n_users / (time.process_time() - start))
    return statistics.median(found)


def main():
    "Fit, time, print."
    ratings = pl.read_parquet(sys.argv[1])
    user, item = (
        np.unique(ratings[name].to_numpy(), return_inverse=True)[1]
        for name in ("user_id", "movie_id")
    )
    table = csr_matrix((ratings["rating"].to_numpy().astype(np.float32), (user, item)))
    users, found = np.arange(N_USERS), {}
    models = {
        "implicit, ALS": AlternatingLeastSquares(
            factors=64, iterations=3, num_threads=1, random_state=0
        ),
        "implicit, item-kNN": CosineRecommender(K=100, num_threads=1),
    }
    for name, model in models.items():
        model.fit(table, show_progress=False)
        found[name] = speed(lambda m=model: m.recommend(users, table[users], N=K))
    again, of_ratings = models["implicit, ALS"], table[users]
    found["implicit, ALS, people placed anew"] = speed(
        lambda: again.recommend(users, of_ratings, N=K, recalculate_user=True)
    )
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import ImplicitALSWrapperModel, PureSVDModel

    frame = pd.DataFrame(
        {
            Columns.User: user,
            Columns.Item: item,
            Columns.Weight: ratings["rating"].to_numpy(),
            Columns.Datetime: pd.Timestamp("2000-01-01"),
        }
    )
    dataset = Dataset.construct(frame)
    for name, model in {
        "RecTools, ALS": ImplicitALSWrapperModel(models["implicit, ALS"]),
        "RecTools, PureSVD": PureSVDModel(factors=64),
    }.items():
        model.fit(dataset)
        asked = {"users": users, "dataset": dataset, "k": K, "filter_viewed": True}
        found[name] = speed(lambda m=model, a=asked: m.recommend(**a))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    with threadpool_limits(limits=1):
        main()
