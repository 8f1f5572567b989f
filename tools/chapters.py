"""Run each chapter's examples and tests against its exported module.

In nbdev_test a notebook defines its functions itself, so the module that people import is never run. Here every
exported cell is left out and its names come from the module instead, the private ones too: what `make coverage`
measures is the package.
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
    directives = {cell.id: cell.directives_ or {} for cell in nb.cells if cell.cell_type == "code"}
    module = next((d["default_exp"][0] for d in directives.values() if "default_exp" in d), None)
    shell = CaptureShell(path)
    if module:
        names = vars(importlib.import_module(f"movierec.{module}"))
        shell.user_ns.update({name: value for name, value in names.items() if not name.startswith("__")})

    def skip(cell) -> bool:
        here = directives.get(cell.id)
        if here is None or "nbdev_export(" in cell.source or here.get("eval:", [""])[0] == "false":
            return True
        return bool(here.keys() & EXPORTS)

    os.chdir(path.parent)
    try:
        shell.run_all(nb, exc_stop=True, preproc=skip)
    except Exception:
        print(shell.prettytb(fname=path), file=sys.stderr)
        return False
    return True


def main() -> int:
    os.environ["IN_TEST"] = "1"
    paths = [path.absolute() for path in sorted(nbglob(as_path=True))]
    failed = [path.name for path in paths if not run(path)]
    print(f"{len(paths) - len(failed)} chapters passed against their modules", *failed and ["failed:", *failed])
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
