"Every setting from every place, and whatever people write: a value, or a message."

import io
import json
import logging
import logging.config
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from movierec.config import (
    Config,
    ConfigError,
    MovierecError,
    QueryError,
    environment_name,
    json_formatter,
    load_config,
    setting_names,
    setup_logging,
)

# A value that differs from the default: in the environment, in YAML, and in Python.
OTHER = {
    "data.dir": ("elsewhere", "elsewhere", Path("elsewhere")),
    "data.verify": ("false", False, False),
    "data.makers": ("false", False, False),
    "data.makers_dir": ("free", "free", Path("free")),
    "features.year_weight": ("0.25", 0.25, 0.25),
    "features.director_weight": ("0", 0, 0),
    "features.writer_weight": ("0.1", 0.1, 0.1),
    "features.cast_weight": ("1", 1, 1),
    "similarity.methods": (
        '["jaccard", "cosine"]',
        ["jaccard", "cosine"],
        ["jaccard", "cosine"],
    ),
    "similarity.default_method": ("jaccard", "jaccard", "jaccard"),
    "likeness.shrinkage": ("0", 0, 0),
    "likeness.damping": ("1", 1, 1),
    "likeness.people": ("0", 0, 0),
    "likeness.nearest": ("50", 50, 50),
    "taste.grades": (
        "[-1, -0.5, 0, 0.5, 1]",
        [-1, -0.5, 0, 0.5, 1],
        (-1, -0.5, 0, 0.5, 1),
    ),
    "taste.dropout": ("0.3", 0.3, 0.3),
    "taste.ridge": ("3", 3, 3),
    "taste.content_weight": ("0", 0, 0),
    "taste.content_ridge": ("7.5", 7.5, 7.5),
    "taste.most_names": ("0", 0, 0),
    "taste.shrinkage": ("0", 0, 0),
    "taste.most_weights": ("7", 7, 7),
    "taste.baseline": ("0", 0, 0),
    "taste.baseline_ratings": ("5", 5, 5),
    "taste.newcomer": ("0", 0, 0),
    "taste.newcomer_ratings": ("3", 3, 3),
    "taste.max_learned_movies": ("100", 100, 100),
    "taste.least_ratings": ("1", 1, 1),
    "taste.factor_weight": ("0", 0, 0),
    "taste.factors": ("8", 8, 8),
    "taste.confidences": ("[0, 0, 0, 1, 2]", [0, 0, 0, 1, 2], (0, 0, 0, 1, 2)),
    "taste.unobserved": ("0.5", 0.5, 0.5),
    "taste.factor_ridge": ("0.1", 0.1, 0.1),
    "taste.sweeps": ("2", 2, 2),
    "model.version": ("v2.0.10", "v2.0.10", "v2.0.10"),
    "model.dir": ("models", "models", Path("models")),
    "model.max_matrix_movies": ("0", 0, 0),
    "logging.level": ("DEBUG", "DEBUG", "DEBUG"),
    "logging.dir": ("/var/tmp/logs", "/var/tmp/logs", Path("/var/tmp/logs")),
    "logging.handlers": ('["file"]', ["file"], ["file"]),
}

