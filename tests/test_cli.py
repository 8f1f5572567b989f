"The command line only translates: options mean what Python's parameters mean."

import json
import os
import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from conftest import QUICK_VARIABLES, save_version

from movierec import cli as cli_module
from movierec.cli import main
from movierec.config import load_config
from movierec.recommender import Recommender
from movierec.similarity import METHODS, Method


def invoke(root, *arguments, **environment):
    "Run a command in this process, with the versions in `root`."
    variables = {"MOVIEREC_MODEL__DIR": str(root), "MOVIEREC_HOME": str(root.parent)}
    given = {"env": variables | environment, "prog_name": "movierec"}
    return CliRunner().invoke(main, list(map(str, arguments)), **given)


def ask(root, *arguments):
    "The JSON that a command prints."
    done = invoke(root, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def ids(results):
    "The ids of the listed movies."
    return [item["movie_id"] for item in results["items"]]


@pytest.fixture(scope="module")
def rec(trained_root):
    "The recommender that is asked."
    return Recommender.load(root=trained_root)


# Years and other numbers, of which 0 is one


@pytest.fixture(scope="module")
def ancient(tmp_path_factory):
    "A model of five films, from before and after the year 0."
    movies = pl.DataFrame(
        {
            "movie_id": [1, 2, 3, 4, 5],
            "title": list("ABCDE"),
            "year": [1990, -5, 0, 5, None],
            "genres": [["x"]] * 5,
        }
    )
    ratings = pl.DataFrame({"user_id": [7], "movie_id": [1], "rating": [4]})
    root = tmp_path_factory.mktemp("ancient") / "artifacts"
    save_version(root, "v1.0.0", Recommender.from_tables(movies, ratings))
    return root


@pytest.mark.parametrize(
    ("options", "years"),
    [
        ((), None),
        (("--to", 0), (None, 0)),
        (("--from", 0), (0, None)),
        (("--from", 0, "--to", 0), (0, 0)),
        (("--from", -5, "--to", 0), (-5, 0)),
    ],
    ids=str,
)
def test_the_year_0_is_a_year(options, years, ancient):
    rec = Recommender.load(root=ancient)
    for command, wanted in [
        (("similar", "A"), rec.similar("A", years=years)),
        (("recommend", "--like", "A"), rec.recommend({"A": 5}, years=years)),
        (("search", "A"), rec.search("A", years=years)),
    ]:
        assert ask(ancient, *command, *options) == wanted.to_dict()
    listed = set(ids(ask(ancient, "similar", "A", *options)))
    of_year = {2: -5, 3: 0, 4: 5}
    low, high = (years or (None, None))[0], (years or (None, None))[1]
    fits = {
        movie
        for movie, year in of_year.items()
        if (low is None or year >= low) and (high is None or year <= high)
    }
    assert listed == (fits if years else {2, 3, 4, 5})


def test_user_0_is_a_user_that_there_is_not(ancient):
    done = invoke(ancient, "recommend", "--user", 0)
    assert done.exit_code == 1 and "there is no user 0" in done.stderr
    both = invoke(ancient, "recommend", "--user", 0, "--like", "A")
    assert both.exit_code == 2 and "leave out --like" in both.stderr


def test_diversity_reaches_both_kinds_of_lists(rec, trained_root):
    spread = ("--diversity", 0.5, "-k", 5)
    wanted = rec.similar("Fargo", 5, diversity=0.5)
    assert ask(trained_root, "similar", "Fargo", *spread) == wanted.to_dict()
    wanted = rec.recommend({"Fargo": 5}, 5, diversity=0.5)
    assert (
        ask(trained_root, "recommend", "--like", "Fargo", *spread) == wanted.to_dict()
    )


# What is typed for a film


def test_a_title_of_digits_is_a_title_first_and_id_names_the_id(rec, trained_root):
    (film,) = rec.movies.filter(pl.col("title") == "187 (1997)").to_dicts()
    similar = ask(trained_root, "similar", "187")["movie"]
    assert (similar["movie_id"], similar["title"]) == (film["movie_id"], "187 (1997)")
    assert ask(trained_root, "similar", "id:187")["movie"]["movie_id"] == 187
    assert ask(trained_root, "similar", "50")["movie"]["movie_id"] == 50
    for name, movie_id in [("187", film["movie_id"]), ("id:187", 187), ("50", 50)]:
        liked = ask(trained_root, "recommend", "--like", name, "-k", 5)
        assert ids(liked) == ids(rec.recommend({movie_id: 5}, 5).to_dict())


# Errors name the option


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("similar", "Fargo", "-k", 0), 2, "-k: k is 0, expected"),
        (("search", "Fargo", "-k", -1), 2, "-k: k is -1, expected"),
        (("similar", "Fargo", "--genre", "Opera"), 2, "--genre: genre 'Opera' is not"),
        (("search", "Fargo", "--genre", "Opera"), 2, "--genre: genre 'Opera' is not"),
        (("similar", "Fargo", "--method", "cosin"), 2, "--method: method 'cosin' is"),
        (
            ("recommend", "--from", 1, "--to", 0),
            2,
            "--from and --to: years is (1, 0): the first year is after",
        ),
        (("recommend", "--diversity", "nan"), 2, "--diversity: diversity is nan"),
        (("similar", "Fargo", "--diversity", 2), 2, "--diversity: diversity is 2.0"),
        (("batch", "--out", "x", "-k", 0), 2, "-k: k is 0, expected"),
        (
            ("batch", "--out", "x", "--for", "movies", "--method", "cosin"),
            2,
            "--method: method 'cosin' is not known (did you mean cosine?)",
        ),
        (("similar", "Fargoo"), 1, "Error: no movie is called 'Fargoo'"),
        (("recommend", "--like", "Fargoo"), 1, "Error: no movie is called 'Fargoo'"),
        (("recommend", "--exclude", "Fargoo"), 1, "Error: no movie is called"),
        (("similar", "Fargo", "--version", "v9.9.9"), 1, "there is no version v9.9.9"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_wrong_option_is_named(arguments, status, words, trained_root, tmp_path):
    done = invoke(trained_root, *arguments)
    assert (done.exit_code, done.stdout) == (status, "")
    assert words in done.stderr


# Methods come from the table


def test_a_method_that_is_registered_at_run_time_is_found(tmp_path, monkeypatch):
    def overlap_divisor(dot, square, other):
        return np.minimum(square, other)

    overlap = Method("overlap", overlap_divisor, ("genres",))
    monkeypatch.setitem(METHODS, "overlap", overlap)
    monkeypatch.setattr(cli_module, "setup_logging", lambda *given: None)
    root = tmp_path / "artifacts"
    settings = {
        "MOVIEREC_SIMILARITY__METHODS": '["cosine", "overlap"]',
        "MOVIEREC_DATA__DIR": str(load_config().data_dir),
    } | QUICK_VARIABLES
    done = invoke(root, "train", **settings)
    assert done.exit_code == 0, done.output
    matrices = {path.name for path in (root / "v1.0.0").glob("*_similarity_matrix.pkl")}
    assert matrices == {f"{m}_similarity_matrix.pkl" for m in ("cosine", "overlap")}
    assert (
        "[cosine|jaccard|content|overlap|liked]"
        in invoke(root, "similar", "--help").stdout
    )
    assert (
        "[cosine|jaccard|content|overlap|liked]"
        in invoke(root, "batch", "--help").stdout
    )
    rec = Recommender.load(root=root)
    listed = ask(root, "similar", "Toy Story", "--method", "overlap", "-k", 5)
    assert listed == rec.similar("Toy Story", 5, "overlap").to_dict()
    flags = rec.features["genres"].values.astype(float)
    shared = flags @ flags[0] / np.minimum(flags.sum(1), flags[0].sum()).clip(1)
    for item in listed["items"]:
        assert item["score"] == pytest.approx(shared[rec.find(item["movie_id"])[0]])
    out = tmp_path / "lists"
    of_movies = ("--for", "movies", "--method", "overlap", "-k", 3)
    assert ask(root, "batch", "--out", out, *of_movies)["lists"] == 1682
    table = pl.read_parquet(out / "*.parquet").filter(pl.col("movie_id") == 1)
    assert table["similar_id"].to_list() == ids(listed)[:3]


# What is printed, and where


ORDERS = "\x1b[31mToy\x9b2J \x07Story\u202e"  # red, and the screen is empty
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    "A model of films whose titles and genres give orders to a terminal."
    movies = pl.DataFrame(
        {
            "movie_id": [1, 2, 3, 4],
            "title": [
                f"{ORDERS} one",
                f"{ORDERS} two\nthree",
                f"{ORDERS} one",
                "Mis\xe9rables, Les (1995)",
            ],
            "year": [1990, 1991, 1990, 1995],
            "genres": [["\x1b[2Jx"]] * 4,
        }
    )
    ratings = pl.DataFrame({"user_id": [7], "movie_id": [1], "rating": [4]})
    root = tmp_path_factory.mktemp("hostile") / "artifacts"
    rec = Recommender.from_tables(movies, ratings)
    save_version(root, "v1.0.0", rec, created_at=ORDERS)
    return root


@pytest.mark.parametrize(
    "arguments",
    [
        ("similar", "id:1"),
        ("similar", f"{ORDERS} two\nthree"),
        ("similar", "stor"),
        ("similar", "id:1", "--genre", "\x1b[31m"),
        ("search", "story"),
        ("recommend", "--like", "id:1"),
        ("recommend", "--like", "sotry two"),
        ("recommend", "--like", "\x1b[31m", "--dislike", "\x1b[31m"),
        ("recommend", "--user", 7),
        ("batch", "--out", "/dev/null/\x1b[31m"),
        ("versions", "--verify"),
        ("use", "\x1b[31m"),
        ("\x1b[31m",),
    ],
    ids=lambda value: ascii(value[0]),
)
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_nothing_of_the_data_or_of_what_is_typed_orders_the_terminal(
    arguments, form, hostile
):
    done = invoke(hostile, *arguments, *form)
    assert done.output and not RAW.findall(done.output), ascii(done.output)
    assert done.exit_code in (0, 1, 2) and isinstance(done.exception, SystemExit | None)


def test_a_title_with_orders_is_shown_written_out_on_one_line(hostile):
    lines = invoke(hostile, "search", "story").stdout.splitlines()
    assert len(lines) == 3  # the film that stands twice is one
    shown = "\\u001b[31mToy\\u009b2J \\u0007Story\\u202e"
    assert sum(f"{shown} one" in line for line in lines) == 1
    assert sum(f"{shown} two\\nthree" in line for line in lines) == 1
    found = ask(hostile, "search", "story")  # JSON reads back as it was
    assert {item["title"] for item in found["items"]} == {
        f"{ORDERS} one",
        f"{ORDERS} two\nthree",
    }


def test_what_python_shows_of_a_list_gives_no_orders_either(hostile):
    rec = Recommender.load(root=hostile)
    for shown in (rec.similar(1), rec.recommend({1: 5}), rec.explain(1, 2)):
        assert ORDERS[5:8] in repr(shown) and not RAW.findall(repr(shown))


def start(root, *arguments, stdout=subprocess.PIPE, **environment):
    "A command in a process of its own."
    variables = {"MOVIEREC_MODEL__DIR": str(root), "MOVIEREC_HOME": str(root.parent)}
    return subprocess.Popen(
        [sys.executable, "-m", "movierec", *arguments],
        env=os.environ | variables | environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def test_letters_that_the_output_lacks_are_written_out(hostile):
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    running = [
        start(hostile, *arguments, **ascii_only)
        for arguments in (
            ("search", "miserables", "-k", "1"),
            ("search", "miserables", "-k", "1", "--json"),
            ("similar", "mis\xe9rable z"),
        )
    ]
    table, as_json, wrong = (process.communicate(timeout=60) for process in running)
    assert [process.returncode for process in running] == [0, 0, 1]
    assert b"Mis\\xe9rables, Les (1995)" in table[0] and table[1] == b""
    (item,) = json.loads(as_json[0].decode("ascii"))["items"]
    assert item["title"] == "Mis\xe9rables, Les (1995)"
    assert b"no movie is called 'mis\\xe9rable z'" in wrong[1]
    assert b"Traceback" not in wrong[1]


FULL = "Error: the output can't be written: No space left on device.\n"


@pytest.mark.parametrize(
    ("output", "arguments", "told"),
    [
        ("closed", ("search", "story"), ""),
        ("closed", ("--help",), ""),
        ("full", ("search", "story"), FULL),
        ("full", ("--help",), FULL),
    ],
    ids=str,
)
def test_an_output_that_nobody_reads_or_that_has_no_room_is_no_bug(
    output, arguments, told, hostile
):
    """Python may try to write at once, or only at its very end."""
    for unbuffered in ("", "1") if arguments == ("--help",) else ("",):
        reads, writes = os.pipe()
        with open("/dev/full", "wb") as full, open(writes, "wb") as pipe:
            os.close(reads)
            given = {"stdout": full if output == "full" else pipe}
            process = start(hostile, *arguments, PYTHONUNBUFFERED=unbuffered, **given)
        assert process.communicate(timeout=60)[1].decode() == told
        assert process.returncode == 1


# How it is started


def test_python_m_movierec_is_movierec(trained_root):
    done = subprocess.run(
        [sys.executable, "-m", "movierec", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: python -m movierec [OPTIONS]")
