"Versions on full disks, in processes that are killed, and after any damage."

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import faults
import numpy as np
import polars as pl
import pytest
from conftest import UNMEASURED
from hypothesis import example, given, settings
from hypothesis import strategies as st

from movierec.artifacts import (
    FORMAT,
    METADATA,
    Artifact,
    ArtifactError,
    FormatError,
    check_version,
    created_at,
    latest,
    library_versions,
    next_version,
    open_seal,
    open_version,
    parse_array,
    provenance,
    save,
    seal,
    set_latest,
    versions,
    write_table,
)
from movierec.config import VERSION_PATTERN, ConfigError, TasteConfig, load_config
from movierec.recommender import (
    Recommender,
    describe_recommender,
    write_recommender,
)


def read_by_load(root):
    "The names of the files that a recommender reads when it is loaded."
    names, real = [], Artifact.read
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            Artifact, "read", lambda self, n: names.append(n) or real(self, n)
        )
        Recommender.load(root=root)
    return names


def an_array(root):
    "The name of an array that is read then."
    return next(name for name in read_by_load(root) if name.endswith(".npy"))


@pytest.fixture(scope="module")
def small():
    "A recommender of made-up films, which has all the files that any has."
    data, taste = faults.small_dataset(), TasteConfig(factors=4, sweeps=1)
    return Recommender.from_tables(data.movies, data.ratings, data.genres, taste=taste)


@pytest.fixture
def copy(small, tmp_path):
    "A version in use, to be damaged: a recommender, and an export that is never read."

    def write(folder):
        write_recommender(small, folder)
        (folder / "exports").mkdir()
        (folder / "exports" / "scaler.pkl").write_bytes(pickle.dumps({"scale": 0.1}))

    save(
        tmp_path / "artifacts",
        "v1.0.0",
        write,
        {"recommender": describe_recommender(small)},
    )
    set_latest(tmp_path / "artifacts", "v1.0.0")
    return tmp_path / "artifacts"


def flip(content, bit):
    "The content with one bit changed."
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