WRONG = [
    ("data.dir", [5, None, ["a"], {"a": 1}]),
    ("data.verify", ["maybe", None, 2, [True]]),
    ("data.makers", ["maybe", None, 2, [True]]),
    ("data.makers_dir", [5, None, ["a"], {"a": 1}]),
    (
        "features.year_weight",
        [
            0,
            -0.1,
            1.1,
            "heavy",
            None,
            True,
            [0.1],
            float("nan"),
            float("inf"),
            "1e9999999",
            0.0099,
        ],
    ),
    *(
        (f"features.{name}_weight", [-0.1, 101, "much", None, True, float("nan")])
        for name in ("director", "writer", "cast")
    ),
    ("similarity.methods", [[], "cosine", None, [["cosine"]], [1], {"cosine": 1}]),
    ("similarity.default_method", ["euclid", "Cosine", None, 1, ["cosine"]]),
    ("likeness.shrinkage", [-1, "some", None, float("nan"), 1e308, 10**400]),
    ("likeness.damping", [-0.1, 1.1, None, True]),
    ("likeness.people", [-0.1, "much", None, True, 101]),
    ("likeness.nearest", [0, 0.5, None, 10**5]),
    (
        "taste.grades",
        [
            [0, 0.1, 0.4, 0.8],
            [0, 0, 0, 0, 0],
            [0, 1, 0.5, 2, 3],
            [0.1, 0.2, 0.3, 0.4, 0.5],
            [-0.2, 0, 0.4, 0.8, 1e308],
            [-11, 0, 0, 0, 1],
            None,
        ],
    ),
    ("taste.dropout", [1, 0.9999999999999999, -0.1, True, None, float("nan")]),
    ("taste.ridge", [0, 5e-324, 1e300, -1, float("inf"), "much", None]),
    ("taste.content_weight", [-1, True, None, 10001]),
    ("taste.content_ridge", [0, -1, None, 1e-9, 1e7]),
    ("taste.most_names", [-1, 5001, 1.5, None, "many"]),
    ("taste.shrinkage", [-1, None, float("nan"), 1e7]),
    ("taste.most_weights", [0, 2.5, None, 10**6]),
    ("taste.baseline", [-0.1, "none", False, 101]),
    ("taste.baseline_ratings", [0, -5, None, 1e308]),
    ("taste.newcomer", [-0.1, None, True, 101]),
    ("taste.newcomer_ratings", [0, -1, None, 5e-324, 1e7]),
    ("taste.max_learned_movies", [0, 20001, 2.5, None]),
    ("taste.least_ratings", [0, 1.5, None, 10**400]),
    ("taste.factor_weight", [-0.1, "none", True, 1e308]),
    ("taste.factors", [0, 257, 2.5, None]),
    (
        "taste.confidences",
        [
            [0, 1, 1, 1],
            [0, 0, 0, 0, 0],
            [1, 0, 1, 1, 1],
            [-1, 0, 1, 1, 1],
            [0, 0, 0, 0, 1e308],
        ],
    ),
    ("taste.unobserved", [0, -1, None, float("inf"), 1e308, 1e-300]),
    ("taste.factor_ridge", [0, -1, None, 1e-300, 1e308]),
    ("taste.sweeps", [0, 101, 1.5, None]),
    (
        "model.version",
        [
            "1.0.0",
            "v1",
            "../x",
            "v1.0.0/",
            "v1.0.0\n",
            "v\uff11.0.0",
            "",
            None,
            1.0,
            ["v1.0.0"],
        ],
    ),
    ("model.dir", [5, None]),
    ("model.max_matrix_movies", [-1, 20001, 1.5, "many", None]),
    ("logging.level", ["info", "LOUD", None, 10]),
    ("logging.dir", [5, None]),
    ("logging.handlers", ["console", ["email"], None, [None]]),
]


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    "An empty home, and no setting in the environment."
    folder = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith("MOVIEREC_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MOVIEREC_HOME", str(folder))
    return folder


def nested(name, value):
    "{'features': {'year_weight': value}} for 'features.year_weight'."
    section, key = name.split(".")
    return {section: {key: value}}


def get(config, name):
    "The value of a setting by its dotted name."
    section, key = name.split(".")
    return getattr(getattr(config, section), key)


def load_text(home, content):
    "The settings in a file with this content."
    (home / "some.yaml").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    return load_config(home / "some.yaml")


# Sources


def test_every_setting_is_in_the_tables_of_this_file():
    assert list(OTHER) == [name for name, _ in WRONG] == list(setting_names())


@pytest.mark.parametrize("name", OTHER)
def test_call_environment_file_and_default_win_in_this_order(name, home, monkeypatch):
    in_environment, in_yaml, value = OTHER[name]
    default = get(load_config(), name)
    assert default != value
    (home / "config.yaml").write_text(yaml.safe_dump(nested(name, in_yaml)))
    assert get(load_config(), name) == value  # file over default
    before = in_environment
    monkeypatch.setenv(environment_name(name), before)
    (home / "config.yaml").write_text(
        yaml.safe_dump(
            nested(name, default if not isinstance(default, Path) else str(default))
        )
    )
    assert get(load_config(), name) == value  # environment over file
    assert (
        get(load_config(**nested(name, default)), name) == default
    )  # call over environment
    for other in OTHER:
        if other != name:
            monkeypatch.delenv(environment_name(name))
            assert (
                get(load_config(), other) != OTHER[other][2]
            )  # and nothing else has changed
            monkeypatch.setenv(environment_name(name), before)


