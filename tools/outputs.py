"""Run every notebook again and compare its outputs with the stored ones; with --write, store the new ones.

Text must agree to the letter; of a picture only its presence counts. Each notebook runs in its own folder, as in
Jupyter and nbdev_test, two at a time. Without --write no notebook is changed.
"""

import difflib
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbdev.clean import clean_nb, nbdev_clean
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.process import NBProcessor


def skipped(path: Path) -> set[str]:
    "The ids of the cells that nbdev_test does not run either."
    return {
        cell.id
        for cell in NBProcessor(path, process=True).nb.cells
        if "nbdev_export(" in (cell.source or "") or (cell.directives_ or {}).get("eval:", [""])[0] == "false"
    }


def run(path: Path) -> nbformat.NotebookNode:
    "The notebook with fresh outputs, cleaned."
    nb = nbformat.read(path, 4)
    skip = skipped(path)
    kept = {cell.id: cell.pop("outputs") for cell in nb.cells if cell.id in skip and cell.cell_type == "code"}
    cells, nb.cells = nb.cells, [cell for cell in nb.cells if cell.id not in kept]
    quiet = ["--IPKernelApp.log_level=40"]  # errors only
    NotebookClient(nb, timeout=600, resources={"metadata": {"path": str(path.parent)}}, extra_arguments=quiet).execute()
    nb.cells = cells
    for cell in cells:
        if cell.id in kept:
            cell.outputs = kept[cell.id]
    clean_nb(nb)
    return nb


def lines(cell: nbformat.NotebookNode) -> list[str]:
    "What is compared of a cell's outputs, one line of it a string."
    found: list[tuple[str, str]] = []
    for out in cell.get("outputs", []):
        if out.output_type == "stream":
            if found and found[-1][0] == out.name:  # how a stream is cut into pieces is chance
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
        diff = list(difflib.unified_diff(lines(old), lines(fresh), "stored", "new", "", "", 1, ""))
        if diff:
            report.append("\n".join([f"{name}, cell {old.id}:", *diff[2:40], *["..."] * (len(diff) > 40)]))
    return name, report


def main(write: bool) -> int:
    paths = [path.absolute() for path in sorted(nbglob(as_path=True))]
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda path: check(path, write), paths))
    stale = [name for name, report in reports if report]
    for _, report in reports:
        for text in report:
            print(text, end="\n\n")
    if stale:
        print(
            f"Outputs differ in: {', '.join(stale)}\nTo store the new ones: .venv/bin/python tools/outputs.py --write"
        )
        return 1
    print(f"The stored outputs of {len(paths)} notebooks are {'written anew' if write else 'current'}")
    return 0


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:]))
