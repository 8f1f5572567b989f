"""The wheel is whole: installed alone, in an empty folder with no clone around it, it
fetches, trains and serves."""

import http.client
import os
import subprocess
import sys
from contextlib import closing
from importlib import metadata
from pathlib import Path

import pytest
from conftest import QUICK_VARIABLES, free_port, wait_for_page
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parent.parent
ENVIRONMENT = {
    k: v
    for k, v in os.environ.items()
    if not k.startswith(("MOVIEREC_", "PYTHONPATH", "COVERAGE_"))
} | QUICK_VARIABLES


def run(*command, cwd):
    "Run a command to its end; its output."
    done = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def required(distribution, found=()):
    """A distribution, and all that it requires, by name: what pip would install. They
    are those of the environment of the tests."""
    found = dict(found) | {canonicalize_name(distribution.name): distribution}
    for text in distribution.requires or ():
        requirement = Requirement(text)
        extras = {"extra": ""} if requirement.marker else {}
        name = canonicalize_name(requirement.name)
        if name not in found and (
            not requirement.marker or requirement.marker.evaluate(extras)
        ):
            found |= required(metadata.distribution(name), found)
    return found


def link_files(distribution, folder):
    "Link what a distribution has installed, its packages as a whole, into a folder."
    for name in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
        if not (folder / name).exists():
            (folder / name).symlink_to(distribution.locate_file(name))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of a virtual environment's commands with only the wheel and what it
    requires; pip says whether that is all there, in versions that fit."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = "--no-deps", "--no-build-isolation", "--wheel-dir", folder, PROJECT
    run(*pip, "wheel", *build, cwd=folder)
    (wheel,) = folder.glob("movierec-*.whl")
    venv = folder / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=folder)
    (site,) = venv.glob("lib/python*/site-packages")
    (built,) = metadata.distributions(path=[str(wheel)])
    needed = required(built) | {"pip": metadata.distribution("pip")}
    for name in needed.keys() - {"movierec"}:
        link_files(needed[name], site)
    pip += ["--python", venv / "bin" / "python"]
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    run(*pip, "check", cwd=folder)
    return venv / "bin"


def test_it_fetches_trains_and_serves(installed, tmp_path):
    module = (installed / "python", "-m", "movierec")
    assert "Usage: python -m movierec" in run(*module, "--help", cwd=tmp_path)
    assert "verified" in run(installed / "movierec", "fetch", cwd=tmp_path)
    assert "v1.0.0 is trained" in run(installed / "movierec", "train", cwd=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "artifacts",
        "logs",
        "ml-100k",
        "wikidata",
    ]
    port, log = free_port(), tmp_path / "server.log"
    flask = installed / "python", "-m", "flask"
    with log.open("w") as file:
        server = subprocess.Popen(
            [*flask, "--app", "movierec.web", "run", "--port", str(port)],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=file,
            stderr=file,
        )
    try:
        page = wait_for_page(f"http://127.0.0.1:{port}/movies/1", server, log)
        assert "Aladdin and the King of Thieves" in page
        stylesheet = next(part for part in page.split('"') if part.endswith(".css"))
        assert "{" in wait_for_page(f"http://127.0.0.1:{port}{stylesheet}", server, log)
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with closing(asked):
            pieces = iter([b'{"ratings": {"50": 5}}', b" " * 70_000])
            kind = {"Content-Type": "application/json"}
            asked.request("POST", "/api/v1/recommendations", pieces, kind)
            assert asked.getresponse().status == 413
    finally:
        server.terminate()
        server.wait(timeout=10)