def test_a_section_may_be_set_as_a_whole_and_in_part(home, monkeypatch):
    (home / "config.yaml").write_text("model: {version: v1.2.3, max_matrix_movies: 7}")
    monkeypatch.setenv("MOVIEREC_MODEL", '{"max_matrix_movies": 8, "dir": "a"}')
    monkeypatch.setenv("MOVIEREC_MODEL__DIR", "b")
    model = load_config().model
    assert (model.version, model.max_matrix_movies, model.dir) == (
        "v1.2.3",
        8,
        Path("b"),
    )


def test_without_a_file_every_setting_has_its_default_and_an_empty_file_is_the_same(
    home,
):
    default = load_config()
    for content in (
        "",
        "# nothing\n",
        "{}",
        "---\n",
        "\ufeff",
        "features: {}\nmodel: {}\n",
    ):
        assert load_text(home, content).model_dump() == default.model_dump()


def test_relative_folders_start_at_home_and_absolute_ones_stay(home, monkeypatch):
    config = load_config(
        data={"dir": "d"}, model={"dir": "/m"}, logging={"dir": "../l"}
    )
    assert (config.data_dir, config.artifacts_dir) == (home / "d", Path("/m"))
    assert config.logs_dir.resolve() == home.parent / "l"
    monkeypatch.delenv("MOVIEREC_HOME")
    below = home / "a" / "b"
    below.mkdir(parents=True)
    (home / "config.yaml").touch()
    monkeypatch.chdir(below)
    assert (load_config().home, load_config().found_by) == (home, "nearest config.yaml")


# Home


@pytest.fixture
def no_home(monkeypatch, tmp_path):
    "A current folder, below one with a config.yaml, and no MOVIEREC_HOME."
    monkeypatch.delenv("MOVIEREC_HOME")
    (tmp_path / "config.yaml").touch()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize("relative", [True, False])
def test_home_is_the_folder_of_the_file_that_is_named(relative, no_home, monkeypatch):
    project = no_home.parent / "project"
    project.mkdir()
    (project / "mine.yaml").write_text("data: {dir: films}")
    path = "../project/mine.yaml" if relative else project / "mine.yaml"
    config = load_config(path)
    assert (config.home, config.data_dir) == (project, project / "films")
    assert config.found_by == "the folder of mine.yaml"
    monkeypatch.setenv("MOVIEREC_HOME", str(no_home))
    assert (load_config(path).home, load_config(path).found_by) == (
        no_home,
        "MOVIEREC_HOME",
    )


def test_home_is_settled_when_the_settings_are_read(no_home, monkeypatch, tmp_path):
    read, made = load_config(), Config()
    before = [(c.home, c.data_dir, c.artifacts_dir, c.logs_dir) for c in (read, made)]
    (no_home / "config.yaml").touch()
    monkeypatch.chdir("/")
    monkeypatch.setenv("MOVIEREC_HOME", "/")
    after = [(c.home, c.data_dir, c.artifacts_dir, c.logs_dir) for c in (read, made)]
    assert (
        before == after
        and read.home == tmp_path
        and read.found_by == "nearest config.yaml"
    )


def test_equal_settings_are_equal_and_a_copy_keeps_its_home(no_home, monkeypatch):
    one, two = load_config(taste={"ridge": 3}), load_config(taste={"ridge": 3})
    assert one == two and hash(one) == hash(two) and len({one, two, load_config()}) == 2
    changed = one.model_copy(
        update={"model": load_config(model={"version": "v3.0.0"}).model}
    )
    assert changed != one and changed.home == one.home
    monkeypatch.chdir("/")
    assert load_config(taste={"ridge": 3}) != one  # of another home


def test_settings_can_be_sent_to_another_process(no_home):
    (no_home / "some.yaml").write_text("features: {year_weight: 0.25}")
    config = load_config(no_home / "some.yaml", similarity={"methods": ["cosine"]})
    assert pickle.loads(pickle.dumps(config)) == config
    script = (
        "import pickle, sys; c = pickle.load(sys.stdin.buffer); "
        "print(c.home, c.features.year_weight)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps(config),
        capture_output=True,
        cwd="/",
    )
    assert done.stdout.decode().split() == [str(no_home), "0.25"], done.stderr


def test_a_file_cannot_set_its_home(home):
    for key in ("home", "_home", "found_by", "_env_file", "_cli_parse_args"):
        with pytest.raises(
            ConfigError, match=f"^some.yaml: unknown key '{key}'; allowed here: data, "
        ):
            load_text(home, f"{key}: /elsewhere")


