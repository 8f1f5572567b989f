"""What README says is true, word by word, in a fresh clone with a new environment: its
commands run as they stand there, and its list is what Python shows. Slow: it runs with
SLOW=1, as in `make docs SLOW=1`."""

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import free_port, wait_for_page

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text("utf-8")
KEPT = {"HOME", "PATH", "LANG", "TMPDIR"}  # and how pip finds its index
ENVIRONMENT = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith("PIP_")}
INSTALL_SECONDS = 900

pytestmark = pytest.mark.skipif(
    "SLOW" not in os.environ, reason="installs everything anew: SLOW=1 runs it"
)


def blocks(language):
    "README's blocks of code in a language."
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def table_cells(text):
    "The first table of a text in Markdown, without its head."
    (first, *_) = re.findall(r"(?:^\|.*\n?)+", text, re.M)
    rows = first.splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    "What README's commands leave behind, with a server that answers; ended after."
    folder, port = tmp_path_factory.mktemp("readme"), free_port()
    (commands,) = blocks("sh")
    address = re.search(r"git clone (\S+)", commands)[1]
    name = Path(address).name
    here = commands.replace(address, f"--quiet file://{PROJECT} {name}")
    here = here.replace("make serve", f"exec make serve PORT={port}")
    assert here.count(str(port)) == 1
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            ["sh", "-ec", here],
            cwd=folder,
            env=ENVIRONMENT,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}/"
        for _ in range(INSTALL_SECONDS // 30):
            try:
                page = wait_for_page(url, process, log)
                break
            except pytest.fail.Exception:
                assert process.poll() is None, log.read_text()
        else:
            pytest.fail(f"no page after {INSTALL_SECONDS} seconds:\n{log.read_text()}")
        yield folder / name, page
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=20)


def test_the_commands_lead_to_a_page(clone):
    folder, page = clone
    assert "movierec" in page
    assert (folder / ".venv" / "bin" / "python").exists()


def test_python_shows_the_list_that_stands_below_it(clone):
    folder, _ = clone
    imports, code = blocks("python")
    *lines, last = code.strip().splitlines()
    shown = "\n".join([imports, *lines, f"print(({last})._repr_markdown_())"])
    done = subprocess.run(
        [folder / ".venv" / "bin" / "python", "-c", shown],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert table_cells(done.stdout) == table_cells(README.split(code)[1])
