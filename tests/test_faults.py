"What disagrees is not put in use, nothing hangs, and no false alarm is given."

import json
import math
import os
import random
import shutil

import faults
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from movierec.artifacts import (
    METADATA,
    ArtifactError,
    open_version,
    save,
    seal,
    set_latest,
)
from movierec.cli import main
from movierec.config import LikenessConfig, TasteConfig, load_config
from movierec.data import load
from movierec.fetch import fetch
from movierec.files import DataError, read_regular, to_json
from movierec.makers import read_films
from movierec.recommender import (
    Recommender,
    describe_recommender,
    open_recommender,
    write_recommender,
)
from movierec.serving import (
    Held,
    file_stamp,
    json_response,
    refresh,
    what_is_wrong,
)
from movierec.web import create_app

# The same as `python -m tests.faults`, a small share of it.


@pytest.mark.parametrize(("kind", "n"), [("kills", 1), ("flips", 20), ("reseals", 30)])
def test_a_small_run_of_the_faults(kind, n, tmp_path):
    found = faults.KINDS[kind](tmp_path, n)
    assert sum(found.values()) >= n


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    "A folder of versions with a small one, as training writes it."
    root = tmp_path_factory.mktemp("small") / "artifacts"
    faults.train_small(root)
    return root


@pytest.fixture
def root(trained, tmp_path):
    "A copy of that folder, to be damaged."
    return shutil.copytree(trained, tmp_path / "artifacts")


def reseal(root, change):
    "Change the metadata of v1.0.0, and seal it as it is then."
    folder = root / "v1.0.0"
    metadata = json.loads((folder / METADATA).read_bytes())
    change(metadata)
    (folder / METADATA).write_bytes(seal(metadata))


def replace_array(root, name, change):
    "Change an array of v1.0.0, with its digest."
    path = root / "v1.0.0" / f"{name}.npy"
    np.save(path, change(np.load(path)))
    files = faults.list_files(root / "v1.0.0")
    reseal(
        root, lambda metadata: metadata["files"].update({path.name: files[path.name]})
    )


def with_nan(array):
    "The array with one value that is no number."
    array.flat[3] = np.nan
    return array


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("taste_weights_data", with_nan, "no finite number"),
        ("taste_weights_data", lambda a: a[::-1].copy(), "answers otherwise"),
        ("taste_weights_indices", lambda a: a[::-1].copy(), "doesn't rise"),
        ("taste_effects", lambda a: a.astype(np.float64), "of the kind float64"),
        ("taste_rows", lambda a: a + 1, "taste_rows"),
        ("taste_popularity", lambda a: a * 2, "ratings.parquet"),
        ("taste_effects", lambda a: a[:-1], "has the shape"),
        ("taste_factors", lambda a: a[:, :-1], "has the shape"),
        ("taste_content_indices", lambda a: a + 1000, "holds numbers from"),
        ("taste_content_indptr", lambda a: a[::-1].copy(), "doesn't rise"),
        ("neighbours_cosine", np.zeros_like, "twice in one list"),
        ("neighbours_jaccard", lambda a: a[::-1].copy(), "answers otherwise"),
        ("likeness_nearest", lambda a: np.full_like(a, -1), "answers otherwise"),
        ("likeness_nearest", np.zeros_like, "twice in one list"),
        ("likeness_nearest_scores", lambda a: a[::-1].copy(), "answers otherwise"),
        ("likeness_nearest_scores", lambda a: a[:, 1:], "has the shape"),
        ("features_genres", lambda a: a[::-1].copy(), "disagrees with movies.parquet"),
        ("features_year", lambda a: a[::-1].copy(), "disagrees with movies.parquet"),
        ("positions", lambda a: a[:-1], "has the shape"),
        ("positions", lambda a: a[::-1].copy(), "answers otherwise"),
    ],
)
def test_an_array_that_disagrees_is_refused_by_its_name(root, name, change, said):
    replace_array(root, name, change)
    with pytest.raises(ArtifactError, match=f"{said}") as error:
        Recommender.load(root=root)
    assert name in str(error.value) or said == "answers otherwise"
    held = refresh(Held(), root)
    assert held.model is None and said in str(held.problem)


