"""Exact neighbours at 1,682 to 10 million films, beside other ways. Writes into benchmarks/results.json.

    python benchmarks/scale.py FOLDER [PART ...]      (parts: start, search, growth, batch; all: half an hour)

Everything on one thread, in one process where times are compared, in rounds that follow each other, so that a slow
minute of the machine hits all. FOLDER takes what the batch job needs and writes: 2 GB.
"""

import json
import os
import pickle
import platform
import statistics
import subprocess
import sys
import time
from fractions import Fraction
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import numpy as np
import stored
from scale_batch import batch, peak_bytes
from threadpoolctl import threadpool_limits

from movierec.config import load_config
from movierec.data import load
from movierec.features import build_features
from movierec.neighbours import Neighbours, compiled_search, draw_catalogue, grouped, nearest_lists
from movierec.recommender import with_rating_counts
from movierec.similarity import SimilarityIndex, tie_order, whole_numbers, year_step

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
        features = build_features(dataset.movies, dataset.genres)
        if n == len(dataset.movies):
            self.flags, self.years = features.genre_flags, features.years
            counted = with_rating_counts(dataset.movies, dataset.ratings)
            self.order = tie_order(counted["n_ratings"].to_numpy(), counted["movie_id"].to_numpy())
        else:
            self.flags, self.years = draw_catalogue(features.genre_flags, n)
            self.order = np.arange(n)
        self.n = n

    def build(self):
        "The index, timed."
        start = time.perf_counter()
        self.index = SimilarityIndex.build(self.flags, self.years, 0.1, self.order)
        return time.perf_counter() - start

    def unit_vectors(self):
        "The features as float32 rows of length 1, as the peers want them."
        step = float(year_step(self.years, 0.1))
        rows = np.hstack([self.flags, ((self.years - self.years.min()) * step)[:, None]]).astype(np.float32)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def brute_force(catalogue, row, k, method):
    "The top k by definition: every film's shared genres, size and year, compared as fractions; no code of the index."
    flags, years = catalogue.flags, catalogue.years - catalogue.years.min()
    step = year_step(catalogue.years, 0.1)
    p, q = step.numerator, step.denominator  # years times p, genres times q: whole numbers
    shared, sizes = flags[:, flags[row] > 0].sum(1, dtype=np.int64), flags.sum(1, dtype=np.int64)
    years_of = years if method == "cosine" else np.zeros_like(years)
    kinds, kind_of = np.unique((shared * 64 + sizes) * 4096 + years_of, return_inverse=True)
    g, x = int(sizes[row]), int(years[row]) * p
    exact = []
    for kind in kinds.tolist():
        (s, h), y = divmod(kind // 4096, 64), kind % 4096 * p
        if method == "jaccard":
            exact.append(Fraction(s, (g + h - s) or 1))
        else:
            exact.append(Fraction((s * q * q + x * y) ** 2, ((g * q * q + x * x) * (h * q * q + y * y)) or 1))
    values = sorted(set(exact), reverse=True)
    rank_of_value = {value: rank for rank, value in enumerate(values)}
    rank = np.array([rank_of_value[value] if value else len(kinds) for value in exact])[kind_of]
    rank[row] = len(kinds)
    place = np.empty(catalogue.n, np.int64)
    place[catalogue.order] = np.arange(catalogue.n)
    enough = np.sort(rank)[min(k, catalogue.n) - 1]
    rows = np.flatnonzero((rank <= enough) & (rank < len(kinds)))
    return rows[np.lexsort((place[rows], rank[rows]))][:k]


def brute_force_vector(catalogue, vector, k):
    "The top k of a vector that is no film's, by cosine, by definition: each kind of film compared in whole numbers."
    if not hasattr(catalogue, "kinds"):
        years = (catalogue.years - catalogue.years.min()).astype(np.int64)
        codes = catalogue.flags.astype(np.int64) @ (1 << np.arange(catalogue.flags.shape[1])) * 4096 + years
        _, first, catalogue.kind_of = np.unique(codes, return_index=True, return_inverse=True)
        catalogue.kinds = [(np.flatnonzero(catalogue.flags[row]).tolist(), int(years[row])) for row in first]
        catalogue.place = np.empty(catalogue.n, np.int64)
        catalogue.place[catalogue.order] = np.arange(catalogue.n)
    step, whole = year_step(catalogue.years, 0.1), whole_numbers(vector)
    p, q = step.numerator, step.denominator
    worth = [
        Fraction(
            (sum(whole[j] for j in genres) * q + whole[-1] * year * p) ** 2,
            (len(genres) * q * q + (year * p) ** 2) or 1,
        )
        for genres, year in catalogue.kinds
    ]
    order, rows = sorted(range(len(worth)), key=worth.__getitem__, reverse=True), []
    for value, equal in groupby(order, key=worth.__getitem__):  # their films, in the tie order
        films = np.flatnonzero(np.isin(catalogue.kind_of, list(equal)))
        rows += films[np.argsort(catalogue.place[films])].tolist() if value else []
        if len(rows) >= k or not value:
            break
    return rows[:k]


def exactness(catalogue, neighbours, rows, method):
    "How many of these films' stored lists are those of brute force."
    same = 0
    for row in rows:
        found = neighbours.nearest(int(row), K, method)
        found = neighbours.top_k(int(row), K, method)[0].tolist() if found is None else found
        same += found == brute_force(catalogue, row, K, method).tolist()
    return {"checked": len(rows), "exact": same}


def timed(contestants, queries, rounds=ROUNDS):
    "Microseconds of single calls, p50, p99 and mean, in the middle one of the rounds, which follow each other."
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
        name: {"p50": float(np.median(took)), "p99": float(np.percentile(took, 99)), "mean": float(took.mean())}
        for name, took in middle.items()
    }


