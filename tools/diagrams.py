"""Draw the diagrams of the home page: tools/diagrams.py writes nbs/images/*.svg; with
--check it only says whether they are current."""

import sys
from html import escape
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "nbs" / "images"
WIDE, HIGH, GAP_X, GAP_Y, MARGIN = 150, 62, 46, 26, 8  # of a box, and between two
INK, EDGE = "#7d766c", "#c0563e"  # both can be read by day and by night

Box = tuple[int, float, str, str]  # column, row, what it is, a word on it
DATA = {
    "title": "The way of the data: tables become features, likeness and taste, which "
    "are stored as a version, from which lists with reasons are made.",
    "boxes": {
        "ratings": (0, 0, "ratings", "who liked what"),
        "films": (0, 1, "films", "genres, year"),
        "makers": (0, 2, "makers", "who made a film"),
        "tables": (1, 1, "tables", "checked, each row"),
        "taste": (2, 0, "taste, likeness", "learned from people"),
        "features": (2, 2, "similarity", "films as numbers"),
        "version": (3, 1, "version", "on the disk, verified"),
        "recommender": (4, 1, "recommender", "lists and reasons"),
        "people": (5, 0, "page, API", "for people, programs"),
        "batch": (5, 1, "terminal", "for you"),
        "files": (5, 2, "batch", "for everybody"),
    },
    "arrows": "ratings-tables films-tables makers-tables tables-taste tables-features "
    "taste-version features-version version-recommender recommender-people "
    "recommender-batch recommender-files",
}
REQUEST = {
    "title": "The way of a request: it is read with limits, answered from what is kept "
    "or by the recommender in use, and noted in the log and the numbers.",
    "boxes": {
        "asked": (0, 0.5, "request", "a page, a program"),
        "read": (1, 0.5, "reading", "limits of size, time"),
        "kept": (2, 0, "kept answers", "by address"),
        "view": (2, 1, "checking", "what is asked"),
        "model": (3, 1, "recommender", "the version in use"),
        "answer": (4, 0.5, "answer", "list, reasons, id"),
        "log": (5, 0, "log", "one line each"),
        "numbers": (5, 1, "numbers", "how many, how fast"),
    },
    "arrows": "asked-read read-kept read-view view-model model-answer kept-answer "
    "answer-log answer-numbers",
}
DIAGRAMS = {"way-of-the-data": DATA, "way-of-a-request": REQUEST}


def corner(box: Box) -> tuple[float, float]:
    "The upper left corner of a box."
    column, row, *_ = box
    return MARGIN + column * (WIDE + GAP_X), MARGIN + row * (HIGH + GAP_Y)


def draw_box(box: Box) -> str:
    "A box with its two lines."
    (x, y), (_, _, name, about) = corner(box), box
    middle = x + WIDE / 2
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{WIDE}" height="{HIGH}" rx="9"/>'
        f'<text x="{middle:g}" y="{y + 26:g}" class="name">{escape(name)}</text>'
        f'<text x="{middle:g}" y="{y + 46:g}">{escape(about)}</text>'
    )


def draw_arrow(start: Box, end: Box) -> str:
    "A line from the right side of a box to the left side of another."
    (x, y), (x2, y2) = corner(start), corner(end)
    x, y, y2, half = x + WIDE, y + HIGH / 2, y2 + HIGH / 2, (x2 - x - WIDE) / 2
    bend = f"C{x + half:g} {y:g} {x2 - half:g} {y2:g} {x2 - 10:g} {y2:g}"
    return f'<path d="M{x:g} {y:g}{bend}" marker-end="url(#end)"/>'


def draw(diagram: dict) -> str:
    "The diagram as SVG."
    boxes = diagram["boxes"]
    width = max(corner(box)[0] for box in boxes.values()) + WIDE + MARGIN
    height = max(corner(box)[1] for box in boxes.values()) + HIGH + MARGIN
    arrows = [pair.split("-") for pair in diagram["arrows"].split()]
    lines = [draw_arrow(boxes[a], boxes[b]) for a, b in arrows]
    lines += [draw_box(box) for box in boxes.values()]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} '
            f'{height:g}" role="img" font-family="system-ui, sans-serif">',
            f"<title>{escape(diagram['title'])}</title>",
            f"<style>rect,path{{fill:none;stroke:{EDGE};stroke-width:1.6}}"
            f"text{{fill:{INK};font-size:13px;text-anchor:middle}}"
            ".name{font-size:16px;font-weight:600}</style>",
            '<marker id="end" viewBox="0 0 8 8" refX="2" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{EDGE}" '
            'style="fill:#c0563e"/></marker>',
            *lines,
            "</svg>\n",
        ]
    )


def main(check: bool) -> int:
    "Write them, or say which are not current."
    stale = []
    for name, diagram in DIAGRAMS.items():
        file, text = FOLDER / f"{name}.svg", draw(diagram)
        if not check:
            file.write_text(text, "utf-8")
        elif not file.exists() or file.read_text("utf-8") != text:
            stale.append(file.name)
    print(*stale, "stale: run tools/diagrams.py" if stale else "Diagrams are current")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
