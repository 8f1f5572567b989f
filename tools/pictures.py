"""Take the pictures of the pages that README.md and the docs show: tools/pictures.py
[URL of a running server]."""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).resolve().parent.parent / "nbs" / "images"
WIDTH = 900  # pixels of the picture that is kept


def rate(page: Page) -> None:
    "Give some stars, as somebody would."
    for title, stars in (("Star Wars", 5), ("Fargo", 5), ("Twelve Monkeys", 4)):
        with page.expect_response("**/for-you/films"):
            page.get_by_label("Find a film to rate").fill(title)
        field = page.locator(f'.asked [data-title="{title}"]')
        with page.expect_response("**/for-you"):
            field.get_by_label(f"{stars} of 5").click()
    with page.expect_response("**/for-you/films"):
        page.get_by_role("button", name="Show others").click()
    page.wait_for_timeout(500)


PICTURES = {  # name: path, height of the window, colour scheme, what to do first
    "film": ("/movies/50", 1050, "light", None),
    "for-you": ("/for-you", 1000, "dark", rate),
    "map": ("/map", 1000, "light", None),
}


def main(url: str) -> None:
    "Take them all."
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", headless=True, args=options
        )
        for name, (path, height, scheme, prepare) in PICTURES.items():
            page = browser.new_page(
                base_url=url,
                viewport={"width": 1200, "height": height},
                color_scheme=scheme,
            )
            page.goto(path, wait_until="networkidle")
            if prepare:
                prepare(page)
            page.evaluate("scrollTo(0, 0)")
            page.wait_for_timeout(500)
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            picture.thumbnail((WIDTH, WIDTH))
            picture.save(FOLDER / f"{name}.webp", quality=80, method=6)
            page.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:5000")