def test_fewer_movies_with_digests_as_they_should_be_are_refused(root):
    path = root / "v1.0.0" / "movies.parquet"
    path.write_bytes(path.read_bytes())
    faults.write_table(pl.read_parquet(path).head(30), path)
    files = faults.list_files(path.parent)
    reseal(
        root, lambda metadata: metadata["files"].update({path.name: files[path.name]})
    )
    client = create_app(load_config(model={"dir": str(root)})).test_client()
    assert client.get("/readyz").status_code == client.get("/").status_code == 503


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda m: m["recommender"].update(strange=1),
            "recommender doesn|strange is 1",
        ),
        (lambda m: m["recommender"]["taste"].update(strange=1), "taste.strange"),
        (lambda m: m["recommender"]["taste"].pop("ridge"), "ridge is missing"),
        (lambda m: m["recommender"]["taste"].update(ridge=10**400), "taste.ridge"),
        (lambda m: m["recommender"]["taste"].update(sweeps="1e999999999"), "sweeps"),
        (lambda m: m["recommender"].update(default_method="euclid"), "euclid"),
        (lambda m: m["recommender"]["names"].pop("cast"), "names others"),
        (lambda m: m.pop("recommender"), "dictionary|valid"),
        (
            lambda m: m["files"].update({"../latest": m["files"]["positions.npy"]}),
            "../",
        ),
        (lambda m: m["counts"].update(movies=59), "counts 59 movies, and there are 60"),
        (lambda m: m["data"].update(terms="javascript:alert(1)"), "data.terms"),
        (lambda m: m.update(files=5), "files is 5"),
    ],
)
def test_metadata_that_disagrees_is_refused_by_entry(root, change, said):
    reseal(root, change)
    with pytest.raises(ArtifactError, match=said):
        Recommender.load(root=root)


def test_metadata_nested_deeply_is_refused(root):
    for depth in (900, 100_000):
        text = b'{"a": ' * depth + b"1" + b"}" * depth
        (root / "v1.0.0" / METADATA).write_bytes(text)
        with pytest.raises(ArtifactError, match=METADATA):
            open_version(root)


# Only files


@pytest.mark.parametrize(
    "name", ["latest", "v1.0.0/metadata.json", "v1.0.0/positions.npy"]
)
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder"])
def test_what_is_no_file_is_refused_at_once(root, name, kind):
    path = root / name
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with faults.no_longer_than(5), pytest.raises(ArtifactError, match="can't be read"):
        Recommender.load(root=root)


def test_pipes_among_the_data_are_refused_at_once(tmp_path):
    faults.write_movielens(tmp_path / "made-up")
    for folder, name in (("made-up", "ratings.csv"), ("made-up", "links.csv")):
        path = tmp_path / folder / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    (tmp_path / "ml-100k").mkdir()
    os.mkfifo(tmp_path / "ml-100k" / "u.data")
    os.mkfifo(tmp_path / "movies.db")
    with faults.no_longer_than(5):
        with pytest.raises(DataError, match=r"ratings\.csv can't be read: it is not a"):
            load(tmp_path / "made-up")
        with pytest.raises(DataError, match=r"movies\.db can't be read: it is not a"):
            read_films(tmp_path / "movies.db")
        with pytest.raises(DataError, match=r"u\.data is missing"):
            fetch(tmp_path / "ml-100k", sources={})
        with pytest.raises(OSError, match="not a regular file"):
            read_regular(tmp_path / "movies.db")


def test_an_evaluation_that_is_a_pipe_or_can_t_be_sent_is_left_out(root):
    client = create_app(load_config(model={"dir": str(root)})).test_client()
    path = root / "v1.0.0" / "evaluation.json"
    for content in (b'{"a": "\\ud800"}', b'{"a":' * 500 + b"1" + b"}" * 500):
        path.write_bytes(content)
        assert client.get("/api/v1/model").json["evaluation"] is None
    path.write_bytes(b'{"a": 1e999}')
    assert json.loads(client.get("/api/v1/model").data)["evaluation"] == {"a": None}
    path.unlink()
    os.mkfifo(path)
    with faults.no_longer_than(5):
        assert client.get("/api/v1/model").json["evaluation"] is None


# No false alarm, and no silence


