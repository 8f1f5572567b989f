"""Check the documentation site, and render it into _docs/ if Quarto is installed.

nbdev prepares the pages in a copy of the project, as it does for Quarto. Checked are
then: every link, anchor, picture and name in backticks that nbdev turned into a link;
that each notebook stands in the sidebar once, and a page of the book leads to the next
one; that no text stands where nbdev drops it;
that no page shows a signature twice, or hides the code it is about; that each figure
has a caption and an alternative text, each public name a page; and that the words that
people search for stand where they are explained. Links to other sites are only looked
at, not followed. What can be seen in the rendered site alone, tools/site.py looks at.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote, urlsplit

import nbformat
import yaml
from markdown_it import MarkdownIt
from nbdev.config import get_config
from nbdev.doclinks import _nbpath2html, nbglob
from nbdev.quarto import nbdev_sidebar, proc_nbs, refresh_quarto_yml
from shown_code import defined_names, documented_name
from sync import ROOT, copy_of_project

# The chapters in which all exported code is in view.
CODE_IS_THE_POINT = {
    "data",
    "features",
    "similarity",
    "neighbours",
    "likeness",
    "factors",
    "weights",
    "taste",
    "ranking",
    "metrics",
}
# Where a word that people search for is explained.
EXPLAINED = {
    "collaborative filtering": "tutorials/recommender",
    "content-based": "tutorials/recommender",
    "hybrid": "tutorials/recommender",
    "implicit feedback": "tutorials/recommender",
    "explicit feedback": "tutorials/recommender",
    "cold start": "tutorials/recommender",
    "long tail": "tutorials/ratings",
    "matrix factorisation": "14_factors",
    "popularity bias": "explanations/popularity",
    "NDCG": "21_metrics",
    "item-based": "12_likeness",
}
HTML_LINK = re.compile(r"""\b(?:href|src)=["']([^"']+)["']""")
HTML_ID = re.compile(r"""\bid=["']([^"']+)["']""")


def slug(heading: str) -> str:
    "The id that Pandoc gives a heading."
    text = re.sub(r"[^\w\s.-]", "", heading.lower())
    return re.sub(r"^[^a-z]+", "", re.sub(r"\s+", "-", text.strip())) or "section"


def scan(markdown: str) -> tuple[list[str], list[str], bool]:
    "The ids and links of a text, and whether a link ended up in a block of code."
    ids, links, linked_code = [], [], False
    tokens = MarkdownIt().enable("table").parse(markdown)
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[i + 1]
            explicit = re.search(r"\{[^}]*#([\w.-]+)[^}]*\}\s*$", heading.content)
            text = "".join(
                t.content
                for t in heading.children or []
                if t.type in ("text", "code_inline")
            )
            ids.append(explicit[1] if explicit else slug(text))
        elif token.type == "html_block":
            links += HTML_LINK.findall(token.content)
            ids += HTML_ID.findall(token.content)
        elif token.type == "fence":
            linked_code |= bool(re.search(r"\[`[^`]+`\]\(https?:", token.content))
        for child in token.children or []:
            if child.type == "link_open":
                links.append(str(child.attrs["href"]))
            elif child.type == "image":
                links.append(str(child.attrs["src"]))
            elif child.type == "html_inline":
                links += HTML_LINK.findall(child.content)
                ids += HTML_ID.findall(child.content)
    return ids, links, linked_code


def texts(nb: nbformat.NotebookNode) -> Iterator[str]:
    """Every Markdown text of a page: its cells, and what its code put out as Markdown
    or HTML."""
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            yield cell.source
        for out in cell.get("outputs", []):
            yield from (
                out.get("data", {}).get(kind, "")
                for kind in ("text/markdown", "text/html")
            )


def wrong_target(link: str, page: str, ids: dict[str, set[str]]) -> str | None:
    "What is wrong with a link on a page; None if nothing is."
    cfg = get_config()
    site, files = (
        f"{cfg.doc_host}{cfg.doc_baseurl}/",
        f"{cfg.git_url}/blob/{cfg.branch}/",
    )
    html = {_nbpath2html(Path(name)).as_posix(): name for name in ids}
    url = urlsplit(link)
    if link.startswith(files):
        return (
            None
            if (ROOT / unquote(url.path.removeprefix(urlsplit(files).path))).exists()
            else "no such file"
        )
    if link.startswith(site) or link == site[:-1]:
        target = html.get(url.path.removeprefix(urlsplit(site).path) or "index.html")
    elif url.scheme in ("http", "https"):
        return (
            None
            if re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?", url.netloc)
            or "127.0.0.1" in link
            else "no such address"
        )
    elif url.scheme:
        return (
            None
            if url.scheme in ("mailto", "data", "attachment")
            else f"unknown scheme {url.scheme}:"
        )
    elif not url.path:
        target = page
    else:
        target = normpath(join(dirname(page), unquote(url.path)))
        if target.startswith(".."):
            return f"outside of the site: link to {files}..."
        if target not in ids:
            if not (ROOT / "nbs" / target).is_file():
                return "no such page" + (
                    ": link to the notebook" if target.endswith(".html") else ""
                )
            return None
    if target is None:
        return "no such page"
    if url.fragment and unquote(url.fragment) not in ids[target]:
        return f"no such place on {target}"
    return None


def dropped_text(nb: nbformat.NotebookNode) -> str | None:
    "The first line in the title's cell that nbdev does not bring to the site."
    title = next(
        (
            c.source
            for c in nb.cells
            if c.cell_type == "markdown" and re.search(r"^# ", c.source, re.M)
        ),
        "",
    )
    quoted = 0
    for line in title.splitlines():
        quoted += line.startswith(">")
        if line.strip() and (quoted > 1 or not re.match(r"#\s|>|-\s+\S.*:", line)):
            return line
    return None


def sidebar_pages(node: object) -> Iterator[str]:
    "The notebooks in the sidebar of _quarto.yml, in order."
    if isinstance(node, str):
        yield node
    elif isinstance(node, list):
        for item in node:
            yield from sidebar_pages(item)
    elif isinstance(node, dict):
        yield from (node[key] for key in ("href", "file") if key in node)
        yield from sidebar_pages(node.get("contents", []))


def wrong_in_sidebar(pages: set[str]) -> Iterator[str]:
    "Pages that do not stand in the sidebar once."
    site = yaml.safe_load((ROOT / "_quarto.yml").read_text("utf-8"))["website"]
    listed = Counter(sidebar_pages(site["sidebar"]))
    for name in sorted(pages | listed.keys()):
        if name not in pages:
            yield f"_quarto.yml: the sidebar names {name}, which is not there"
        elif listed[name] != 1:
            yield f"_quarto.yml: {name} stands in the sidebar {listed[name]} times"


def without_next(sources: dict[str, nbformat.NotebookNode]) -> Iterator[str]:
    "Pages of the book that end without a link to the one that the sidebar has next."
    site = yaml.safe_load((ROOT / "_quarto.yml").read_text("utf-8"))["website"]
    book = next(part for part in site["sidebar"] if part["id"] == "learn")
    for name, following in pairwise(sidebar_pages(book)):
        last = sources[name].cells[-1] if name in sources else {"source": following}
        if Path(following).name not in last["source"]:
            yield f"{name}: its last cell has no link to the next page, {following}"


def undescribed_figures(nb: nbformat.NotebookNode) -> list[str]:
    "Cells that draw, and have no caption or no alternative text."
    drawing = [
        cell
        for cell in nb.cells
        if cell.cell_type == "code"
        and any(
            kind.startswith("image/")
            for out in cell.outputs
            for kind in out.get("data", {})
        )
    ]
    return [
        f"the figure of cell {cell.id} has no {name}"
        for cell in drawing
        for name in ("fig-cap", "fig-alt")
        if not re.search(rf"^#\| *{name}: *\S", cell.source, re.M)
    ]


def unexplained(sources: dict[str, nbformat.NotebookNode]) -> Iterator[str]:
    "Words that don't stand where one looks for them."
    for word, page in EXPLAINED.items():
        nb = sources.get(f"{page}.ipynb")
        text = " ".join(" ".join(texts(nb)).split()) if nb else ""
        if word.casefold() not in text.casefold():
            yield f"{page}.ipynb: {word!r} is not explained there"


def names_without_page(pages: set[str]) -> Iterator[str]:
    "Public names that nbdev knows no page of the site for."
    from movierec._modidx import d as index

    html = {_nbpath2html(Path(name)).as_posix() for name in pages}
    for module, symbols in index["syms"].items():
        for name, (address, _) in symbols.items():
            if address.partition("#")[0] not in html:
                yield f"{module}: {name} has no page: {address}"


def chapter_name(page: str) -> str:
    "The chapter's name without its number."
    return page.partition("_")[2].removesuffix(".ipynb")


def wrong_code(
    source: nbformat.NotebookNode, page: nbformat.NotebookNode, all_shown: bool
) -> list[str]:
    "Names whose signature a page shows twice, and those that should be in view."
    exports = {}
    for cell in source.cells:
        if cell.cell_type == "code" and re.search(
            r"^#\| *exports?\b", cell.source, re.M
        ):
            exports[cell.id] = defined_names(ast.parse(cell.source).body)
    shown, seen = set(), Counter()
    for cell in page.cells:
        if cell.cell_type != "code":
            continue
        if name := documented_name(cell.source):
            seen[name] += 1
        elif not re.search(r"^#\| *(code-fold: true|echo: false)", cell.source, re.M):
            shown.update(exports.get(cell.id, []))
    seen.update(shown)
    wrong = [
        f"the signature of {name} stands there twice" for name in seen if seen[name] > 1
    ]
    if all_shown:
        hidden = {name for names in exports.values() for name in names} - shown
        wrong += [f"{name} is not in view: #| exports" for name in sorted(hidden)]
    return wrong


def check() -> tuple[list[str], str]:
    "Everything that is wrong, and one line on what was looked at. Runs in the copy."
    nbs = get_config().nbs_path
    sources = {
        str(path.relative_to(nbs)): nbformat.read(path, 4)
        for path in sorted(nbglob(as_path=True))
    }
    wrong = [
        f"{name}: nbdev drops this from the title's cell: {line}"
        for name, nb in sources.items()
        if (line := dropped_text(nb))
    ]
    wrong += wrong_in_sidebar(set(sources))
    wrong += without_next(sources)
    wrong += unexplained(sources)
    wrong += names_without_page(set(sources))
    for name, nb in sources.items():
        wrong += [f"{name}: {fault}" for fault in undescribed_figures(nb)]
    missing = CODE_IS_THE_POINT - set(map(chapter_name, sources))
    wrong += [f"there is no chapter {name} (CODE_IS_THE_POINT)" for name in missing]

    refresh_quarto_yml()
    nbdev_sidebar()
    proc = proc_nbs(n_workers=2)

    ids, links = {}, {}
    for name, source in sources.items():
        page = nbformat.read(proc / name, 4)
        all_shown = chapter_name(name) in CODE_IS_THE_POINT
        wrong += [f"{name}: {fault}" for fault in wrong_code(source, page, all_shown)]
        found = [scan(text) for text in texts(page)]
        ids[name] = {i for ids_here, _, _ in found for i in ids_here}
        links[name] = Counter(link for _, links_here, _ in found for link in links_here)
        if any("[[`" in text for text in texts(page)):
            wrong.append(
                f"{name}: a link has a name in backticks for its text, which nbdev "
                "makes a link itself: leave the brackets off"
            )
        if any(linked_code for _, _, linked_code in found):
            wrong.append(
                f"{name}: a name in backticks in a comment on a parameter becomes "
                "a link inside code: leave them off"
            )
    for name, targets in links.items():
        wrong += [
            f"{name}: {link}: {why}"
            for link in targets
            if (why := wrong_target(link, name, ids))
        ]
    total = sum(map(len, links.values()))
    return wrong, f"{len(sources)} pages, {total} links"


def render() -> None:
    "Let Quarto make the site, if it is there."
    if not shutil.which("quarto"):
        print("Not rendered: quarto is not on the PATH")
        return
    subprocess.run(["quarto", "render", "--no-cache"], cwd="_proc", check=True)
    shutil.rmtree(ROOT / "_docs", ignore_errors=True)
    shutil.move("_proc/_docs", ROOT / "_docs")
    print("The site is in _docs/")


def main() -> int:
    # nbdev only warns of what breaks its pages
    os.environ["PYTHONWARNINGS"] = "error:Found cells containing imports"
    with copy_of_project():
        try:
            wrong, summary = check()
        except Exception as error:
            # nbdev's error names the notebook and the cell; its cause, what went wrong
            cause = re.search(r"^\w+(Error|Warning): .*", str(error.__cause__), re.M)
            wrong = [
                f"nbdev could not make the pages: {error}",
                cause[0] if cause else "",
            ]
        if wrong:
            print(*wrong, sep="\n")
            return 1
        print(f"The site is sound: {summary}")
        render()
    return 0


if __name__ == "__main__":
    sys.exit(main())
