"""A method, a block of features and a metric, each added in one place, at run time.

Nothing else of the package is changed for them, and they are found where people look:
on the command line, in the API, in an evaluation.
"""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import QUICK

from movierec import evaluation
from movierec.cli import main
from movierec.config import load_config
from movierec.features import BLOCKS, Block, build_features
from movierec.metrics import METRICS
from movierec.recommender import Recommender
from movierec.similarity import METHODS, Method
from movierec.web import create_app
from movierec.weights import content_matrix, smoother_flags

DECADES = tuple(range(1920, 2000, 10))


def decades_of(movies):
    "A flag for each decade of each film's year; (movies, decades)."
    years = movies["year"].fill_null(1995).to_numpy()
    return (years[:, None] // 10 * 10 == DECADES).astype(np.uint8)


def decade_block(movies, genres, settings):
    "The decade of a film, as flags that count half of a genre."
    names = tuple(f"the {decade}s" for decade in DECADES)
    return Block("decades", names, 0.5 * decades_of(movies), True, 0.5)


def overlap_divisor(dot, square, other):
    "The smaller set: the overlap coefficient is its share that is shared."
    return np.minimum(square, other)


def first_place(items, relevant, k):
    "Whether the first film is relevant."
    return float(items[0] in relevant) if relevant and len(items) else np.nan


@pytest.fixture(scope="module")
def before(recommender):
    "A recommender from before anything is registered."
    return recommender


@pytest.fixture(scope="module")
def added(before):
    "The three of them, registered for as long as these tests run."
    METHODS["overlap"] = Method("overlap", overlap_divisor, ("genres", "decades"))
    BLOCKS["decades"] = decade_block
    METRICS["first_place"] = first_place
    yield
    del METHODS["overlap"], BLOCKS["decades"], METRICS["first_place"]


@pytest.fixture(scope="module")
def rec(added, dataset):
    "A recommender with all three methods."
    return Recommender.from_tables(dataset.movies, dataset.ratings, dataset.genres)


@pytest.fixture(scope="module")
def flags(dataset):
    "What `overlap` compares: genres, and decades that count half."
    genres = build_features(dataset.movies, dataset.genres)["genres"].values
    return np.hstack([genres, 0.5 * decades_of(dataset.movies)])


@pytest.fixture(scope="module")
def by_formula(flags):
    "The overlap coefficient of all pairs, written out; (movies, movies)."
    shared = flags @ flags.T
    sizes = (flags**2).sum(1)
    return (shared / np.minimum(sizes[:, None], sizes)).round(12)


@pytest.fixture(scope="module")
def home(added, tmp_path_factory):
    "A folder with settings and a version that is trained with them."
    folder = tmp_path_factory.mktemp("seams")
    data = load_config().data_dir
    settings = {
        "data": {"dir": str(data)},
        "similarity": {"methods": ["cosine", "overlap"], "default_method": "overlap"},
        "taste": QUICK,
        "logging": {"handlers": ["file"]},
    }
    (folder / "config.yaml").write_text(json.dumps(settings))
    done = run("train", "--config", str(folder / "config.yaml"))
    assert done.exit_code == 0, done.output
    return folder


def run(*command):
    "A command, in this process."
    return CliRunner().invoke(main, list(command))


# The formulas


def test_the_method_gives_what_its_formula_says(rec, by_formula):
    movies, near = rec.movies, rec.neighbours["overlap"]
    ids, n_ratings = (movies[name].to_numpy() for name in ("movie_id", "n_ratings"))
    film_of = rec.catalogue.film_of
    for row in range(0, 1682, 17):
        order = np.lexsort((ids, -n_ratings, -by_formula[row]))
        order = order[(by_formula[row][order] > 0) & (film_of[order] != film_of[row])]
        order = order[np.sort(np.unique(film_of[order], return_index=True)[1])][:10]
        rows, scores = near.nearest(row, 10)
        assert rows.tolist() == order.tolist(), row
        assert np.abs(scores - by_formula[row][rows]).max() < 2e-12


def test_what_it_explains_adds_up_and_names_the_decade(rec, by_formula):
    explained = rec.explain("Fargo", "Twelve Monkeys", "overlap")
    parts = dict(explained.frame.select("name", "contribution").iter_rows())
    rows = [rec.find(title)[0] for title in ("Fargo", "Twelve Monkeys")]
    assert abs(sum(parts.values()) - by_formula[rows[0], rows[1]]) < 2e-12
    smaller = min(rec.movies["genres"].list.len()[row] for row in rows) + 0.25
    assert abs(parts["the 1990s"] - 0.25 / smaller) < 1e-12 and "year" not in parts


def test_the_block_is_part_of_what_taste_knows(rec, before, dataset):
    content = content_matrix(rec.features)
    columns = before.taste.content.shape[1] + len(DECADES)
    names = smoother_flags(rec.features).shape[1]
    assert rec.taste.content.shape[1] == columns  # with the ones
    assert columns == 1 + content.shape[1] + names
    assert (content[:, -len(DECADES) :] == 0.5 * decades_of(dataset.movies)).all()


def test_cosine_and_jaccard_are_what_they_were(rec, before):
    for method in ("cosine", "jaccard"):
        for movie_id in range(1, 1683, 40):
            ours, theirs = (r.similar(movie_id, 20, method) for r in (rec, before))
            assert ours == theirs


# Where people look


def test_they_are_on_the_command_line(home, rec):
    settings = str(home / "config.yaml")
    done = run(
        "similar", "Fargo", "--method", "overlap", "--json", "--config", settings
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["items"] == rec.similar("Fargo", 10, "overlap").items
    wrong = run("similar", "Fargo", "--method", "overlapp", "--config", settings)
    assert wrong.exit_code != 0 and "did you mean overlap?" in wrong.output
    table = (home / "artifacts" / "v1.0.0" / "movies_features.csv").read_text()
    assert table.splitlines()[0].endswith("the 1980s,the 1990s")
    assert (home / "artifacts" / "v1.0.0" / "overlap_similarity_matrix.pkl").exists()


def test_they_are_in_the_api_and_on_the_page(home, rec):
    client = create_app(load_config(home / "config.yaml")).test_client()
    found = client.get("/api/v1/movies/100/similar?method=overlap").json
    assert found["items"] == rec.similar(100, 10, "overlap").items
    model = client.get("/api/v1/model").json
    assert (
        model["methods"] == ["cosine", "overlap"] and "the 1990s" in model["features"]
    )
    assert client.get("/api/v1/movies/100/similar?method=jaccard").status_code == 400
    page = client.get("/movies/100?method=overlap")
    assert page.status_code == 200 and 'value="overlap"' in page.text


def test_they_are_in_an_evaluation(home, monkeypatch, by_formula, dataset):
    first = evaluation.folds(dataset)[:1]
    draw = evaluation.cold_splits(dataset, [0, 1])
    monkeypatch.setattr(evaluation, "folds", lambda dataset: first)
    monkeypatch.setattr(evaluation, "cold_splits", lambda dataset: draw)
    monkeypatch.setattr(evaluation, "GROUPS", 2)
    done = run("evaluate", "--config", str(home / "config.yaml"))
    assert done.exit_code == 0, done.output
    assert "content_overlap" in done.output and "first_place" in done.output
    version = home / "artifacts" / "v1.0.0"
    report = json.loads((version / "evaluation.json").read_text())
    split = first[0]
    grades = np.array([0, -0.2, 0, 0.4, 0.8, 1])[split.base[split.users].astype(int)]
    scores = (grades @ by_formula).round(12)
    scores[~split.candidates[split.users]] = -np.inf
    alone = [row.argmax() for row in scores if (row == row.max()).sum() == 1]
    hits = [
        bool(split.liked[user, row.argmax()])
        for user, row in zip(split.users, scores, strict=True)
        if (row == row.max()).sum() == 1
    ]
    tied = len(split.users) - len(alone)
    share = report["models"]["content_overlap"]["first_place_at_10"] * len(split.users)
    assert sum(hits) - 1e-6 <= share <= sum(hits) + tied + 1e-6
    assert "first_place" in (version / "MODEL_CARD.md").read_text()