def test_settings_made_of_arguments_ignore_the_environment(monkeypatch):
    monkeypatch.setenv("MOVIEREC_FEATURES__YEAR_WEIGHT", "0.2")
    assert (
        Config().features.year_weight == 0.1
        and load_config().features.year_weight == 0.2
    )


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load_config().model.version = "v9.9.9"


# Wrong values


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in WRONG for value in values],
    ids=str,
)
def test_a_wrong_value_is_refused_with_file_and_key(name, value, home):
    with pytest.raises(ConfigError, match=rf"^some\.yaml: {name} is ") as error:
        load_text(home, yaml.safe_dump(nested(name, value), allow_unicode=True))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, values in WRONG
        for value in values
        if isinstance(value, str) and name != "similarity.methods"
    ],
    ids=str,
)
def test_a_wrong_value_in_the_environment_is_refused_with_its_variable(
    name, value, monkeypatch
):
    monkeypatch.setenv(environment_name(name), value)
    with pytest.raises(ConfigError, match=f"^{environment_name(name)} "):
        load_config()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MOVIEREC_FEATURES", "[1]"),
        ("MOVIEREC_FEATURES", "heavy"),
        ("MOVIEREC_FEATURES", '{"weight": 1}'),
        ("MOVIEREC_FEATURES__WEIGHT", "1"),
        ("MOVIEREC_FEATURES__YEAR_WEIGHT__X", "1"),
        ("MOVIEREC_YEAR_WEIGHT", "0.1"),
        ("MOVIEREC_SIMILARITY__METHODS", "cosine"),
        ("MOVIEREC_SIMILARITY__METHODS", '["cosine"'),
        ("MOVIEREC_SIMILARITY", '{"methods": ["cosine"'),
        ("MOVIEREC_HOME", "/nowhere"),
    ],
)
def test_a_variable_that_is_wrong_is_named_or_its_section_is(
    variable, value, monkeypatch
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"^{variable}\\b"):
        load_config()


@pytest.mark.parametrize("name", OTHER)
def test_an_unknown_key_is_refused_with_the_allowed_ones(name, home):
    section, key = name.split(".")
    with pytest.raises(
        ConfigError,
        match=rf"^some\.yaml: unknown key '{section}\.{key}x'; .* here: .*\b{key}\b",
    ):
        load_text(home, yaml.safe_dump(nested(name + "x", 1)))


def test_a_mistake_is_told_with_the_place_that_made_it(home, monkeypatch):
    monkeypatch.setenv("MOVIEREC_TASTE", '{"ridge": 0}')
    monkeypatch.setenv("MOVIEREC_MODEL__VERSION", "v1")
    (home / "config.yaml").write_text(
        "model: {version: v2}\ntaste: {dropout: 2, ridge: 3}\nlogging: 5"
    )
    with pytest.raises(ConfigError) as error:
        load_config(data={"verify": "perhaps"}, logging={"level": "INFO"})
    assert [line.partition(" is ")[0] for line in str(error.value).splitlines()] == [
        "data.verify",
        "config.yaml: taste.dropout",
        "MOVIEREC_TASTE: taste.ridge",
        "MOVIEREC_MODEL__VERSION",
        "config.yaml: logging",
    ]


@pytest.mark.parametrize(
    "methods", [["cosine"], ["overlap", "cosine"], ["cosine", "cosine"]]
)
def test_any_names_are_methods_here(methods):
    assert load_config(similarity={"methods": methods}).similarity.methods == methods


@pytest.mark.parametrize("methods", [["jaccard"], ["overlap"]])
def test_the_default_has_to_be_among_the_methods(methods, home):
    with pytest.raises(
        ConfigError,
        match=r"similarity.default_method is 'cosine': it is not among methods",
    ):
        load_text(home, yaml.safe_dump({"similarity": {"methods": methods}}))


def test_the_year_weighs_from_a_hundredth_to_one(home):
    for weight in (0.01, 0.0123456789, 1):
        assert (
            load_text(home, f"features: {{year_weight: {weight}}}").features.year_weight
            == weight
        )


