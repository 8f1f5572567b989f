"""What all tests share: MovieLens 100k as the project has it, and a version trained
from it."""

import fcntl
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
import pytest
from hypothesis import settings

from movierec.artifacts import save, set_latest
from movierec.config import load_config
from movierec.files import DataError
from movierec.makers import read_dataset
from movierec.recommender import (
    Recommender,
    describe_recommender,
    write_recommender,
)

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")

# The folds of MovieLens 100k that models are measured on; with FOLDS=all on all five,
# as the chapters do.
ALL_FOLDS = os.environ.get("FOLDS") == "all"
FOLDS = slice(5) if ALL_FOLDS else slice(1, 2)

# Settings of taste that are learned quickly, where its lists are not what is asked for.
QUICK = {"max_learned_movies": 50, "factors": 2, "sweeps": 1}
QUICK_VARIABLES = {f"MOVIEREC_TASTE__{k.upper()}": str(v) for k, v in QUICK.items()}

# For processes that are killed or have no room on the disk: what measures coverage
# would be hit as well.
UNMEASURED = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("COVERAGE_")
}


def make_once(factory, name, make):
    """The bytes that `make` gives, made once for all processes of a run: by the first
    that asks, while the others wait for it."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / name
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            content = make()
            path.write_bytes(content)
    return path.read_bytes()


# The files that take longest, first: else one process is left with one of them.
LONGEST = ["browser_for_you", "browser", "batch", "deploy", "taste", "evaluation"]
LONGEST += ["makers", "browser_film", "training", "seams", "search_kinds", "similarity"]
LONGEST += ["browser_posters", "wheel", "faults", "schema", "web", "faults_disk"]


def pytest_collection_modifyitems(items):
    "Put them first; the rest stay in their order."
    place = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.module.__name__, len(place)))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    "MovieLens 100k, with who made the films."
    config = load_config()
    try:
        made = make_once(
            tmp_path_factory, "dataset", lambda: pickle.dumps(read_dataset(config))
        )
    except DataError as error:
        pytest.exit(
            f"{error}\nThe tests need MovieLens 100k: "
            "run 'make test', or 'movierec fetch' first.",
            returncode=2,
        )
    return pickle.loads(made)


@pytest.fixture(scope="session")
def recommender(dataset, tmp_path_factory):
    "A recommender for it, in memory."
    tables = dataset.movies, dataset.ratings, dataset.genres
    return pickle.loads(
        make_once(
            tmp_path_factory,
            "recommender",
            lambda: pickle.dumps(Recommender.from_tables(*tables)),
        )
    )


def save_version(root, version, recommender, **about):
    "Write `recommender` as a version under `root` and put it in use."
    about["recommender"] = describe_recommender(recommender)
    save(root, version, lambda folder: write_recommender(recommender, folder), about)
    set_latest(root, version)


@pytest.fixture(scope="session")
def trained_root(recommender, tmp_path_factory):
    """A folder of versions with a trained v1.0.0 in use. Tests don't change it; those
    that must copy it."""
    root = tmp_path_factory.mktemp("trained") / "artifacts"
    save_version(root, "v1.0.0", recommender)
    return root


def free_port():
    "A port that nobody uses."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_page(url, process, log):
    "The page, once the server answers; fails if it ends, or after half a minute."
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.read().decode()
        except OSError:  # refused, reset, or not ready yet
            time.sleep(0.1)
    pytest.fail(f"the server doesn't answer:\n{log.read_text()}")


THREE = {
    "movie_id": [1, 2, 3],
    "title": ["One (1990)", "Two (1991)", "Three (1992)"],
    "year": [1990, 1991, 1992],
    "genres": [["x"], ["x", "y"], ["y"]],
}
UNUSUAL = [  # what may stand in these columns instead
    {"year": [None, None, None]},
    {"year": [1990, None, 1992]},
    {"year": [1990.0, None, 1992.0]},
    {"year": pl.Series([1990, 1991, 1992], dtype=pl.UInt16)},
    {"year": [-50, 0, 476]},
    {"year": [-9999, 0, 9999]},
    {"year": [-9999, None, 9999]},
    {"genres": [[], [], []]},
    {"genres": [["x", "x"], ["x"], []]},
    {"genres": pl.Series([["x"], ["y"], ["y"]], dtype=pl.List(pl.Categorical))},
    {"title": ["One (1990)", "", "()"]},
    {"title": ["One (1990)"] * 3, "year": [1990] * 3},
    {"movie_id": [-1, 0, 2**53]},
    {"movie_id": pl.Series([7, 8, 9], dtype=pl.UInt8)},
    {"extra": ["a", None, "b"]},
]


def table(**changes):
    "A small catalogue with some of its columns replaced."
    return pl.DataFrame(THREE | changes, strict=False)


# A real browser, against a real server

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser():
    "Chromium, without a window."
    if BROWSER is None:
        message = "no Chromium or Chrome on the PATH; Debian: apt-get install chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=BROWSER, headless=True, args=ARGUMENTS
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def server(trained_root, tmp_path_factory):
    "The address of `flask --app movierec.web run`, which people type."
    home = tmp_path_factory.mktemp("server")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MOVIEREC_")}
    environment |= {
        "MOVIEREC_HOME": str(home),
        "MOVIEREC_MODEL__DIR": str(trained_root),
    }
    port = free_port()
    flask = Path(sys.executable).with_name("flask")
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [flask, "--app", "movierec.web", "run", "--port", str(port)],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_for_page(f"http://127.0.0.1:{port}/readyz", process, home / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)
    assert "Traceback" not in (home / "log").read_text()


@pytest.fixture
def open_page(browser, server):
    """A function that opens a page; at the end nothing may stand in the console, or
    have been asked of another host."""
    contexts, trouble, asked = [], [], []

    def opener(path="/", **options):
        contexts.append(browser.new_context(base_url=server, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path)
        return page

    opener.trouble = trouble
    yield opener
    for context in contexts:
        context.close()
    assert not trouble
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(server).netloc}


def open_quietly(page, path, seconds=0.1):
    """Open a page and wait until it asks for nothing any more, for a while; the
    browser's own 'networkidle' waits for five times as long."""
    asked, quiet = set(), 0
    listeners = {
        "request": lambda request: asked.add(request),
        "requestfinished": lambda request: asked.discard(request),
        "requestfailed": lambda request: asked.discard(request),
    }
    for name, listener in listeners.items():
        page.on(name, listener)
    page.goto(path)
    while quiet < 2:
        page.wait_for_timeout(500 * seconds)
        quiet = 0 if asked else quiet + 1
    for name, listener in listeners.items():
        page.remove_listener(name, listener)