class Table:
    "Ten neighbours for each film, behind a method like ours."

    def __init__(self, rows):
        self.rows = rows

    def nearest(self, row, k):
        "The first k of them."
        return self.rows[row, :k].tolist()


def rows_of(answer):
    "The rows in an answer, whatever else is in it."
    if isinstance(answer, tuple):  # faiss and scikit-learn: distances, rows; hnswlib and our index: rows, distances
        answer = next(part for part in answer if np.asarray(part).dtype.kind in "iu")
    return np.ravel(answer).tolist()


def recall(found, scores_of):
    "Tie-aware recall: the share of K films found that are as similar as the exact K-th, by the exact scores."
    hits = 0
    for row, rows in found.items():
        scores = scores_of(row)
        scores[row] = -1
        kth = np.partition(scores, -K)[-K]
        mine = [other for other in rows if other != row][:K]
        hits += sum(scores[other] >= kth - 1e-6 for other in mine)
    return hits / (K * len(found))


def faiss_settings(faiss, flat, vectors, sample):
    "The fastest of several ways in which faiss can compare all with all; its parameters, and seconds for the sample."
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
    return {"blas": threshold < 10**9, "database_block": database, "reservoir": reservoir < K + 1}


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
    sp_matmul_topn(sparse[few], sparse.T.tocsr(), top_n=K + 1, threshold=0.0, n_threads=1)
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
    compiled_search()[1](grouped(small_index(), "cosine"), False, 3)  # numba compiles now
    builds, lists = [], []
    for _ in range(ROUNDS):
        builds.append(catalogue.build())
        start = time.perf_counter()
        cosine = compiled_lists(catalogue.index)
        lists.append(time.perf_counter() - start)
    index = catalogue.index
    neighbours = Neighbours(index, {"cosine": cosine, "jaccard": nearest_lists(index, "jaccard")})
    neighbours.search(index.vector(0), K)
    checked = np.arange(n) if n < 10_000 else rng.choice(n, 5000 if n < MILLION else 200, replace=False)
    exact = {method: exactness(catalogue, neighbours, checked, method) for method in ("cosine", "jaccard")}
    print("  exact", exact, flush=True)

    vectors = catalogue.unit_vectors()
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    sample = np.arange(n) if n <= ML_25M else rng.choice(n, 10_000, replace=False)
    everything = all_items(catalogue, statistics.median(lists), statistics.median(builds), vectors, flat, sample)
    print("  all", everything, flush=True)

    asked = rng.integers(n, size=QUERIES)
    compiled, groups = compiled_search()[0], grouped(index, "cosine")
    order = np.argsort(index.tie_place)
    queries = []
    for row in asked.tolist():
        v = int(index.vector_of[row])
        whole = index.vector(v)
        queries.append((row, vectors[row : row + 1], whole[:-1].copy(), float(whole[-1]), int(index.set_of[v]), v))

    def ours(query, own):
        places, sure = compiled(groups, query[2], query[3], own, False, K + 1)
        if not sure:
            return index.ranked(index.vector(query[5]), index.whole(query[5]), K + 1, "cosine", None)[0]
        return order[places]

    contestants = {
        "ours, a film of the catalogue": (lambda query: ours(query, query[4]), 1),
        "ours, from the vector alone": (lambda query: ours(query, -1), 1),
        "ours, without numba": (lambda query: index.top_k(query[0], K), 0.1),
        "faiss IndexFlatIP": (lambda query: flat.search(query[1], K + 1), 1 if n < MILLION else 0.05),
        "numpy, argpartition": (lambda query: np.argpartition(vectors @ query[1][0], -K - 1)[-K - 1 :], 0.1),
    }
    brute = NearestNeighbors(n_neighbors=K + 1, algorithm="brute").fit(vectors)  # of unit vectors: faster than "cosine"
    contestants["scikit-learn, brute force"] = (lambda query: brute.kneighbors(query[1]), 0.1 if n < MILLION else 0.03)
    builds, sizes = {}, {}
    for m, construction in GRAPHS[n]:
        start = time.perf_counter()
        graph = hnswlib.Index("ip", vectors.shape[1])
        graph.init_index(n, M=m, ef_construction=construction, random_seed=1)
        graph.set_num_threads(1)
        graph.add_items(vectors)
        name = f"hnswlib, M {m}"
        builds[name], sizes[name] = time.perf_counter() - start, graph.index_file_size() / n
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
        found = {query[0]: rows_of(ask(query)) for query in queries[: 500 if n < MILLION else 50]}
        recalls[name] = recall(found, lambda row: vectors @ vectors[row])
    print("  single", {name: (round(took["mean"], 1), recalls[name]) for name, took in single.items()}, flush=True)

    table = np.empty((n, K), np.int32)  # the part of it that is asked for, by faiss
    for row in set(asked[:200].tolist()):
        table[row] = [other for other in flat.search(vectors[row : row + 1], K + 1)[1][0] if other != row][:K]
    usual = Table(table)
    stored = timed(
        {
            "ours, stored": (lambda query: neighbours.nearest(query[0], K), 1),
            "ours, stored, with scores": (lambda query: neighbours.top_k(query[0], K), 1),
            "a table of n x 10": (lambda query: table[query[0]].tolist(), 1),
            "a table of n x 10, behind a method": (lambda query: usual.nearest(query[0], K), 1),
        },
        queries[:200],
        rounds=7,
    )
    few = rng.integers(n, size=(500, 5))
    profiles = [np.mean([index.vector(int(index.vector_of[row])) for row in rows], axis=0) for rows in few]
    arbitrary = timed(
        {
            "ours": (lambda q: neighbours.search(q, K), 1),
            "ours, without numba": (lambda q: index.search(q, K), 0.2),
            "faiss IndexFlatIP": (lambda q: flat.search(q[None].astype(np.float32), K), 1 if n < MILLION else 0.1),
        },
        profiles,
    )
    tenths = [np.append(rng.integers(0, 11, 19) / 10, rng.choice([0, 0.05, 0.1])) for _ in range(50)]
    compared = profiles[: 500 if n < 10_000 else 100 if n < MILLION else 25] + tenths[: 50 if n < MILLION else 25]
    expected = [brute_force_vector(catalogue, vector, K) for vector in compared]
    agree = [
        sum(by(vector).tolist() == rows for vector, rows in zip(compared, expected, strict=True))
        for by in (lambda q: neighbours.search(q, K), lambda q: index.search(q, K)[0])
    ]
    unsure = sum(not compiled(groups, q[:-1], q[-1], -1, False, K)[1] for q in profiles) / len(profiles)
    print("  arbitrary", {name: round(took["mean"], 1) for name, took in arbitrary.items()}, agree, unsure, flush=True)
    in_index = sum(getattr(index, name).nbytes for name in ("sets", "set_of", "years", "vector_of", "tie_place"))
    return {
        "vectors": len(index.years),
        "sets": len(index.sets),
        "exact": exact,
        "all": everything,
        "single": single,
        "recall": recalls,
        "stored": stored,
        "arbitrary": arbitrary,
        "arbitrary_agree": {"checked": len(compared), "exact": min(agree), "unsure": unsure},
        "builds": builds,
        "bytes": {
            "ours, stored": (cosine.nbytes + index.vector_of.nbytes) / n,
            "ours, index": in_index / n,
            "a table of n x 10": 4 * K,
            "faiss, scikit-learn: the vectors": vectors.nbytes / n,
            **sizes,
            "sparse_dot_topn: the sparse vectors": 8 * np.count_nonzero(vectors) / n + 4,
            "all pairs": 8 * n,
        },
    }


