"""Run each chapter's examples and tests against its exported module.

In nbdev_test a notebook defines its functions itself, so the module that people import
is never run. Here every exported cell is left out and its names come from the module
instead, the private ones too: what `make coverage` measures is the package.
"""

import importlib
import os
import sys
from pathlib import Path

from execnb.shell import CaptureShell
from nbdev.doclinks import nbglob
from nbdev.process import NBProcessor

EXPORTS = {"export", "exports", "exporti"}


def run(path: Path) -> bool:
    "Run one chapter; True if it went well."
    nb = NBProcessor(path, process=True).nb
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    shell = CaptureShell(path)
    for cell in code:
        for module in cell.directives_.get("default_exp", []):
            names = vars(importlib.import_module(f"movierec.{module}"))
            own = {n: value for n, value in names.items() if not n.startswith("__")}
            shell.user_ns.update(own)
    nb.cells = [cell for cell in code if not cell.directives_.keys() & EXPORTS]
    os.chdir(path.parent)
    try:
        shell.run_all(nb, exc_stop=True)
    except Exception:
        print(shell.prettytb(fname=path), file=sys.stderr)
        return False
    return True


def main() -> int:
    os.environ["IN_TEST"] = "1"
    paths = [path.absolute() for path in sorted(nbglob(as_path=True))]
    failed = [path.name for path in paths if not run(path)]
    print(
        f"{len(paths) - len(failed)} chapters passed against their modules",
        *failed and ["failed:", *failed],
    )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