def test_every_mistake_is_told_at_once(home):
    with pytest.raises(ConfigError) as error:
        load_text(
            home, "features: {year_weight: 7, wait: 1}\nmodel: {version: x}\nmodels: 1"
        )
    told = sorted(
        line.split(": ")[1].split(" is ")[0] for line in str(error.value).splitlines()
    )
    assert told == [
        "features.year_weight",
        "model.version",
        "unknown key 'features.wait'; allowed here",
        "unknown key 'models'; allowed here",
    ]


# Odd files


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("\tfeatures: {}", "line 1: .*\\\\t"),
        ("features: {year_weight: 0.1", "line 1"),
        ("features:\n  year_weight: 0.1\n year: 2", "line 3"),
        ("--- {}\n--- {}", "line 2"),
        ("- features", "expected sections"),
        ("0.1", "expected sections"),
        ("features", "expected sections"),
        ("features: 0.1", "features"),
        ("features:", "features"),
        ("1: 2", "1"),
        ("null: 2", "some.yaml"),
        ("true: 2", "some.yaml"),
        ("? [a]\n: 1", "line 1"),
        ("features: {1: 2}", "features"),
        ("a: &a [*a]", "unknown key 'a'"),
        ("features: &f {year_weight: *f}", "features.year_weight"),
        ("*nothing", "line 1"),
        ("!!python/object/apply:os.mkdir [pwned]", "line 1"),
        (
            "features: {year_weight: 0.1}\nfeatures: {year_weight: 0.2}",
            "twice|duplicate",
        ),
        ("features: {year_weight: 0.1, year_weight: 0.2}", "twice|duplicate"),
        ("features: {year_weight: 1e9999999}", "features.year_weight"),
        ("features: {year_weight: 0x_}", "some.yaml"),
        ("features: {year_weight: !!float heavy}", "some.yaml"),
        ("model: {version: 2020-13-45}", "some.yaml"),
        ("model: {version: !!timestamp soon}", "some.yaml"),
        ("model: {max_matrix_movies: " + "9" * 5000 + "}", "some.yaml"),
        ("[" * 5000, "some.yaml"),
        ("\0", "some.yaml"),
        (b"\xff\xfe\xfa", "some.yaml can't be read"),
        (
            "features: {year_weight: 7}  # Misérables".encode("iso-8859-1"),
            "some.yaml can't be read",
        ),
        ("features: {}".encode("utf-16"), "some.yaml can't be read"),
        ('data: {dir: "a\\0b"}', "data.dir"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_odd_file_is_refused_with_a_message(content, words, home, monkeypatch):
    monkeypatch.chdir(home)
    with pytest.raises(ConfigError, match=words) as error:
        load_text(home, content)
    assert len(str(error.value)) < 2000 and not (home / "pwned").exists()


def test_anchors_and_merges_are_read(home):
    text = (
        "features: &f {year_weight: 0.3}\nsimilarity: {methods: &m [cosine]}\n"
        "logging: {<<: {level: ERROR}}"
    )
    config = load_text(home, text)
    assert (
        config.features.year_weight,
        config.similarity.methods,
        config.logging.level,
    ) == (0.3, ["cosine"], "ERROR")


@pytest.mark.parametrize(
    "path",
    [".", "nowhere.yaml", "a_file/x.yaml", "a" * 300, "nul\0"],
    ids=lambda p: repr(p)[:20],
)
def test_a_settings_file_that_cannot_be_read_is_refused(path, home, monkeypatch):
    monkeypatch.chdir(home)
    (home / "a_file").touch()
    with pytest.raises(ConfigError, match="can't be read"):
        load_config(path)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 10**20)
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.binary(max_size=3)
    | st.sampled_from(
        [
            value
            for values in OTHER.values()
            for value in values
            if not isinstance(value, Path)
        ]
    )
)
KEYS = st.sampled_from(
    [*{part for name in OTHER for part in name.split(".")}, "home", "model_config"]
) | SCALARS.filter(lambda key: not isinstance(key, list))
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)
SENSIBLE = st.sampled_from(list(OTHER)).flatmap(
    lambda name: SCALARS.map(lambda value: nested(name, value))
)


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=st.dictionaries(KEYS, TREES, max_size=4) | SENSIBLE | TREES)
def test_any_yaml_gives_settings_or_a_config_error(content, home):
    try:
        config = load_text(home, yaml.safe_dump(content, allow_unicode=True))
    except ConfigError as error:
        assert "some.yaml" in str(error)
    else:
        assert (
            0.01 <= config.features.year_weight <= 1
            and config.similarity.default_method in config.similarity.methods
        )


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    text=st.text(max_size=30)
    | st.binary(max_size=20)
    | st.lists(
        st.sampled_from(
            [
                "features",
                "year_weight",
                ": ",
                "\n",
                "  ",
                "- ",
                "{",
                "}",
                "[",
                "]",
                "&a ",
                "*a",
                "!!int ",
                "!!set ",
                "'",
                "0",
                "1",
                ".",
                "_",
                "-",
                "x",
                "?",
            ]
        ),
        max_size=12,
    ).map("".join)
)
@example(text="=")
@example(text="features: {year_weight: ._}")
def test_any_text_gives_settings_or_a_config_error(text, home):
    try:
        load_text(home, text)
    except ConfigError as error:
        assert "some.yaml" in str(error)