def test_files_touched_or_copied_are_no_damage_and_a_lost_one_is(root):
    held = refresh(Held(), root)
    model, folder = held.model, root / "v1.0.0"
    for path in folder.iterdir():
        os.utime(path)
        shutil.copyfile(path, path.with_suffix(".copy"))
        path.with_suffix(".copy").replace(path)
    assert what_is_wrong(held) is None
    assert model.seen["positions.npy"] == (file_stamp(folder / "positions.npy"), None)
    for name in (METADATA, "cosine_similarity_matrix.pkl", "positions.npy"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        assert f"v1.0.0/{name} is missing" in what_is_wrong(held)
        (folder / name).write_bytes(content[:-1] + b"?")
        assert f"v1.0.0/{name} has changed" in what_is_wrong(held)
        (folder / name).write_bytes(content)
        assert what_is_wrong(held) is None
    set_latest(root, "v1.0.0")
    assert refresh(held, root).model is model


def run(root, *arguments):
    "The command line on this folder of versions."
    environment = {
        "MOVIEREC_MODEL__DIR": str(root),
        "MOVIEREC_LOGGING__HANDLERS": "[]",
        "FORCE_COLOR": None,
    }
    return CliRunner().invoke(main, arguments, env=environment)


def test_verifying_versions_fails_when_nothing_is_in_use_or_parts_disagree(root):
    assert run(root, "versions", "--verify").exit_code == 0
    for content, said in (
        (None, "'movierec use v1.0.0'"),
        ("v9.9.9\n", "'movierec use v1.0.0'"),
        ("v9", "movierec use"),
    ):
        (root / "latest").unlink(missing_ok=True)
        if content is not None:
            (root / "latest").write_text(content)
        done = run(root, "versions", "--verify")
        assert done.exit_code == 1 and said in done.stderr and "v1.0.0" in done.stdout
    (root / "latest").write_text("v9.9.9\n")
    done = run(root, "train", "--if-needed")
    assert done.exit_code == 1 and "'movierec use v1.0.0'" in done.stderr
    assert run(root, "use", "v1.0.0").exit_code == 0
    replace_array(root, "neighbours_cosine", np.zeros_like)
    done = run(root, "versions", "--verify", "--json")
    assert done.exit_code == 1 and "neighbours_cosine" in done.stdout
    done = run(root, "use", "v1.0.0")
    assert done.exit_code == 1 and "neighbours_cosine" in done.stderr
    shutil.rmtree(root)
    assert run(root, "versions").exit_code == 0
    done = run(root, "versions", "--verify")
    assert done.exit_code == 1 and "no version is in use" in done.stderr


def test_a_version_that_a_program_saved_gets_words_instead_of_a_traceback(tmp_path):
    data = faults.small_dataset()
    rec = Recommender.from_tables(data.movies, data.ratings)
    about = {"recommender": describe_recommender(rec)}
    save(tmp_path, "v1.0.0", lambda folder: write_recommender(rec, folder), about)
    set_latest(tmp_path, "v1.0.0")
    done = run(tmp_path, "versions")
    assert done.exit_code == 0 and "v1.0.0" in done.stdout
    (row,) = json.loads(run(tmp_path, "versions", "--verify", "--json").stdout)
    assert row["movies"] == 60 and row["problems"] == [] and row["created_at"] is None
    for command in ("train", "evaluate"):
        done = run(tmp_path, command)
        assert done.exit_code == 1 and "no record of its training" in done.stderr
        assert "movierec train --version v1.0.1" in done.stderr
    client = create_app(load_config(model={"dir": str(tmp_path)})).test_client()
    assert client.get("/api/v1/model").json["data"] == {}
    assert client.get("/").status_code == client.get("/map").status_code == 200


# Numbers


def bounds(kind):
    "The lowest and the highest value of each number among some settings, by name."
    known = {}
    for name, field in kind.model_fields.items():
        limits = {type(m).__name__: m for m in field.metadata}
        if "Ge" in limits and name not in ("sweeps", "factors", "max_learned_movies"):
            known[name] = limits["Ge"].ge, limits["Le"].le
    if kind is TasteConfig:
        known["grades"] = (-10, -10, -10, -10, 10), (0, 0, 0, 0, 1e-300)
        known["confidences"] = (0, 0, 0, 0, 1e-300), (1000,) * 5
    return known


def test_settings_at_their_bounds_give_models_that_are_finite():
    data, rng = faults.small_dataset(), random.Random(0)
    for draw in range(10):  # all at the lowest, all at the highest, then mixed
        chosen = {}
        for kind in (TasteConfig, LikenessConfig):
            pick = {
                n: b[draw if draw < 2 else rng.randrange(2)]
                for n, b in bounds(kind).items()
            }
            chosen[kind] = kind(**pick)
        settings = {"taste": chosen[TasteConfig], "likeness": chosen[LikenessConfig]}
        rec = Recommender.from_tables(data.movies, data.ratings, **settings)
        answers = describe_recommender(rec)["answers"]
        assert np.isfinite(np.concatenate(answers)).all(), settings


def test_a_model_that_is_not_finite_is_not_saved(trained, tmp_path):
    rec = Recommender.load(root=trained)
    rec.taste.weights.data[3] = np.inf
    for question in (
        lambda: describe_recommender(rec),
        lambda: save(tmp_path, "v1.0.0", lambda f: write_recommender(rec, f), {}),
    ):
        with pytest.raises(ArtifactError, match="not finite"):
            question()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_number_never_leaves_as_json():
    body = {"a": math.nan, "b": [math.inf, -math.inf]}
    assert json_response(body).get_data() == b'{"a":null,"b":[null,null]}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(body)


def test_the_model_in_use_stays_when_a_newer_one_disagrees(root):
    held = refresh(Held(), root)
    shutil.copytree(root / "v1.0.0", root / "v1.0.1")
    path = root / "v1.0.1" / METADATA
    newer = json.loads(path.read_bytes()) | {"version": "v1.0.1"}
    newer["recommender"]["answers"][0][0] += 0.1
    path.write_bytes(seal(newer))
    set_latest(root, "v1.0.1")
    after = refresh(held, root)
    assert after.model is held.model and "answers otherwise" in str(after.problem)
    assert open_recommender(open_version(root, "v1.0.0")).version == "v1.0.0"