def search(folder):
    "Each size, in this process."
    rng = np.random.default_rng(7)
    return {str(n): search_at(n, rng) for n in (1682, ML_25M, MILLION)}


def small_index():
    "A catalogue that is only there to let numba compile."
    catalogue = Catalogue(2000)
    catalogue.build()
    return catalogue.index


def compiled_lists(index):
    "The lists for cosine, by compiled code whatever the size."
    import movierec.neighbours

    movierec.neighbours.FEW = 0
    return nearest_lists(index, "cosine")


def growth_at(n):
    "Seconds and bytes to index n films, in a process of its own; prints JSON."
    compiled_lists(small_index())
    catalogue = Catalogue(n)
    before = peak_bytes()
    seconds = {"index": catalogue.build()}
    start = time.perf_counter()
    lists = compiled_lists(catalogue.index)
    seconds["lists"] = time.perf_counter() - start
    peak = peak_bytes()
    index = catalogue.index
    facts = {
        "n": n,
        "seconds": seconds,
        "vectors": len(index.years),
        "sets": len(index.sets),
        "stored_bytes": lists.nbytes + index.vector_of.nbytes,
        "peak_bytes": peak,
        "peak_before": before,
    }
    if n > 3 * MILLION:
        neighbours = Neighbours(index, {"cosine": lists, "jaccard": nearest_lists(index, "jaccard")})
        rows = np.random.default_rng(1).choice(n, 30, replace=False)
        facts["exact"] = {m: exactness(catalogue, neighbours, rows, m) for m in ("cosine", "jaccard")}
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
            [sys.executable, __file__, "--growth", str(n)], capture_output=True, text=True, check=True
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
matrix, movies = (pickle.load(open(f"{FOLDER}/{name}.pkl", "rb")) for name in ("matrix", "movies"))
best = sorted(enumerate(matrix[49]), key=lambda pair: pair[1], reverse=True)[1:11]
[movies.iloc[row]["title"] for row, _ in best]
"""


def without_numba():
    "Seconds for the lists in plain Python, and seconds that numba takes to compile the search."
    import movierec.neighbours

    movierec.neighbours.FEW = 10**9
    found = {}
    for n in (ML_25M, MILLION):
        catalogue = Catalogue(n)
        catalogue.build()
        begun = time.perf_counter()
        nearest_lists(catalogue.index, "cosine")
        found[str(n)] = time.perf_counter() - begun
    begun = time.perf_counter()
    compiled_search()[1](grouped(small_index(), "cosine"), False, 3)
    return found | {"compiling": time.perf_counter() - begun}


def start(folder):
    "Seconds from the start of a process to its first ten films."
    import pandas as pd
    from sklearn.metrics.pairwise import cosine_similarity

    dataset = load(load_config().data_dir)
    matrix = cosine_similarity(build_features(dataset.movies, dataset.genres).matrix)
    movies = pd.DataFrame(dataset.movies.select("movie_id", "title").to_dict(as_series=False))
    for name, content in {"matrix": matrix, "movies": movies}.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(content))
    setting = f"ROOT, FOLDER = {str(load_config().artifacts_dir)!r}, {str(folder)!r}\n"
    programs = {"ours": setting + OURS_START, "unpickled matrix": setting + USUAL_START, "python alone": "pass"}
    laps = {name: [] for name in programs}
    for _ in range(7):
        for name, program in programs.items():
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            laps[name].append(time.perf_counter() - begun)
    seconds = {name: statistics.median(of) for name, of in laps.items()}
    return {"seconds": seconds, "without_numba": without_numba()}  # before anything is compiled in this process


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
    about = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, one thread"
    return {"machine": about, "versions": {name: version(name) for name in names}}


def main(folder, parts):
    "Run the parts and keep the results of the others."
    results = stored.read("scale") | machine()
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        begun = time.perf_counter()
        with threadpool_limits(limits=1):
            results[part] = PARTS[part](folder)
        took = {part: {"made": time.strftime("%Y-%m-%d"), "seconds": round(time.perf_counter() - begun)}}
        results["runs"] = results.get("runs", {}) | took
        stored.store("scale", results)


PARTS = {"start": start, "search": search, "growth": growth, "batch": batch}

if __name__ == "__main__":
    if sys.argv[1] == "--growth":
        growth_at(int(sys.argv[2]))
    else:
        main(Path(sys.argv[1]), sys.argv[2:] or list(PARTS))
