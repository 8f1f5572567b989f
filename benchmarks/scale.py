"""Exact neighbours at 1,682 to 10 million films, beside other ways. Writes into
benchmarks/results.json.

    python benchmarks/scale.py FOLDER [PART ...]

The parts are start, search, growth and batch; all take half an hour.

Everything on one thread, in one process where times are compared, in rounds that follow
each other, so that a slow minute of the machine hits all. FOLDER takes what the batch
job needs and writes: 2 GB.
"""

import json
import os
import pickle
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import stored
from scale_batch import batch, peak_bytes
from threadpoolctl import threadpool_limits

from movierec.catalogue import build_catalogue
from movierec.config import load_config
from movierec.data import load
from movierec.features import (
    Block,
    Features,
    build_features,
    encode_genres,
    fill_years,
)
from movierec.neighbours import STORED, Neighbours, build_neighbours, nearest_lists
from movierec.pruning import (
    compiled,
    draw_catalogue,
    find_nearest,
    group_films,
    nearest_of_all,
)
from movierec.similarity import METHODS, build_index, nearest_films

HERE = Path(__file__).resolve().parent
K = 10
ML_25M, MILLION = 62_423, 1_000_000
ROUNDS, QUERIES = 3, 2000
GRAPHS = {
    1682: [(16, 200)],
    ML_25M: [(16, 200), (32, 500), (64, 500)],
    MILLION: [(16, 100)],
}  # hnswlib's M, ef_construction
EFS = (11, 50, 200, 800)


class Catalogue:
    "A catalogue of n films, its index and its vectors of length 1."

    def __init__(self, n):
        dataset = load(load_config().data_dir)
        flags = encode_genres(dataset.movies, dataset.genres)
        if n == len(dataset.movies):
            self.flags, self.years = flags, fill_years(dataset.movies["year"])
            real = build_catalogue(dataset.movies, dataset.ratings, dataset.genres)
            self.tie_place, self.film_of = real.tie_place, real.film_of
        else:
            self.flags, self.years = draw_catalogue(flags, n)
            self.tie_place = self.film_of = np.arange(n, dtype=np.int32)
        self.n = n

    @property
    def scaled_years(self):
        "The years as features."
        first, last = int(self.years.min()), int(self.years.max())
        return 0.1 * (self.years - first) / (last - first)

    def build(self, method="cosine"):
        "The index, and seconds."
        start = time.perf_counter()
        names = tuple(map(str, range(self.flags.shape[1])))
        year = Block("year", ("year",), self.scaled_years[:, None], False, 0.1)
        features = Features((Block("genres", names, self.flags, True), year))
        decides = self.tie_place, self.film_of
        index = build_index(features, METHODS[method], *decides)
        return index, time.perf_counter() - start

    def unit_vectors(self):
        "The features as float32 rows of length 1, as the peers want them."
        rows = np.hstack([self.flags, self.scaled_years[:, None]]).astype(np.float32)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def brute_force(catalogue, row, k, method):
    """The top k by definition, to 12 decimals: every film's shared genres, size and
    year; no code of the index."""
    flags, y = catalogue.flags, catalogue.scaled_years
    shared = flags[:, flags[row] > 0].sum(1, dtype=np.int64)
    sizes = flags.sum(1, dtype=np.int64)
    if method == "jaccard":
        scores = shared / np.maximum(sizes[row] + sizes - shared, 1)
    else:
        lengths = np.sqrt(sizes[row] + y[row] ** 2) * np.sqrt(sizes + y**2)
        scores = (shared + y[row] * y) / np.where(lengths > 0, lengths, 1)
    scores = scores.round(12) * (sizes > 0) * (sizes[row] > 0)
    scores[catalogue.film_of == catalogue.film_of[row]] = 0
    near = np.flatnonzero(scores >= max(np.partition(scores, -3 * k)[-3 * k], 1e-12))
    near = near[np.lexsort((catalogue.tie_place[near], -scores[near]))]
    films = dict.fromkeys(catalogue.film_of[near].tolist())
    first = {
        film: row
        for row, film in zip(near[::-1], catalogue.film_of[near[::-1]], strict=True)
    }
    return [int(first[film]) for film in films][:k]


