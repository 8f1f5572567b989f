"""Write README.md from nbs/index.ipynb, and llms.txt, the site's list of pages for
programs that read; with --check, only say if they are current."""

import re
import sys
from pathlib import Path
from posixpath import join, normpath

import nbformat
import yaml
from docs import sidebar_pages
from nbconvert import MarkdownExporter
from nbdev.config import get_config
from nbdev.doclinks import _nbpath2html

ROOT = Path(__file__).resolve().parent.parent
HEAD = "<!-- Written from nbs/index.ipynb by tools/readme.py: change it there. -->\n\n"
DIRECTIVE = re.compile(r"^#\|\s*(\S+)[ \t]*(.*)\n?", re.MULTILINE)
LINK = re.compile(r"""(\]\(|(?:href|src)=")([^)"\s]+)""")
# GitHub shows no styles, so a table comes as Markdown; a plot comes as a picture.
KINDS = ["text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]


def link_for_readme(target: str, files: str) -> str:
    """A link that stands in nbs/index.ipynb, as it must stand in README.md one folder
    up."""
    if target.startswith(files):
        return target.removeprefix(files)
    if target.startswith(("#", "/")) or ":" in target:
        return target
    return normpath(join("nbs", target))


def for_readme(cell: nbformat.NotebookNode, files: str) -> nbformat.NotebookNode | None:
    "The cell as README.md shows it; None if it does not."
    if cell.cell_type == "markdown":
        cell.source = LINK.sub(
            lambda m: m[1] + link_for_readme(m[2], files), cell.source
        )
    if cell.cell_type != "code":
        return None if cell.cell_type == "raw" else cell
    directives = dict(DIRECTIVE.findall(cell.source))
    if directives.keys() & {"hide", "default_exp", "export", "exporti"}:
        return None
    cell.source = DIRECTIVE.sub("", cell.source)
    if directives.get("echo:") == "false":
        cell.metadata["transient"] = {"remove_source": True}
    return cell


def readme() -> tuple[str, dict[str, bytes]]:
    "The text, and the pictures by path."
    cfg = get_config()
    nb = nbformat.read(cfg.nbs_path / cfg.readme_nb, 4)
    nb.cells = [
        c
        for cell in nb.cells
        if (c := for_readme(cell, f"{cfg.git_url}/blob/{cfg.branch}/"))
    ]
    nb.metadata["language_info"] = {"name": "python"}
    exporter = MarkdownExporter()
    exporter.display_data_priority = KINDS
    text, resources = exporter.from_notebook_node(
        nb, {"output_files_dir": "README_files", "unique_key": "README"}
    )
    text = re.sub(
        r"\n{3,}", "\n\n", re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    ).strip()
    return HEAD + text + "\n", resources["outputs"]


def title_and_promise(path: Path) -> tuple[str, str]:
    "What a notebook's first cells say that it is."
    cells = nbformat.read(path, 4).cells
    lines = "\n".join(c.source for c in cells[:3] if c.cell_type == "markdown")
    title = re.search(r"^# (.+)$", lines, re.M)
    promise = re.search(r"^> (.+)$", lines, re.M)
    return (title[1] if title else path.stem), (promise[1] if promise else "")


def list_of_pages() -> str:
    "The pages of the site by part, each with its address and its promise."
    cfg = get_config()
    site = yaml.safe_load((ROOT / "_quarto.yml").read_text("utf-8"))["website"]
    _, promise = title_and_promise(cfg.nbs_path / cfg.readme_nb)
    lines = [f"# {cfg.lib_name}", "", f"> {promise}"]
    for part in site["sidebar"]:
        if "title" in part:
            lines += ["", f"## {part['title']}", ""]
            for name in sidebar_pages(part["contents"]):
                title, promise = title_and_promise(cfg.nbs_path / name)
                page = _nbpath2html(Path(name)).as_posix()
                address = f"{cfg.doc_host}{cfg.doc_baseurl}/{page}"
                lines.append(f"- [{title}]({address}): {promise}")
    return "\n".join(lines) + "\n"


def main(check: bool) -> int:
    text, pictures = readme()
    files = {ROOT / "README.md": text, ROOT / "nbs" / "llms.txt": list_of_pages()}
    missing = [name for name in pictures if not (ROOT / name).exists()]
    stale = [
        file.name
        for file, content in files.items()
        if not file.exists() or file.read_text("utf-8") != content
    ]
    if check and (missing or stale):
        print(f"{', '.join(stale + missing)}: not what the notebooks say. make fix")
        return 1
    if check:
        print("README.md and llms.txt are current")
    else:
        for file, content in files.items():
            file.write_text(content, "utf-8")
        for name, picture in pictures.items():
            (ROOT / name).parent.mkdir(exist_ok=True)
            (ROOT / name).write_bytes(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