def find_faults(page, *tags):
    """What axe finds wrong with a page, as text; with tags, by its rules with one of
    them alone. It is not asked what is right, which would take half as long again."""
    from axe_playwright_python.sync_playwright import Axe

    rules = {"runOnly": list(tags)} if tags else {}
    found = Axe().run(page, options={"resultTypes": ["violations"]} | rules)
    return found.generate_report() if found.violations_count else ""


# What moves while a page is used; the entries after an input counted, too
WATCH_SHIFTS = """
window.shifts = []
new PerformanceObserver(list => shifts.push(...list.getEntries().map(one => one.value)))
  .observe({ type: "layout-shift", buffered: true })
"""
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
WAYS = {
    "mouse": (DESKTOP, lambda control: control.click()),
    "keyboard": (DESKTOP | {"color_scheme": "dark"}, lambda c: c.press("Space")),
    "touch": (PHONE, lambda control: control.tap()),
    "touch in the dark": (PHONE | {"color_scheme": "dark"}, lambda c: c.tap()),
}


def distance_moved(control, use, settle):
    "How many pixels a control has moved by being used."
    control.scroll_into_view_if_needed()
    before = control.bounding_box()
    use(control)
    settle()
    after = control.bounding_box()
    return max(abs(after[n] - before[n]) for n in "xy")


def follow(control):
    "Click what leads to another page, and wait until that is there."
    with control.page.expect_navigation():
        control.click()


def tab_to(page, locator):
    "Press Tab until `locator` has the focus, as somebody without a mouse does."
    for _ in range(60):
        if locator.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{locator} can't be reached by Tab")