def exactness(catalogue, neighbours, rows, method):
    "How many of these films' lists are those of brute force."
    same = 0
    for row in rows.tolist():
        found = neighbours.nearest(row, K)[0].tolist()
        same += found == brute_force(catalogue, row, K, method)
    return {"checked": len(rows), "exact": same}


def timed(contestants, queries, rounds=ROUNDS):
    """Microseconds of single calls, p50, p99 and mean, in the middle one of the rounds,
    which follow each other."""
    laps = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, (ask, share) in contestants.items():
            asked, took = queries[: max(50, int(len(queries) * share))], []
            ask(asked[0])
            for query in asked:
                start = time.perf_counter()
                ask(query)
                took.append(time.perf_counter() - start)
            laps[name].append(np.array(took) * 1e6)
    middle = {name: sorted(of, key=np.mean)[len(of) // 2] for name, of in laps.items()}
    return {
        name: {
            "p50": float(np.median(took)),
            "p99": float(np.percentile(took, 99)),
            "mean": float(took.mean()),
        }
        for name, took in middle.items()
    }


class Table:
    "Ten neighbours for each film, behind a method like ours."

    def __init__(self, rows):
        self.rows = rows

    def look_up(self, row, k):
        "The first k of them."
        return self.rows[row, :k].tolist()


def rows_of(answer):
    "The rows in an answer, whatever else is in it."
    # faiss and scikit-learn: distances, rows; hnswlib and our index: rows, distances
    if isinstance(answer, tuple):
        answer = next(part for part in answer if np.asarray(part).dtype.kind in "iu")
    return np.ravel(answer).tolist()


def recall(found, scores_of):
    """Tie-aware recall: the share of K films found that are as similar as the exact
    K-th, by the exact scores."""
    hits = 0
    for row, rows in found.items():
        scores = scores_of(row)
        scores[row] = -1
        kth = np.partition(scores, -K)[-K]
        mine = [other for other in rows if other != row][:K]
        hits += sum(scores[other] >= kth - 1e-6 for other in mine)
    return hits / (K * len(found))


def faiss_settings(faiss, flat, vectors, sample):
    """The fastest of several ways in which faiss can compare all with all; its
    parameters, and seconds for the sample."""
    tried = []
    for threshold, database, reservoir in [
        (20, 1024, 100),
        (20, 4096, 100),
        (20, 16384, 100),
        (20, 1024, 5),
        (10**9, 1024, 100),
    ]:
        faiss.cvar.distance_compute_blas_threshold = threshold
        faiss.cvar.distance_compute_blas_database_bs = database
        faiss.cvar.distance_compute_min_k_reservoir = reservoir
        start = time.perf_counter()
        flat.search(vectors[sample[:1000]], K + 1)
        tried.append((time.perf_counter() - start, threshold, database, reservoir))
    _, threshold, database, reservoir = min(tried)
    faiss.cvar.distance_compute_blas_threshold = threshold
    faiss.cvar.distance_compute_blas_database_bs = database
    faiss.cvar.distance_compute_min_k_reservoir = reservoir
    return {
        "blas": threshold < 10**9,
        "database_block": database,
        "reservoir": reservoir < K + 1,
    }


def all_items(catalogue, lists_seconds, build_seconds, vectors, flat, sample):
    "Seconds for the neighbours of all films, the making of the index included."
    import faiss
    from scipy.sparse import csr_matrix
    from sparse_dot_topn import sp_matmul_topn

    n, share = catalogue.n, catalogue.n / len(sample)
    settings = faiss_settings(faiss, flat, vectors, sample)
    start = time.perf_counter()
    fresh = faiss.IndexFlatIP(vectors.shape[1])
    fresh.add(vectors)
    added = time.perf_counter() - start
    start = time.perf_counter()
    fresh.search(vectors[sample], K + 1)
    by_faiss = added + (time.perf_counter() - start) * share
    few = sample[: min(len(sample), 10_000)]
    sparse = csr_matrix(vectors)
    start = time.perf_counter()
    sp_matmul_topn(
        sparse[few], sparse.T.tocsr(), top_n=K + 1, threshold=0.0, n_threads=1
    )
    by_sparse = (time.perf_counter() - start) * n / len(few)
    return {
        "ours": build_seconds + lists_seconds,
        "ours_index": build_seconds,
        "ours_lists": lists_seconds,
        "faiss": by_faiss,
        "faiss_settings": settings,
        "faiss_queries": len(sample),
        "sparse_dot_topn": by_sparse,
        "sparse_dot_topn_queries": len(few),
    }


def search_at(n, rng):
    "One size: exactness, all films, single queries, bytes."
    import faiss
    import hnswlib
    from sklearn.neighbors import NearestNeighbors

    faiss.omp_set_num_threads(1)
    print(f"n = {n:,}", flush=True)
    catalogue = Catalogue(n)
    compiled_lists(small_index())  # numba compiles now
    builds, lists = [], []
    for _ in range(ROUNDS):
        index, seconds = catalogue.build()
        builds.append(seconds)
        start = time.perf_counter()
        cosine = compiled_lists(index)
        lists.append(time.perf_counter() - start)
    neighbours = Neighbours(index, once_each(index, cosine))
    checked = (
        np.arange(n)
        if n < 10_000
        else rng.choice(n, 5000 if n < MILLION else 200, replace=False)
    )
    by_method = {
        "cosine": neighbours,
        "jaccard": build_neighbours(catalogue.build("jaccard")[0]),
    }
    exact = {m: exactness(catalogue, of, checked, m) for m, of in by_method.items()}
    print("  exact", exact, flush=True)

    vectors = catalogue.unit_vectors()
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    sample = np.arange(n) if n <= ML_25M else rng.choice(n, 10_000, replace=False)
    everything = all_items(
        catalogue,
        statistics.median(lists),
        statistics.median(builds),
        vectors,
        flat,
        sample,
    )
    print("  all", everything, flush=True)

    asked = rng.integers(n, size=QUERIES)
    groups, order = group_films(index), np.argsort(index.tie_place)
    find = compile_for(index.method)
    set_of = {flags.tobytes(): s for s, flags in enumerate(index.sets)}
    queries = []
    for row in asked.tolist():
        v = int(index.vector_of[row])
        own, x = int(index.set_of[v]), float(index.numbers[v, 0])
        queries.append((row, vectors[row : row + 1], own, x, index.sets[own].copy()))

    def ours(query, own):
        return order[find(groups, own, query[3], K + 1)]

    contestants = {
        "ours, a film of the catalogue": (lambda query: ours(query, query[2]), 1),
        "ours, from the vector alone": (
            lambda query: ours(query, set_of[query[4].tobytes()]),
            1,
        ),
        "ours, without numba": (lambda query: nearest_films(index, query[0], K), 0.1),
        "faiss IndexFlatIP": (
            lambda query: flat.search(query[1], K + 1),
            1 if n < MILLION else 0.05,
        ),
        "numpy, argpartition": (
            lambda query: np.argpartition(vectors @ query[1][0], -K - 1)[-K - 1 :],
            0.1,
        ),
    }
    # of unit vectors: faster than "cosine"
    brute = NearestNeighbors(n_neighbors=K + 1, algorithm="brute").fit(vectors)
    contestants["scikit-learn, brute force"] = (
        lambda query: brute.kneighbors(query[1]),
        0.1 if n < MILLION else 0.03,
    )
    builds, sizes = {}, {}
    for m, construction in GRAPHS[n]:
        start = time.perf_counter()
        graph = hnswlib.Index("ip", vectors.shape[1])
        graph.init_index(n, M=m, ef_construction=construction, random_seed=1)
        graph.set_num_threads(1)
        graph.add_items(vectors)
        name = f"hnswlib, M {m}"
        builds[name], sizes[name] = (
            time.perf_counter() - start,
            graph.index_file_size() / n,
        )
        print(f"  {name}: {builds[name]:.0f} s", flush=True)

        def with_ef(graph, ef):
            def ask(query):
                graph.set_ef(ef)
                return graph.knn_query(query[1], K + 1)

            return ask

        contestants |= {f"{name}, ef {ef}": (with_ef(graph, ef), 1) for ef in EFS}
    single = timed(contestants, queries)
    recalls = {}
    for name, (ask, _) in contestants.items():
        found = {
            query[0]: rows_of(ask(query))
            for query in queries[: 500 if n < MILLION else 50]
        }
        recalls[name] = recall(found, lambda row: vectors @ vectors[row])
    print(
        "  single",
        {
            name: (round(took["mean"], 1), recalls[name])
            for name, took in single.items()
        },
        flush=True,
    )

    table = np.empty((n, K), np.int32)  # the part of it that is asked for, by faiss
    for row in set(asked[:200].tolist()):
        table[row] = [
            other
            for other in flat.search(vectors[row : row + 1], K + 1)[1][0]
            if other != row
        ][:K]
    usual = Table(table)
    stored = timed(
        {
            "ours, stored": (lambda query: neighbours.look_up(query[0], K), 1),
            "ours, stored, with scores": (
                lambda query: neighbours.nearest(query[0], K),
                1,
            ),
            "a table of n x 10": (lambda query: table[query[0]].tolist(), 1),
            "a table of n x 10, behind a method": (
                lambda query: usual.look_up(query[0], K),
                1,
            ),
        },
        queries[:200],
        rounds=7,
    )
    in_index = sum(
        getattr(index, name).nbytes
        for name in ("sets", "set_of", "numbers", "vector_of", "tie_place")
    )
    return {
        "vectors": len(index.set_of),
        "sets": len(index.sets),
        "exact": exact,
        "all": everything,
        "single": single,
        "recall": recalls,
        "stored": stored,
        "builds": builds,
        "bytes": {
            "ours, stored": (cosine.nbytes + index.vector_of.nbytes) / n,
            "ours, index": in_index / n,
            "a table of n x 10": 4 * K,
            "faiss, scikit-learn: the vectors": vectors.nbytes / n,
            **sizes,
            "sparse_dot_topn: the sparse vectors": 8 * np.count_nonzero(vectors) / n
            + 4,
            "all pairs": 8 * n,
        },
    }


def search(folder):
    "Each size, in this process."
    rng = np.random.default_rng(7)
    return {str(n): search_at(n, rng) for n in (1682, ML_25M, MILLION)}


def compile_for(method):
    "The compiled search of one method, so that no call has to hand over functions."
    from numba import njit

    divisor, reach = compiled(method.divisor), compiled(method.reach)

    @njit
    def find(groups, own, x, k):
        return find_nearest(divisor, reach, groups, own, x, k)

    return find


def small_index():
    "A catalogue that is only there to let numba compile."
    return Catalogue(2000).build()[0]


def compiled_lists(index):
    "The lists for cosine, by compiled code whatever the size."
    return nearest_of_all(index, STORED)


def once_each(index, lists):
    "These lists or, where a film stands in one twice, those with each film once."
    return nearest_lists(index) if index.repeats else lists


def growth_at(n):
    "Seconds and bytes to index n films, in a process of its own; prints JSON."
    compiled_lists(small_index())
    catalogue = Catalogue(n)
    before = peak_bytes()
    index, took = catalogue.build()
    start = time.perf_counter()
    lists = compiled_lists(index)
    seconds = {"index": took, "lists": time.perf_counter() - start}
    peak = peak_bytes()
    facts = {
        "n": n,
        "seconds": seconds,
        "vectors": len(index.set_of),
        "sets": len(index.sets),
        "stored_bytes": lists.nbytes + index.vector_of.nbytes,
        "peak_bytes": peak,
        "peak_before": before,
    }
    if n > 3 * MILLION:
        by_method = {
            "cosine": Neighbours(index, lists),
            "jaccard": build_neighbours(catalogue.build("jaccard")[0]),
        }
        rows = np.random.default_rng(1).choice(n, 30, replace=False)
        facts["exact"] = {
            m: exactness(catalogue, of, rows, m) for m, of in by_method.items()
        }
    elif n <= MILLION:
        import faiss

        faiss.omp_set_num_threads(1)
        vectors, queries = catalogue.unit_vectors(), min(n, 1000)
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        faiss_settings(faiss, flat, vectors, np.arange(queries))
        start = time.perf_counter()
        flat.search(vectors[:queries], K + 1)
        facts["faiss_seconds"] = (time.perf_counter() - start) * n / queries
    print(json.dumps(facts))


def growth(folder):
    "Cost by size, each in a fresh process."
    rows = []
    for n in (2000, 6000, 20_000, ML_25M, 200_000, MILLION, 3_000_000, 10_000_000):
        done = subprocess.run(
            [sys.executable, __file__, "--growth", str(n)],
            capture_output=True,
            text=True,
            check=True,
        )
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print("  ", rows[-1], flush=True)
    return rows


OURS_START = """
from movierec.recommender import Recommender
Recommender.load(root=ROOT).similar(50).to_dict()
"""
USUAL_START = """
import pickle
matrix = pickle.load(open(f"{FOLDER}/matrix.pkl", "rb"))
movies = pickle.load(open(f"{FOLDER}/movies.pkl", "rb"))
best = sorted(enumerate(matrix[49]), key=lambda pair: pair[1], reverse=True)[1:11]
[movies.iloc[row]["title"] for row, _ in best]
"""


PLAIN = """
import time
import numpy as np
from scale import Catalogue, ML_25M, MILLION
from movierec.neighbours import nearest_lists
from movierec.pruning import find_nearest
assert not hasattr(find_nearest, "py_func")  # nothing is compiled here
for n in (ML_25M, MILLION):
    index, _ = Catalogue(n).build()
    begun = time.perf_counter()
    nearest_lists(index)
    print(n, time.perf_counter() - begun, flush=True)
"""


def without_numba():
    """Seconds for the lists in plain Python, and seconds that numba takes to compile
    the search."""
    program = f"import sys; sys.path.insert(0, {str(HERE)!r})\n{PLAIN}"
    setting = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=setting
    )
    found = {n: float(s) for n, s in map(str.split, done.stdout.splitlines())}
    begun = time.perf_counter()
    compiled_lists(small_index())
    return found | {"compiling": time.perf_counter() - begun}


def start(folder):
    "Seconds from the start of a process to its first ten films."
    import pandas as pd
    from sklearn.metrics.pairwise import cosine_similarity

    dataset = load(load_config().data_dir)
    matrix = cosine_similarity(build_features(dataset.movies, dataset.genres).matrix)
    movies = pd.DataFrame(
        dataset.movies.select("movie_id", "title").to_dict(as_series=False)
    )
    for name, content in {"matrix": matrix, "movies": movies}.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(content))
    setting = f"ROOT, FOLDER = {str(load_config().artifacts_dir)!r}, {str(folder)!r}\n"
    programs = {
        "ours": setting + OURS_START,
        "unpickled matrix": setting + USUAL_START,
        "python alone": "pass",
    }
    laps = {name: [] for name in programs}
    for _ in range(7):
        for name, program in programs.items():
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            laps[name].append(time.perf_counter() - begun)
    seconds = {name: statistics.median(of) for name, of in laps.items()}
    # before anything is compiled in this process
    return {"seconds": seconds, "without_numba": without_numba()}


def machine():
    "What it ran on."
    names = (
        "movierec",
        "numpy",
        "polars",
        "numba",
        "faiss-cpu",
        "hnswlib",
        "sparse-dot-topn",
        "scikit-learn",
        "distributed",
    )
    python = platform.python_version()
    about = f"{platform.machine()}, {os.cpu_count()} cores, Python {python}, one thread"
    return {"machine": about, "versions": {name: version(name) for name in names}}


def main(folder, parts):
    "Run the parts and keep the results of the others."
    results = stored.read("scale") | machine()
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        begun = time.perf_counter()
        with threadpool_limits(limits=1):
            results[part] = PARTS[part](folder)
        took = {
            part: {
                "made": time.strftime("%Y-%m-%d"),
                "seconds": round(time.perf_counter() - begun),
            }
        }
        results["runs"] = results.get("runs", {}) | took
        stored.store("scale", results)


PARTS = {"start": start, "search": search, "growth": growth, "batch": batch}

if __name__ == "__main__":
    if sys.argv[1] == "--growth":
        growth_at(int(sys.argv[2]))
    else:
        main(Path(sys.argv[1]), sys.argv[2:] or list(PARTS))
