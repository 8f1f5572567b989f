"What the pages of the site show of a chapter's code (tools/shown_code.py)."

from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent / "tools"
OUTPUTS = {
    "plots": {"output_type": "display_data", "data": {"image/png": ""}, "metadata": {}},
    "tabulates": {
        "output_type": "execute_result",
        "data": {
            "text/html": ["<table><th></th>", "</table>"],
            "text/plain": "a table",
        },
        "metadata": {},
    },
    "prints": {"output_type": "stream", "name": "stdout", "text": "14\n"},
}

SHOWN = {
    "exports": '#| exports\ndef double(x):\n    "Twice x."\n    return 2 * x',
    "exported code of a figure": "#| exports\ndef plot(x):\n    plt.plot(x)",
    "a call": "double(2)",
    "a table": "double(4)  # tabulates",
    "a test that says something": "assert double(7) == 14  # prints",
    "a test and more": "y = double(2)\nprint(y)\nassert y == 4",
    "a definition and a test": "def triple(x): return 3 * x\nassert triple(1) == 3",
    "as the author wishes": "#| code-fold: show\nimport os",
}
FOLDED = {
    "#| export\nimport math": "Imports",
    "assert double(1) == 2": "Tests",
    "if True:\n    from math import pi": "Imports",
    "z = 3\ntest_eq(double(3), 2 * z)": "Tests",
    "for i in range(3):\n    w = 2 * i\n    assert double(i) == w": "Tests",
    "double(3)  # plots": "Code of the figure",
    "def draw(ax):\n    plt.show()": "Code of the figure",
}
GONE = [
    "#| default_exp made_up",
    "#| hide\n1 + 1",
    "#| export\nLIMIT = 3",
    "#| export\ndef _chart():\n    plt.plot()",
]
TOGETHER = ["#| export\nimport re", "from re import match"]
SIGNATURE = '#| export\ndef half(x):\n    "Half of x."\n    return x / 2'


@pytest.fixture(scope="module")
def page():
    "The cells of a made-up chapter's page, as nbdev makes it with our settings."
    from execnb.nbio import mk_cell, new_nb
    from nbdev.config import get_config
    from nbdev.processors import FilterDefaults

    sources = [*GONE, *SHOWN.values(), *FOLDED, SIGNATURE, *TOGETHER]
    cells = [mk_cell("# made up\n\n> A page.", "markdown"), *map(mk_cell, sources)]
    for cell in cells:
        if (kind := cell.source.rpartition("# ")[2]) in OUTPUTS:
            cell.outputs = [OUTPUTS[kind]]
    nb = new_nb(cells)
    nb.path_ = str(get_config().nbs_path / "99_made_up.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOLS)
        patch.setenv("IN_TEST", "1")
        patch.chdir(TOOLS.parent)
        FilterDefaults()(nb)
    return nb.cells


def test_what_is_folded_and_what_is_in_view(page):
    code = [cell.source for cell in page if cell.cell_type == "code"]
    for source in SHOWN.values():
        assert source.removeprefix("#| exports\n") in code
    for source, summary in FOLDED.items():
        fold = f'#| code-fold: true\n#| code-summary: "{summary}"\n'
        assert fold + source.removeprefix("#| export\n") in code
    for source in GONE:
        assert not any(source.split("\n")[-1] in cell for cell in code)


def test_a_table_asks_no_other_host_for_a_widget(page):
    (cell,) = [cell for cell in page if cell.source.endswith("# tabulates")]
    (shown,) = cell.outputs
    assert "text/html" not in shown["data"]
    assert shown["data"]["text/markdown"] == "```{=html}\n<table><td></td></table>\n```"


def test_imports_of_module_and_page_are_one_fold(page):
    fold = '#| code-fold: true\n#| code-summary: "Imports"\n'
    assert page[-1].source == f"{fold}import re\n\nfrom re import match"


def test_a_signature_stands_there_once_and_links_find_its_place(page):
    documented = [c.source for c in page if "show_doc" in c.source]
    assert [source.split("\n")[-1] for source in documented] == ["show_doc(half)"]
    place = next(i for i, c in enumerate(page) if c.source == '<div id="double"></div>')
    assert page[place + 1].source.startswith("def double")
