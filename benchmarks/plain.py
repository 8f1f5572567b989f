"""Recommenders that papers describe, each as plain as it can be, for
benchmarks/peers.py: numpy, scipy and torch, in the peers' environment.

They stand beside the libraries' own, since a library's fault is not its method's. Each
function takes a sparse matrix of signals (users, movies) and settings, and gives a
function from rows of users to the scores of all movies.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

Score = Callable[[np.ndarray], np.ndarray]  # (users,) rows to (users, movies)


def linear(values: sparse.csr_matrix, weights: np.ndarray) -> Score:
    "Scores by a table of weights (movies, movies): signals times weights."
    return lambda rows: values[rows] @ weights


def ease_weights(gram: np.ndarray, penalty: Any) -> np.ndarray:
    "Each movie's ridge regression on the others, a column each (Steck 2019)."
    inverted = np.linalg.inv(gram + penalty * np.eye(len(gram)))
    weights = inverted / -np.diag(inverted)
    np.fill_diagonal(weights, 0)
    return weights


def ease(values: sparse.csr_matrix, regularization: float) -> Score:
    "EASE (Steck 2019): ridge regression of each movie on the others."
    gram = (values.T @ values).toarray().astype(np.float64)
    return linear(values, ease_weights(gram, regularization))


def edlae(values: sparse.csr_matrix, regularization: float, dropout: float) -> Score:
    "EDLAE (Steck 2020): EASE with dropout, whose penalty grows with a movie's signals."
    gram = (values.T @ values).toarray().astype(np.float64)
    penalty = regularization + dropout / (1 - dropout) * np.diag(gram)
    return linear(values, ease_weights(gram, penalty))


def slim(
    values: sparse.csr_matrix, l1: float, l2: float, rho: float, iterations: int
) -> Score:
    "SLIM (Ning & Karypis 2011) by ADMM (Steck et al. 2020): no weight below 0."
    gram = (values.T @ values).toarray().astype(np.float32)
    inverted = np.linalg.inv(gram + (l2 + rho) * np.eye(len(gram), dtype=np.float32))
    solved = inverted @ gram
    sparse_part = np.zeros_like(gram)
    dual = np.zeros_like(gram)
    diagonal = np.diag(inverted)
    for _ in range(iterations):
        free = solved + rho * (inverted @ (sparse_part - dual))
        free -= inverted * (np.diag(free) / diagonal)  # the diagonal becomes 0
        sparse_part = np.maximum(free + dual - l1 / rho, 0)
        dual += free - sparse_part
    return linear(values, sparse_part)


def user_knn(values: sparse.csr_matrix, neighbours: int, shrinkage: float) -> Score:
    "User-kNN (Herlocker et al. 1999): the signals of the users who are most alike."
    products = (values @ values.T).toarray().astype(np.float64)
    lengths = np.sqrt(np.diag(products))
    alike = products / (np.outer(lengths, lengths) + shrinkage + 1e-12)
    np.fill_diagonal(alike, 0)
    n = min(neighbours, len(alike) - 1)
    least = np.partition(alike, -n, axis=1)[:, -n][:, None]
    kept = np.where(alike >= least, alike, 0)
    return lambda rows: sparse.csr_matrix(kept[rows]) @ values.toarray()


def ials(
    values: sparse.csr_matrix,
    factors: int,
    alpha: float,
    unobserved: float,
    regularization: float,
    iterations: int,
) -> Score:
    "iALS (Rendle et al. 2022): confidence alpha x value; the ridge grows with them."
    rng = np.random.default_rng(0)
    shape = values.shape
    sides = [(alpha * m).astype(np.float64).tocsr() for m in (values, values.T)]
    films = rng.normal(0, 0.1 / np.sqrt(factors), (shape[1], factors))

    def half(side: sparse.csr_matrix, vectors: np.ndarray) -> np.ndarray:
        everything = unobserved * vectors.T @ vectors
        found = np.zeros((side.shape[0], factors))
        for row in range(side.shape[0]):
            here = slice(side.indptr[row], side.indptr[row + 1])
            some, c = vectors[side.indices[here]], side.data[here]
            penalty = regularization * (c.sum() + unobserved * len(vectors))
            matrix = everything + (some.T * c) @ some + penalty * np.eye(factors)
            found[row] = np.linalg.solve(matrix, some.T @ c)
        return found

    for _ in range(iterations):
        people = half(sides[0], films)
        films = half(sides[1], people)
    people = half(sides[0], films)
    return lambda rows: people[rows] @ films.T


def infinite_ae(values: sparse.csr_matrix, regularization: float) -> Score:
    "Infinite-AE (Sachdeva et al. 2022): a ridge with the kernel of a wide net."
    dense = values.toarray().astype(np.float64)
    lengths = np.linalg.norm(dense, axis=1, keepdims=True)
    units = dense / np.where(lengths > 0, lengths, 1)
    cosine = np.clip(units @ units.T, -1, 1)
    angle = np.pi - np.arccos(cosine)
    kernel = (cosine * angle + np.sqrt(1 - cosine**2)) / np.pi + cosine * angle / np.pi
    ridge = regularization * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
    solved = np.linalg.solve(kernel + ridge, dense)
    return lambda rows: kernel[rows] @ solved


def bpr(
    values: sparse.csr_matrix,
    factors: int,
    learning_rate: float,
    regularization: float,
    epochs: int,
) -> Score:
    "BPR (Rendle et al. 2009): matrix factorisation by Adam, negatives drawn evenly."
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    pairs = values.tocoo()
    users, films = (
        torch.from_numpy(i.astype(np.int64)) for i in (pairs.row, pairs.col)
    )
    has = torch.zeros(values.shape, dtype=torch.bool)
    has[users, films] = True
    tables = [torch.randn(n, factors) * 0.1 for n in values.shape]
    bias = torch.zeros(values.shape[1])
    learned = [table.requires_grad_() for table in (*tables, bias)]
    adam = torch.optim.Adam(learned, lr=learning_rate)
    for _ in range(epochs):
        for batch in torch.randperm(len(users)).split(4096):
            u, i = users[batch], films[batch]
            j = torch.randint(values.shape[1], i.shape)
            p, q, r = tables[0][u], tables[1][i], tables[1][j]
            gap = (p * (q - r)).sum(1) + bias[i] - bias[j]
            counted = ~has[u, j]
            loss = -torch.nn.functional.logsigmoid(gap)[counted].mean()
            loss = loss + regularization * (p**2 + q**2 + r**2).sum(1).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    people, vectors = (table.detach().numpy() for table in tables)
    return lambda rows: people[rows] @ vectors.T + bias.detach().numpy()


def mult_vae(
    values: sparse.csr_matrix,
    hidden: int,
    latent: int,
    dropout: float,
    beta: float,
    learning_rate: float,
    epochs: int,
) -> Score:
    "Mult-VAE (Liang et al. 2018): a variational autoencoder with multinomial loss."
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    nn, n_films = torch.nn, values.shape[1]
    table = torch.from_numpy(values.toarray().astype(np.float32))
    encoder = nn.Sequential(
        nn.Linear(n_films, hidden), nn.Tanh(), nn.Linear(hidden, 2 * latent)
    )
    decoder = nn.Sequential(
        nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, n_films)
    )
    adam = torch.optim.Adam(
        [*encoder.parameters(), *decoder.parameters()], lr=learning_rate
    )
    step, steps = 0, epochs * -(-len(table) // 128)
    for _ in range(epochs):
        for batch in torch.randperm(len(table)).split(128):
            x = table[batch]
            damaged = nn.functional.dropout(nn.functional.normalize(x), dropout)
            mean, log_variance = encoder(damaged).chunk(2, dim=1)
            drawn = mean + torch.randn_like(mean) * (log_variance / 2).exp()
            said = nn.functional.log_softmax(decoder(drawn), dim=1)
            kl = (log_variance.exp() + mean**2 - 1 - log_variance).sum(1) / 2
            weight = beta * min(1, 2 * step / steps)  # annealed over the first half
            loss = (-(said * x).sum(1) + weight * kl).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            step += 1

    def score(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            x = nn.functional.normalize(table[torch.from_numpy(np.asarray(rows))])
            result: np.ndarray = decoder(encoder(x).chunk(2, dim=1)[0]).numpy()
        return result

    return score


# What is searched, as trials.draw reads it, the first value of each the default; and
# the settings that the papers report, as far as they fit data of this size.

INPUT = ["graded", "liked", "rated", "stars"]
MODELS: dict[str, tuple[str, Any, dict[str, list[Any]], list[dict[str, Any]]]] = {
    "plain-ease": (
        "numpy",
        ease,
        {"input": INPUT, "regularization": [500.0, (5.0, 5000.0)]},
        [{"input": "liked", "regularization": 500.0}],
    ),
    "plain-edlae": (
        "numpy",
        edlae,
        {
            "input": INPUT,
            "regularization": [100.0, (1.0, 1000.0)],
            "dropout": [0.33, (0.05, 0.8)],
        },
        [{"input": "liked", "regularization": 500.0, "dropout": 0.33}],
    ),
    "plain-slim": (
        "numpy",
        slim,
        {
            "input": INPUT,
            "l1": [1.0, (0.05, 20.0)],
            "l2": [100.0, (5.0, 2000.0)],
            "rho": [200.0, (50.0, 2000.0)],
            "iterations": [25],
        },
        [{"input": "liked", "l1": 1.0, "l2": 500.0, "rho": 10000.0}],
    ),
    "plain-user-knn": (
        "numpy",
        user_knn,
        {
            "input": INPUT,
            "neighbours": [40, 20, 80, 160, 320],
            "shrinkage": [1.0, (0.1, 100.0)],
        },
        [],
    ),
    "plain-ials": (
        "numpy",
        ials,
        {
            "input": INPUT,
            "factors": [24, 8, 16, 32, 48, 64],
            "alpha": [2.0, (0.5, 5.0)],
            "unobserved": [0.168, (0.05, 0.5)],
            "regularization": [0.0133, (0.003, 0.05)],
            "iterations": [8, 16],
        },
        [
            {
                "input": "liked",
                "factors": 64,
                "alpha": 1.0,
                "unobserved": 0.1,
                "regularization": 0.003,
                "iterations": 16,
            }
        ],
    ),
    "plain-infinite-ae": (
        "numpy",
        infinite_ae,
        {"input": INPUT, "regularization": [1.0, (0.01, 50.0)]},
        [{"input": "liked", "regularization": 1.0}],
    ),
    "plain-bpr": (
        "torch",
        bpr,
        {
            "input": ["liked", "rated"],
            "factors": [64, 16, 32, 128],
            "learning_rate": [0.01, (0.002, 0.05)],
            "regularization": [0.01, (0.0003, 0.1)],
            "epochs": [40, 20],
        },
        [],
    ),
    "plain-mult-vae": (
        "torch",
        mult_vae,
        {
            "input": ["liked", "graded", "rated"],
            "hidden": [300, 600],
            "latent": [100, 50, 200],
            "dropout": [0.5, 0.3, 0.7],
            "beta": [0.2, (0.02, 1.0)],
            "learning_rate": [0.001, (0.0005, 0.005)],
            "epochs": [60, 30],
        },
        [{"hidden": 600, "latent": 200, "epochs": 100}],
    ),
}
