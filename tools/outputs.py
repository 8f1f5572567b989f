"""Run every notebook again and compare its outputs with the stored ones.

Text must agree to the letter; of a picture only its presence counts. Each notebook runs
in its own folder, as in Jupyter and nbdev_test, two at a time. No notebook is changed.
With --write the new outputs are stored instead. With --other-kernel OpenBLAS runs with
another set of its kernels than it chooses by itself here, as on another processor: sums
of floats then differ in their last bits, and outputs still may not.
"""

import difflib
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbdev.clean import clean_nb, nbdev_clean
from nbdev.config import get_config
from nbdev.doclinks import nbglob

LONGEST = "evaluation"  # the chapter that begins first, so that no other waits for it


def run(path: Path) -> nbformat.NotebookNode:
    "The notebook with fresh outputs, cleaned."
    nb = nbformat.read(path, 4)
    folder = {"metadata": {"path": str(path.parent)}}
    quiet = ["--IPKernelApp.log_level=40"]  # errors only
    NotebookClient(nb, timeout=900, resources=folder, extra_arguments=quiet).execute()
    clean_nb(nb)
    return nb


def lines(cell: nbformat.NotebookNode) -> list[str]:
    "What is compared of a cell's outputs, one line of it a string."
    found: list[tuple[str, str]] = []
    for out in cell.get("outputs", []):
        if out.output_type == "stream":
            # how a stream is cut into pieces is chance
            if found and found[-1][0] == out.name:
                out = {"name": out.name, "text": found.pop()[1] + out.text}
            found.append((out["name"], out["text"]))
        elif out.output_type == "error":
            found.append(("error", f"{out.ename}: {out.evalue}"))
        else:
            for kind, data in sorted(out.data.items()):
                found.append((kind, data if kind.startswith("text/") else "(present)"))
    return [f"{kind} | {line}" for kind, text in found for line in text.splitlines()]


def check(path: Path, write: bool) -> tuple[str, list[str]]:
    "What to print of a notebook, by cell: empty if all is well."
    name = str(path.relative_to(get_config().nbs_path))
    try:
        new = run(path)
    except (CellExecutionError, DeadKernelError) as error:
        return name, [f"{name} fails:\n" + re.sub(r"\x1b\[[\d;]*m", "", str(error))]
    if write:
        nbformat.write(new, path)
        nbdev_clean(str(path))  # nbdev writes the same notebook in another order
        return name, []
    stored = nbformat.read(path, 4)
    report = []
    for old, fresh in zip(stored.cells, new.cells, strict=True):
        diff = list(
            difflib.unified_diff(
                lines(old), lines(fresh), "stored", "new", "", "", 1, ""
            )
        )
        if diff:
            report.append(
                "\n".join(
                    [
                        f"{name}, cell {old.id}:",
                        *diff[2:40],
                        *["..."] * (len(diff) > 40),
                    ]
                )
            )
    return name, report


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
    print(f"Not run: no other kernel of OpenBLAS than {usual} runs here")
    return False


def main(write: bool, other_kernel: bool) -> int:
    if other_kernel and not choose_other_kernel():
        return int("CI" in os.environ)
    paths = [path.absolute() for path in sorted(nbglob(as_path=True))]
    paths.sort(key=lambda path: path.stem.partition("_")[2] != LONGEST)
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda path: check(path, write), paths))
    stale = [name for name, report in reports if report]
    for _, report in reports:
        for text in report:
            print(text, end="\n\n")
    if stale:
        print(
            f"Outputs differ in: {', '.join(stale)}\n"
            "To store the new ones: .venv/bin/python tools/outputs.py --write"
        )
        return 1
    print(
        f"The stored outputs of {len(paths)} notebooks are",
        "written anew" if write else "current",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:], "--other-kernel" in sys.argv[1:]))