# Logging


@pytest.fixture
def package_logger():
    "The package's logger, put back as it was."
    logger = logging.getLogger("movierec")
    before = logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions = before


@pytest.mark.parametrize(
    "handlers", [["console", "file"], ["console"], ["file"], []], ids=str
)
def test_records_go_once_to_each_handler_that_is_named(handlers, home, package_logger):
    config = load_config(logging={"handlers": handlers, "level": "WARNING"})
    console = Console(file=io.StringIO(), width=200)
    for _ in range(2):  # a second set-up adds nothing
        file = setup_logging(config, console)
    package_logger.getChild("data").warning("Misérables, %s", "Les")
    package_logger.getChild("data").info("not to be seen")
    assert console.file.getvalue().count("Misérables, Les") == ("console" in handlers)
    assert (file is not None) == ("file" in handlers) == (home / "logs").exists()
    if file:
        (record,) = map(
            yaml.safe_load, file.read_text(encoding="utf-8").splitlines()
        )  # JSON is YAML
        assert (record["message"], record["level"], record["logger"]) == (
            "Misérables, Les",
            "WARNING",
            "movierec.data",
        )
    assert "not to be seen" not in console.file.getvalue()


def test_a_record_with_anything_in_it_is_one_line_of_json():
    record = logging.makeLogRecord(
        {"msg": "Mis\u00e9rables\n", "path": Path("/a"), "other": {1: object}, "n": 2}
    )
    (line,) = json_formatter().format(record).splitlines()
    told = json.loads(line)
    assert (told["message"], told["path"], told["n"]) == ("Mis\u00e9rables\n", "/a", 2)


def test_an_error_of_a_question_names_its_parameter_also_after_pickling():
    for parameter in ("k", None):
        error = pickle.loads(pickle.dumps(QueryError("k is 0", parameter)))
        assert isinstance(error, MovierecError) and (str(error), error.parameter) == (
            "k is 0",
            parameter,
        )


def test_no_log_holds_a_raw_control_character(home, package_logger, capsys):
    config = load_config()
    file = setup_logging(config)
    title = "\x1b[31mToy\x9b2J \u202eStory\x7f"
    logging.getLogger("movierec.test").warning(
        "no film %s", title, extra={"query": title}
    )
    (line,) = file.read_text("utf-8").splitlines()
    shown = capsys.readouterr().err
    assert "\\u001b[31mToy\\u009b2J \\u202eStory\\u007f" in " ".join(shown.split())
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown + line)
    record = json.loads(line)
    assert (record["message"], record["query"]) == (f"no film {title}", title)


@pytest.mark.parametrize("blocked", ["logs", "logs/training_pipeline"])
def test_a_log_that_cannot_be_written_is_told_before_the_work(
    blocked, home, package_logger, monkeypatch
):
    if blocked == "logs":
        (home / "logs").touch()
    else:
        file = setup_logging(load_config())
        for handler in package_logger.handlers:
            handler.close()
        file.unlink()
        file.mkdir()
    with pytest.raises(MovierecError, match=r"can't be written.*logging\.dir"):
        setup_logging(load_config())


def test_a_log_that_others_configured_meanwhile_is_closed(
    tmp_path, package_logger, monkeypatch
):
    monkeypatch.setattr(logging, "raiseExceptions", True)
    file = setup_logging(
        load_config(logging={"dir": str(tmp_path), "handlers": ["file"]})
    )
    (handler,) = logging.getLogger("movierec").handlers
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    logging.getLogger("movierec").info("opens it again")
    assert handler.stream is not None and "again" in file.read_text()
    setup_logging(load_config(logging={"handlers": []}))
    assert handler.stream is None
