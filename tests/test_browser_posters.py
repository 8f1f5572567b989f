"Every film's poster, in a real Chromium: no word broken, no title cut off."

import re
from pathlib import Path

import pytest

from movierec import web
from movierec.web import ERAS, LETTER_SIZES, describe_poster, letter_size

STYLE = Path(web.__file__).with_name("static") / "style.css"

# The titles whose letters run over the edge, or whose words stand on several lines;
# a word may be parted only after its own hyphen, or if it is too long for any size.
BROKEN = r"""() => [...document.querySelectorAll('.lettering')].filter(letters => {
  const poster = letters.parentElement.getBoundingClientRect()
  const name = letters.querySelector('bdi'), text = name.firstChild
  const inside = name.getBoundingClientRect()
  const over = letters.scrollWidth > letters.clientWidth + 1 ||
    name.scrollHeight > name.clientHeight + 2 ||
    letters.getBoundingClientRect().top < poster.top - 1
  if (!text) return over
  const range = document.createRange()
  return over || [...text.data.matchAll(/[^\s-]+-*/g)].some(word => {
    range.setStart(text, word.index)
    range.setEnd(text, word.index + word[0].length)
    const rects = [...range.getClientRects()]
    return rects.some(rect => rect.top > rects[0].top + 2 ||
      rect.right > inside.right + 2)
  })
}).map(letters => letters.innerText)"""


def draw(name, era):
    "A poster with a title on it, in the lettering of an era."
    size = letter_size(name.upper() if era == "early" else name)
    words = name.replace("&", "&amp;").replace("<", "&lt;")
    return (
        f'<li><span class="poster {era} size{size}"><span class="lettering">'
        f"<bdi>{words}</bdi><span>1990</span></span></span></li>"
    )


@pytest.fixture(scope="module")
def names(dataset):
    "The titles of all films, as people say them."
    return [describe_poster(movie)["name"] for movie in dataset.movies.to_dicts()]


@pytest.mark.parametrize("era", [era for _, era in ERAS])
@pytest.mark.parametrize("font", ["", "DejaVu Sans"])
def test_no_poster_breaks_a_word_or_cuts_a_title_off(browser, names, era, font):
    with browser.new_context() as context:
        page = context.new_page()
        shelf = "".join(draw(name, era) for name in names)
        page.set_content(f'<html lang="en"><ul class="shelf">{shelf}</ul></html>')
        page.add_style_tag(content=STYLE.read_text("utf-8"))
        if font:
            page.add_style_tag(
                content=f".lettering {{ font-family: '{font}' !important }}"
            )
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.querySelectorAll('.poster').length") > 1600
            assert page.evaluate(BROKEN) == []


def test_a_word_that_is_too_large_is_noticed(browser):
    with browser.new_context() as context:
        page = context.new_page()
        poster = re.sub(r"size\d", "size7", draw("Stargate", "late"))
        page.set_content(f'<ul class="shelf">{poster * 8}</ul>')
        page.add_style_tag(content=STYLE.read_text("utf-8"))
        assert len(page.evaluate(BROKEN)) == 8


def test_the_pages_show_them_so(open_page):
    page = open_page("/?genre=Drama")
    for path in ("/?genre=Drama", "/?year_to=1945", "/movies/1184"):
        page.goto(path)
        assert page.evaluate(BROKEN) == []


def test_a_shelf_of_dramas_is_varied(open_page):
    page = open_page("/?genre=Drama")
    looks = page.locator(".shelf .poster").evaluate_all(
        """posters => posters.map(poster => [poster.className.replace(/size./, ''),
          poster.querySelector('use').getAttribute('href')].join())"""
    )
    assert len(looks) == 24 and len(set(looks)) > 20
    motifs = {look.partition("#")[2] for look in looks}
    assert len(motifs) > 6


def test_each_size_stands_in_the_style_sheet():
    style = STYLE.read_text("utf-8")
    for number, size in enumerate(LETTER_SIZES):
        rule = f".size{number} .lettering {{ font-size: {size}cqi; }}"
        assert rule in style or (number == 0 and f"font: 700 {size}cqi" in style)
