"""nbdev_test on every notebook, and a comparison of what it showed with what is stored.

Each notebook runs once, in a process of its own, three at a time (some wait more than
they compute), in its own folder as in Jupyter. Text must agree to the letter; of a
picture only its presence counts. No notebook is changed. With --other-kernel OpenBLAS
runs with another set of its kernels than it chooses by itself here, as on another
processor: sums of floats then differ in their last bits, and outputs still may not.
"""

import contextlib
import difflib
import io
import os
import re
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nbdev.test
from execnb.nbio import read_nb
from execnb.shell import CaptureShell
from nbdev.clean import clean_nb
from nbdev.config import get_config
from nbdev.doclinks import nbglob

# Those that take longest begin first, so that no other waits for them.
LONGEST = ["cold_start", "evaluation", "training", "likeness", "cli", "deploy"]
# What nearly every notebook imports is there before its process is forked off.
SHARED = ["matplotlib.pyplot", "fastcore.test", "movierec.recommender"]


class Recorder(CaptureShell):
    "The shell that nbdev_test runs a notebook in; what it has run can be seen after."

    def run_all(self, nb: Any, **options: Any) -> None:
        "Run the cells of `nb`, which keeps their outputs."
        Recorder.ran = nb
        super().run_all(nb, **options)

    def cell(self, cell: Any, **options: Any) -> None:
        "Run one cell; if it shows nothing now, what it once showed goes."
        cell.outputs = []
        super().cell(cell, **options)


def lines(cell: Any) -> list[str]:
    "What is compared of a cell's outputs, one line of it a string; streams first."
    found = defaultdict(str)
    for out in cell.get("outputs", []):
        if out.output_type == "stream":
            # in which pieces, and which stream comes first, is chance
            found[f" {out.name}"] += "".join(out.text)
        elif out.output_type == "error":
            found["error"] += f"{out.ename}: {out.evalue}\n"
        else:
            for kind, data in out.data.items():
                text = "".join(data) if kind.startswith("text/") else "(present)"
                found[kind] += text + "\n"
    # of two that show the same text, one in colours
    plain = {kind: re.sub(r"\x1b\[[\d;]*m", "", text) for kind, text in found.items()}
    return [
        f"{kind.strip()} | {line}".rstrip()
        for kind in sorted(plain)
        for line in plain[kind].splitlines()
    ]


def check(path: Path) -> tuple[str, list[str]]:
    "What to print of a notebook, by cell: empty if all is well."
    name = str(path.relative_to(get_config().nbs_path))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            nbdev.test.nbdev_test(str(path), flags="slow network", n_workers=0)
    except SystemExit:
        return name, [f"{name} fails"]  # nbdev_test has said where and why
    clean_nb(Recorder.ran)
    report = []
    for old, new in zip(read_nb(path).cells, Recorder.ran.cells, strict=True):
        diff = difflib.unified_diff(
            lines(old), lines(new), "stored", "new", "", "", 1, ""
        )
        if changed := list(diff)[2:]:
            more = ["..."] * (len(changed) > 38)
            report.append("\n".join([f"{name}, {old.id}:", *changed[:38], *more]))
    return name, report


def check_apart(path: Path) -> tuple[str, list[str]]:
    "What `check` gives, in a process of its own."
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as process:
        try:
            return process.submit(check, path).result()
        except BrokenExecutor as error:
            return path.name, [f"{path.name} fails: {error}"]


def openblas_kernel(name: str | None = None) -> str | None:
    "The kernel in use, or that in use when `name` is asked for; None if it crashes."
    code = (
        "import numpy as np, threadpoolctl as t; np.ones((99, 99)) @ np.ones((99, 99));"
        "print(*{i.get('architecture') for i in t.threadpool_info()})"
    )
    environment = os.environ | ({"OPENBLAS_CORETYPE": name} if name else {})
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    return done.stdout.strip() if done.returncode == 0 else None


def choose_other_kernel() -> bool:
    "Let the notebooks run with another kernel of OpenBLAS; False if there is none."
    usual = openblas_kernel()
    for name in ("Haswell", "Nehalem", "ARMV8", "NEOVERSEN1"):
        if (other := openblas_kernel(name)) and other != usual:
            os.environ["OPENBLAS_CORETYPE"] = name
            print(f"OpenBLAS: {other} instead of {usual}")
            return True
    print(f"No other kernel of OpenBLAS than {usual} runs here")
    return False


def main(other_kernel: bool) -> int:
    if other_kernel and not choose_other_kernel() and "CI" in os.environ:
        return 1
    for module in SHARED:
        import_module(module)
    nbdev.test.CaptureShell = Recorder
    paths = [path.absolute() for path in sorted(nbglob(as_path=True))]
    place = {name: place for place, name in enumerate(LONGEST)}
    paths.sort(key=lambda path: place.get(path.stem.lstrip("0123456789_"), len(place)))
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(check_apart, paths))
    stale = [name for name, report in reports if report]
    for _, report in reports:
        for text in report:
            print(text, end="\n\n")
    if stale:
        print(
            f"Not as stored: {', '.join(stale)}\n"
            "To store what one shows now: .venv/bin/jupyter nbconvert --execute "
            "--coalesce-streams --inplace nbs/NAME.ipynb, then make fix"
        )
        return 1
    print(f"{len(paths)} notebooks passed, and show what is stored")
    return 0


if __name__ == "__main__":
    sys.exit(main("--other-kernel" in sys.argv[1:]))
