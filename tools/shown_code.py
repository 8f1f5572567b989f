"""What of a chapter's code its page shows: a processor of nbdev, named in settings.ini.

`#| exports` cells stand on the page as they are, and nbdev's extract of signature and
docstring goes, since the cell says the same. Of an `#| export` cell only that extract
is shown. Imports, tests and the code of figures are folded away, each cell that holds
nothing else, and all code of the benchmarks, which is there to tabulate figures; a
`#| code-fold` or `#| echo` in the cell itself goes before. Tables are handed on as
Markdown, so that no page needs another host.
"""

import ast
import re
from pathlib import Path

from execnb.nbio import NbCell, mk_cell
from nbdev.process import Processor

EXPORTS = {"export", "exporti", "exports"}
HIDDEN = {"export", "exporti", "default_exp"}
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def defined_names(body: list[ast.stmt]) -> list[str]:
    "The functions, classes and methods that a cell defines, methods as Class.method."
    names = []
    for node in body:
        if isinstance(node, DEFINITIONS):
            names.append(node.name)
        if isinstance(node, ast.ClassDef):
            names += [f"{node.name}.{name}" for name in defined_names(node.body)]
    return names


def documented_name(source: str) -> str | None:
    "The name that a cell shows the signature of; None if it is another cell."
    found = re.search(r"^show_doc\(([\w.]+)", source, re.MULTILINE)
    return found[1] if found else None


def is_import(node: ast.stmt) -> bool:
    "Whether a statement does nothing but import; also under `if TYPE_CHECKING`."
    if isinstance(node, ast.If):
        return all(is_import(inner) for inner in node.body + node.orelse)
    return isinstance(node, ast.Import | ast.ImportFrom)


def is_tests(body: list[ast.stmt]) -> bool:
    "Whether statements are asserts and calls of `test_...`, and what sets them up."
    tests = [node for node in body if not isinstance(node, ast.Assign)]
    return bool(tests) and all(map(is_test, tests))


def is_test(node: ast.stmt) -> bool:
    "Whether a statement is a test, or a loop or block of tests."
    if isinstance(node, ast.For | ast.With):
        return is_tests(node.body)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return ast.unparse(node.value.func).split(".")[-1].startswith("test_")
    return isinstance(node, ast.Assert)


def is_figure(cell: NbCell) -> bool:
    "Whether a cell draws, or defines what does."
    pictures = any(
        kind.startswith("image/")
        for out in cell.outputs
        for kind in out.get("data", {})
    )
    return pictures or bool(re.search(r"\bplt\.", cell.source))


def summary(cell: NbCell, of_others: str | None = None) -> str | None:
    "What is to be read in place of a folded cell; None if the cell is to be shown."
    body = cell.parsed_()
    if not body or re.search(r"^#\| *(code-fold|echo|include):", cell.source, re.M):
        return None
    if all(map(is_import, body)):
        return "Imports"
    if cell.directives_.keys() & EXPORTS:
        return None
    if is_figure(cell):
        return "Code of the figure"
    return "Tests" if not cell.outputs and is_tests(body) else of_others


def without_html(cell: NbCell) -> None:
    """Wrap what a cell shows as HTML into Markdown: where Quarto sees HTML, it takes it
    for a widget, and the page loads two scripts from another host. The empty corner of
    a table is no head, which a reader would be told."""
    for out in cell.outputs:
        data = out.get("data", {})
        if html := data.pop("text/html", None):
            table = "".join(html).replace("<th></th>", "<td></td>")
            data["text/markdown"] = f"```{{=html}}\n{table}\n```"


class ShownCode(Processor):
    "Keeps, folds and drops the cells of a page; runs after nbdev's own processors."

    def begin(self) -> None:
        exports = [c for c in self.nb.cells if "exports" in c.directives_]
        shown = {name for c in exports for name in defined_names(c.parsed_() or [])}
        measured = Path(self.nb.path_).parent.name == "benchmarks"
        cells: list[NbCell] = []
        for cell in self.nb.cells:
            if cell.cell_type != "code":
                cells.append(cell)
                continue
            without_html(cell)
            if hasattr(cell, "has_sd") and documented_name(cell.source) in shown:
                continue  # nbdev's extract of what stands there whole
            elif text := summary(cell, "Code" if measured else None):
                fold = f'#| code-fold: true\n#| code-summary: "{text}"\n'
                if text == "Imports" and cells and cells[-1].source.startswith(fold):
                    fold = f"{cells.pop().source}\n\n"  # the module's, then the page's
                cell.set_source(fold + cell.source)
                cells.append(cell)
            elif not cell.directives_.keys() & HIDDEN:
                # the places that links to the names lead to
                ids = [name.lower() for name in defined_names(cell.parsed_() or [])]
                if "exports" in cell.directives_ and ids:
                    divs = "\n".join(f'<div id="{name}"></div>' for name in ids)
                    cells.append(mk_cell(divs, "markdown"))
                cells.append(cell)
        self.nb.cells = cells
