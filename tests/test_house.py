"The rules of the house: what imports what, how long things are, one name one thing."

import ast
import codeop
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted(PROJECT.glob("nbs/[0-9]*_*.ipynb"))

# Exported cells of more than 45 lines, by the first name they define, and why.
LONG = {
    "recommender.Recommender": "it composes: thin calls, each shown in its own chapter",
    "titles.TitleIndex": "a value: properties of one line",
    "catalogue.Catalogue": "a value: properties of one line",
    "similarity.SimilarityIndex": "a value: properties of one line",
    "likeness.LikenessIndex": "a value: properties of a few lines",
}
SHARED = {"log"}  # names that mean the same in every module


def modules():
    "The syntax tree of each exported module, by name, and the number of its chapter."
    trees, numbers = {}, {}
    for path in sorted(PROJECT.glob("movierec/*.py")):
        text = path.read_text("utf-8")
        if found := re.search(r"File to edit: \.\./nbs/(\d+)_(\w+)\.ipynb", text):
            assert path.stem == found[2], "a module is called as its chapter is"
            trees[path.stem], numbers[path.stem] = ast.parse(text), int(found[1])
    assert len(trees) == len(CHAPTERS) == len(set(numbers.values()))
    return trees, numbers


TREES, NUMBERS = modules()


def imported(tree):
    "The modules of movierec that a module imports, at any depth."
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = "movierec" if node.level else ""
            start = ".".join(part for part in (home, node.module) if part)
            names = [start, *(f"{start}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            package, *rest = name.split(".")
            if package == "movierec" and rest and rest[0] in NUMBERS:
                yield rest[0]


@pytest.mark.parametrize(
    "code",
    [
        "import movierec.web",
        "from movierec.web import create_app",
        "from movierec import web",
        "from . import web",
        "from .web import create_app",
        "def f():\n    if x:\n        from movierec.web import create_app",
    ],
)
def test_every_kind_of_import_is_seen(code):
    assert set(imported(ast.parse(code))) == {"web"}


@pytest.mark.parametrize("module", TREES)
def test_a_module_imports_only_from_chapters_before_it(module):
    upwards = {n for n in imported(TREES[module]) if NUMBERS[n] >= NUMBERS[module]}
    assert not upwards, f"{module} imports {', '.join(sorted(upwards))}"


def exported_cells():
    "Name and number of lines of each exported cell that defines something."
    for path in CHAPTERS:
        for cell in json.loads(path.read_bytes())["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and re.match(r"#\| *exports?\b", source):
                code = re.sub(r"^#\|.*\n", "", source, flags=re.MULTILINE).strip()
                body = ast.parse(code).body
                names = [node.name for node in body if hasattr(node, "name")]
                if names:
                    yield (
                        f"{path.stem.partition('_')[2]}.{names[0]}",
                        code.count("\n") + 1,
                    )


def test_a_cell_fits_on_a_screen():
    long = {name: lines for name, lines in exported_cells() if lines > 45}
    assert long.keys() == LONG.keys(), long


def test_the_recommender_is_a_page_of_thin_calls():
    body = TREES["recommender"].body
    (node,) = [
        n for n in body if isinstance(n, ast.ClassDef) and n.name == "Recommender"
    ]
    assert node.end_lineno - node.lineno < 125


def test_every_chapter_stands_in_the_book():
    site = yaml.safe_load((PROJECT / "_quarto.yml").read_text("utf-8"))["website"]

    def pages(node):
        if isinstance(node, str):
            return [node]
        inner = node.get("contents", []) if isinstance(node, dict) else node
        return [page for each in inner for page in pages(each)]

    (book,) = [part for part in site["sidebar"] if part["id"] == "learn"]
    chapters = [page for page in pages(book) if "/" not in page]
    assert Counter(chapters) == Counter(path.name for path in CHAPTERS)


def defined(tree):
    "The public names that a module defines."
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))
        if isinstance(node, ast.AnnAssign):
            yield node.target.id


def test_a_name_means_one_thing():
    homes = defaultdict(set)
    for module, tree in TREES.items():
        for name in defined(tree):
            if name not in SHARED and not name.startswith("_"):
                homes[name].add(module)
    assert not {name: where for name, where in homes.items() if len(where) > 1}


# Pages that are followed at a prompt

FOLLOWED = sorted(
    p
    for part in ("tutorials", "howto")
    for p in (PROJECT / "nbs" / part).glob("*.ipynb")
)


def at_a_prompt(source):
    """Compile lines as Python's prompt does, where a block ends with an empty line and
    with nothing else. Raises `SyntaxError`."""
    compiler, waiting = codeop.CommandCompiler(), []
    for line in [*source.splitlines(), ""]:
        waiting.append(line)
        if compiler("\n".join(waiting), symbol="single") is not None:
            waiting = []
    assert not waiting, "a block has no end"


@pytest.mark.parametrize(
    "wrong", ["if 1:\n    x = 1\ny = 2", "def f():\n    x = 1\n\n    return x"]
)
def test_the_prompt_of_this_test_refuses_what_a_prompt_refuses(wrong):
    ast.parse(wrong)
    at_a_prompt("if 1:\n    x = 1\n\ny = (\n    2\n)")
    with pytest.raises(SyntaxError):
        at_a_prompt(wrong)


@pytest.mark.parametrize("path", FOLLOWED, ids=lambda path: path.stem)
def test_what_a_page_shows_can_be_pasted_into_a_prompt(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    shown = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    shown = [source for source in shown if not source.startswith("#| hide")]
    assert shown
    for source in shown:
        try:
            at_a_prompt(source)
        except SyntaxError as error:
            pytest.fail(f"{path.name}: {error}\n\n{source}")
        assert not re.search("fastcore|IPython", source), "a development tool"