DAMAGES = {
    "empty": lambda content: b"",
    "one byte short": lambda content: content[:-1],
    "half": lambda content: content[: len(content) // 2],
    "one byte more": lambda content: content + b"\0",
    "first bit": lambda content: flip(content, 0),
    "a bit in the middle": lambda content: flip(content, len(content) * 4 + 3),
    "last bit": lambda content: flip(content, len(content) * 8 - 1),
    "zeros": lambda content: bytes(len(content)),
    "missing": None,
    "a folder": None,
    "a dangling link": None,
}


def damage(path, what):
    "Replace the file by a damaged one."
    content = path.read_bytes()
    path.unlink()
    if DAMAGES[what]:
        path.write_bytes(DAMAGES[what](content))
    elif what == "a folder":
        path.mkdir()
    elif what == "a dangling link":
        path.symlink_to("nowhere")


@pytest.mark.parametrize("what", DAMAGES)
def test_each_file_that_is_damaged_is_refused_by_name(what, copy):
    artifact = open_version(copy)
    names, loaded = list(artifact.metadata["files"]), read_by_load(copy)
    assert (
        set(names) - set(loaded) == {"exports/scaler.pkl"} and artifact.verify() == []
    )
    for name in names:
        path = artifact.folder / name
        shutil.copyfile(path, path.with_name("good"))
        damage(path, what)
        with pytest.raises(
            ArtifactError, match=re.escape(f"{artifact.version}/{name}")
        ):
            artifact.read(name)
        (problem,) = artifact.verify()
        assert name in problem
        if name in loaded:
            with pytest.raises(
                ArtifactError, match=re.escape(f"{artifact.version}/{name}")
            ):
                Recommender.load(root=copy)
        else:
            assert Recommender.load(root=copy).version == "v1.0.0"
        if path.is_dir():
            path.rmdir()
        path.with_name("good").replace(path)
    assert artifact.verify() == []


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_metadata_is_refused_by_name(what, copy):
    damage(copy / latest(copy) / METADATA, what)
    with pytest.raises(ArtifactError, match=re.escape(METADATA)):
        Recommender.load(root=copy)


def test_metadata_with_any_one_bit_flipped_is_refused(small, tmp_path):
    told = {
        "taste": describe_recommender(small)["taste"],
        "title": "Mis\xe9rables, Les",
    }
    save(tmp_path, "v1.0.0", write_two, {"recommender": told})
    content = (tmp_path / "v1.0.0" / METADATA).read_bytes()
    open_seal(content, Path("v1.0.0"))
    accepted = []
    for bit in range(8 * len(content)):
        try:
            open_seal(flip(content, bit), Path("v1.0.0"))
            accepted.append(bit)
        except ArtifactError as error:
            assert METADATA in str(error) or isinstance(error, FormatError)
    assert accepted == []


@settings(max_examples=200)
@given(
    content=st.binary(max_size=60)
    | st.recursive(st.none() | st.text(), st.lists).map(
        lambda x: json.dumps(x).encode()
    )
)
@example(content=b'{"a": "\\ud800"}')
@example(content=b"[" * 100_000)
@example(content=b"1" * 5000)
@example(content=b'{"format": 1, "format": 1}')
@example(content=b"NaN")
@example(content=seal({"files": {}}))
def test_any_other_bytes_as_metadata_are_refused(content):
    with pytest.raises(ArtifactError):
        open_seal(content, Path("v1.0.0"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"v1",
        b"../v1.0.0\n",
        b"v1.0.0 v1.0.1\n",
        b"\xff\xfe",
        b"latest\n",
        b"\0" * 7,
    ],
)
def test_a_damaged_latest_is_refused_by_name(content, copy):
    (copy / "latest").unlink()
    (copy / "latest").write_bytes(content)
    with pytest.raises(ArtifactError, match="latest"):
        Recommender.load(root=copy)


def test_a_version_in_an_older_format_names_the_command_that_makes_a_new_one(copy):
    save(copy, "v1.2.9", lambda folder: None, {})
    metadata = open_version(copy, "v1.0.0").metadata
    older = {**metadata, "format": FORMAT - 1}
    (copy / "v1.0.0" / METADATA).write_bytes(seal(older))
    with pytest.raises(FormatError) as error:
        Recommender.load(root=copy)
    assert isinstance(error.value, ArtifactError)
    assert str(error.value) == (
        f"v1.0.0 has format {FORMAT - 1}, this program reads {FORMAT}. Train the model "
        "again, under the next name: 'movierec train --version v1.2.10'. "
        "'make serve' does that itself."
    )


def test_what_a_version_was_made_from_is_data_settings_and_libraries(monkeypatch):
    config, digests = load_config(), {"u.data": "06416e59"}
    made = provenance(digests, config)
    assert made["data_sha256"] == digests and made["libraries"] == library_versions()
    assert made == provenance(digests, load_config(model={"dir": "/elsewhere"}))
    for other in (
        provenance({"u.data": "0"}, config),
        provenance(digests, load_config(similarity={"methods": ["cosine"]})),
        provenance(digests, load_config(taste={"ridge": 11})),
        provenance(digests, load_config(model={"max_matrix_movies": 1})),
    ):
        assert other != made
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert created_at() == "1970-01-01T00:00:00+00:00"


def test_versions_are_told_apart_by_identity_and_never_raise(copy):
    one, two = open_version(copy), open_version(copy)
    assert one == one and one != two and len({one, two}) == 2


def test_a_file_is_read_once_and_what_was_verified_is_what_is_parsed(copy):
    artifact, name = open_version(copy), an_array(copy)
    expected = artifact.array(name)

    def change_and_parse(content):
        (artifact.folder / name).write_bytes(b"another file")
        return parse_array(content)

    assert (artifact.parse(name, change_and_parse) == expected).all()
    with pytest.raises(ArtifactError, match=f"{name} is damaged"):
        artifact.array(name)


def test_a_version_under_another_name_is_refused(copy):
    (copy / "v1.0.0").rename(copy / "v2.0.0")
    with pytest.raises(ArtifactError, match=r"v1\.0\.0"):
        open_version(copy, "v2.0.0")


# No pickles


def test_loading_calls_no_unpickler(trained_root, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("something was unpickled")

    expected = Recommender.load(root=trained_root).similar(1).to_dict()
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    with pytest.raises(AssertionError):
        pickle.loads(pickle.dumps(1))
    rec = Recommender.load(root=trained_root)
    assert (
        rec.similar(1).to_dict() == expected
        and rec.search("fargo")
        and rec.explain(1, 50)
    )


class Bomb:
    "An object that does something when it is unpickled."

    def __reduce__(self):
        return os.mkdir, ("bomb",)


@pytest.mark.parametrize("kind", ["object array", "plain pickle"])
def test_a_pickle_in_place_of_an_array_is_refused_though_its_digest_is_right(
    kind, trained_root, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    def write(folder):
        write_recommender(recommender, folder)
        if kind == "object array":
            np.save(folder / name, np.array([Bomb()], dtype=object), allow_pickle=True)
        else:
            (folder / name).write_bytes(pickle.dumps(Bomb()))

    recommender, name = Recommender.load(root=trained_root), an_array(trained_root)
    save(
        tmp_path / "artifacts",
        "v1.0.0",
        write,
        {"recommender": describe_recommender(recommender)},
    )
    with pytest.raises(ArtifactError, match=re.escape(name)):
        Recommender.load("v1.0.0", tmp_path / "artifacts")
    assert not (tmp_path / "bomb").exists()


# Writing


def write_two(folder):
    "Files of a version: one in the folder, one in a folder below."
    (folder / "below").mkdir()
    np.save(folder / "numbers.npy", np.arange(5000))
    write_table(
        pl.DataFrame({"title": ["Misérables, Les (1995)"] * 50, "year": [1995] * 50}),
        folder / "below" / "t.parquet",
    )


def contents(folder):
    "The content of every file below `folder`."
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_what_is_saved_twice_has_the_same_bytes_and_is_read_back(tmp_path):
    one, two = (
        save(tmp_path / name, "v1.0.0", write_two, {"b": 1, "a": "é"})
        for name in ("one", "two")
    )
    assert contents(one) == contents(two)
    artifact = open_version(tmp_path / "one", "v1.0.0")
    assert sorted(artifact.metadata["files"]) == ["below/t.parquet", "numbers.npy"]
    assert (
        artifact.array("numbers.npy").sum() == sum(range(5000))
        and len(artifact.table("below/t.parquet")) == 50
    )


def test_the_trained_files_are_those_that_the_recommender_writes(
    trained_root, tmp_path
):
    rec = Recommender.load(root=trained_root)
    write_recommender(rec, tmp_path)
    written = contents(tmp_path)
    assert written == {
        name: content
        for name, content in contents(trained_root / rec.version).items()
        if name in written
    }


SAVE = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from movierec.artifacts import save
root, version = Path(sys.argv[1]), sys.argv[2]
def write(folder):
    for i in range(3):
        np.save(folder / f"{i}.npy", np.arange(5000))
"""


def run(script, *arguments):
    "Run Python code in a process of its own."
    command = [sys.executable, "-c", SAVE + script, *map(str, arguments)]
    return subprocess.run(
        command, env=UNMEASURED, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def root(tmp_path):
    "A folder with one version, in use."
    save(tmp_path / "artifacts", "v1.0.0", write_two, {})
    set_latest(tmp_path / "artifacts", "v1.0.0")
    return tmp_path / "artifacts"


@pytest.mark.parametrize("bytes_allowed", [0, 100, 30_000])
def test_a_full_disk_changes_nothing(bytes_allowed, root):
    before = contents(root)
    limits = f"({bytes_allowed},) * 2"
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, {limits})\n"
    done = run(limit + "save(root, version, write, {})", root, "v1.0.1")
    message = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and message.startswith(
        "movierec.artifacts.ArtifactError: version v1.0.1 can't be written"
    )
    assert "Nothing was changed" in message
    assert contents(root) == before and sorted(p.name for p in root.iterdir()) == [
        "latest",
        "v1.0.0",
    ]


def test_a_full_disk_while_latest_is_moved_leaves_the_old_version_in_use(root):
    save(root, "v1.0.1", write_two, {})
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    done = run(
        limit + "from movierec.artifacts import set_latest; set_latest(root, version)",
        root,
        "v1.0.1",
    )
    assert (
        "ArtifactError" in done.stderr
        and "latest can't be written: File too large" in done.stderr
    )
    assert open_version(root).version == "v1.0.0"
    assert sorted(p.name for p in root.iterdir()) == ["latest", "v1.0.0", "v1.0.1"]


KILLED = """
real, calls = os.fsync, []
def killed(handle):
    calls.append(handle)
    if len(calls) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
os.fsync = killed
save(root, version, write, {})
"""


@pytest.mark.parametrize(
    "n", [1, 3, 4, 5, 6]
)  # the first and last file, metadata.json, the folder, the root
def test_killed_while_saving_the_old_version_stays_in_use_and_the_next_save_works(
    n, root
):
    before = contents(root / "v1.0.0")
    assert run(KILLED, root, "v1.0.1", n).returncode == -9
    assert (
        contents(root / "v1.0.0") == before and open_version(root).version == "v1.0.0"
    )
    if n == 6:  # only the root's own entry was still to be synced: the version is whole
        assert open_version(root, "v1.0.1").verify() == [] and versions(root) == [
            "v1.0.0",
            "v1.0.1",
        ]
    else:
        assert versions(root) == ["v1.0.0"] and next_version(root) == "v1.0.1"
        save(root, "v1.0.1", write_two, {})
    assert open_version(root, "v1.0.1").verify() == []


def test_what_a_killed_save_left_is_removed_by_the_next(root):
    assert run(KILLED, root, "v1.0.1", 2).returncode == -9
    assert len(list(root.glob(".*.partial"))) == 1
    save(root, "v1.0.1", write_two, {})
    assert sorted(p.name for p in root.iterdir()) == ["latest", "v1.0.0", "v1.0.1"]


def test_a_version_that_takes_for_ever_is_not_taken_away_by_another_program(root):
    def slow(folder):
        write_two(folder)
        os.utime(folder, (0, 0))  # the last file was begun in 1970
        assert run(KILLED, root, "v1.0.2", 99).returncode == 0

    save(root, "v1.0.1", slow, {})
    assert open_version(root, "v1.0.1").verify() == []
    assert sorted(p.name for p in root.iterdir()) == [
        "latest",
        *("v1.0.0", "v1.0.1", "v1.0.2"),
    ]


def test_a_writer_that_fails_leaves_nothing(root):
    def write(folder):
        write_two(folder)
        raise ZeroDivisionError

    before = contents(root)
    with pytest.raises(ZeroDivisionError):
        save(root, "v1.0.1", write, {})
    assert contents(root) == before and sorted(p.name for p in root.iterdir()) == [
        "latest",
        "v1.0.0",
    ]


def test_of_two_processes_that_save_one_version_exactly_one_wins(root):
    script = """
def slow(folder):
    write(folder)
    (folder / sys.argv[3]).touch()
    while len(list(root.glob(".v*.partial"))) < 2 and not (root / version).exists():
        time.sleep(0.001)
save(root, version, slow, {})
"""
    command = [sys.executable, "-c", SAVE + script, str(root), "v1.0.1"]
    both = [
        subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    messages = [process.communicate(timeout=60)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    (lost,) = filter(None, messages)
    assert re.search(r"ArtifactError: .*v1\.0\.1", lost)
    winner = "one" if both[0].returncode == 0 else "two"
    artifact = open_version(root, "v1.0.1")
    assert (
        artifact.verify() == []
        and {winner} == {"one", "two"} & artifact.metadata["files"].keys()
    )
    assert sorted(p.name for p in root.iterdir()) == ["latest", "v1.0.0", "v1.0.1"]


@pytest.mark.parametrize("there", ["a version", "a file", "an empty folder"])
def test_what_is_there_is_not_overwritten(there, root):
    if there != "a version":
        shutil.rmtree(root / "v1.0.0")
        (root / "v1.0.0").touch() if there == "a file" else (root / "v1.0.0").mkdir()
    before = contents(root)
    with pytest.raises(ArtifactError, match="never overwritten"):
        save(root, "v1.0.0", write_two, {})
    assert contents(root) == before


def test_a_file_where_the_folder_of_versions_should_be(tmp_path):
    root = tmp_path / "artifacts"
    root.write_text("mine")
    for question in (
        lambda: save(root, "v1.0.0", write_two, {}),
        lambda: set_latest(root, "v1.0.0"),
        lambda: open_version(root),
        lambda: open_version(root, "v1.0.0"),
    ):
        with pytest.raises(ArtifactError, match=re.escape(str(root))):
            question()
    assert versions(root) == [] and root.read_text() == "mine"


# Names of versions


@settings(max_examples=400)
@given(
    name=st.text(max_size=20)
    | st.from_regex(VERSION_PATTERN)
    | st.lists(
        st.sampled_from(
            ["v", "1", ".", "/", "\\", "0", "-", "\0", "\n", "..", "~", "\u0661"]
        )
    ).map("".join)
)
@example(name="v1.0.0\n")
@example(name="v1.0.0/../../x")
@example(name="v1.0.0/")
@example(name="v\uff11.0.0")
def test_a_version_that_is_accepted_is_a_plain_folder_name_and_config_agrees(
    name, tmp_path_factory
):
    root = tmp_path_factory.getbasetemp()
    try:
        accepted = check_version(name)
    except ArtifactError:
        with pytest.raises(ArtifactError):
            save(root / "never", name, write_two, {})
        with pytest.raises(ConfigError):
            load_config(model={"version": name})
        assert not (root / "never").exists()
    else:
        assert accepted == name == load_config(model={"version": name}).model.version
        assert (
            re.fullmatch(r"v[0-9]+\.[0-9]+\.[0-9]+", name)
            and (root / name).parent == root
        )


@settings(max_examples=100)
@given(st.sets(st.tuples(*[st.integers(0, 999_998)] * 3), max_size=6))
def test_versions_are_in_numeric_order_and_the_next_one_is_new(numbers):
    class Root:
        "A folder with these versions and other things."

        def is_dir(self):
            return True

        def iterdir(self):
            names = [f"v{a}.{b}.{c}" for a, b, c in numbers] + [
                "v1.0",
                ".v1.0.0.ab.partial",
                "latest",
            ]
            return [
                type("P", (), {"name": name, "is_dir": lambda self: True})()
                for name in names
            ]

    assert versions(Root()) == [f"v{a}.{b}.{c}" for a, b, c in sorted(numbers)]
    assert check_version(next_version(Root())) not in versions(Root())


def test_an_artifact_answers_only_for_its_own_files(copy):
    artifact = open_version(copy)
    (copy / "secret").write_text("x")
    for name in ("../secret", str(copy / "secret"), METADATA, "nothing.npy"):
        with pytest.raises(ArtifactError, match="not among the files"):
            artifact.read(name)
    assert isinstance(artifact, Artifact)
