"""Look at the rendered site as people do: tools/site.py FOLDER [PAGE ...]

FOLDER is what Quarto made, such as _docs. In a real browser each page must fit a
phone's width, ask no other host for anything, and be without a fault that axe finds, on
a phone and on a desktop, by day and by night; each link within the site must lead
somewhere, and each picture be described.
"""

import re
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which
from threading import Thread
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from axe_playwright_python.sync_playwright import Axe
from nbdev.config import get_config
from playwright.sync_api import Page, sync_playwright

PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TOO_WIDE = """() => {
  const page = document.documentElement, wide = page.scrollWidth - page.clientWidth
  const parts = [...document.querySelectorAll("main *")].filter(part =>
    part.getBoundingClientRect().right > page.clientWidth + 1)
  return wide > 1 ? `${wide} pixels, ${parts.slice(0, 3).map(part =>
    part.tagName.toLowerCase() + "." + part.className).join(" ")}` : ""
}"""
LINKS = 'all => all.map(a => [a.getAttribute("href") || a.getAttribute("src"), a.href])'
NO_ALT = """all => all.filter(image => !image.hasAttribute("alt") || image.alt === "")
  .map(image => image.getAttribute("src").slice(0, 60))"""


class Quiet(SimpleHTTPRequestHandler):
    "Serves files under the path that the site has on its host, without a log."

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix(base().rstrip("/")))

    def log_message(self, *_: object) -> None:
        pass


def base() -> str:
    "The path of the site on its host."
    return f"{get_config().doc_baseurl}/"


def wrong_links(page: Page, url: str, folder: Path) -> Iterator[str]:
    "Links of an open page that lead nowhere in the site."
    for written, target in page.locator("a[href]").evaluate_all(LINKS):
        target, place = urldefrag(target or urljoin(page.url, written))
        if not target.startswith(url):
            continue
        path = unquote(urlsplit(target).path).removeprefix(base())
        file = folder / (path or "index.html")
        file = file / "index.html" if file.is_dir() else file
        if not file.is_file():
            yield f"leads nowhere: {written}"
        elif place and file.suffix == ".html":
            text = file.read_text("utf-8")
            if not re.search(
                rf"""\bid=["']?{re.escape(unquote(place))}["'\s>]""", text
            ):
                yield f"no such place: {written}"


def faults(page: Page) -> list[str]:
    "What axe finds wrong with an open page."
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:120]} ({len(one['nodes'])} times)"
        for one in found
    ]


def look(browser: object, url: str, folder: Path, name: str) -> Iterator[str]:
    "All that is wrong with a page."
    others: set[str] = set()
    for scheme in ("light", "dark"):
        for size in (PHONE, DESKTOP):
            context = browser.new_context(viewport=size, color_scheme=scheme)
            page = context.new_page()
            page.on("request", lambda request: others.add(request.url))
            page.goto(url + name)
            where = f"{scheme}, {size['width']} pixels wide"
            if size is PHONE and (wide := page.evaluate(TOO_WIDE)):
                yield f"is too wide ({where}): {wide}"
            yield from (f"{fault} ({where})" for fault in faults(page))
            if size is DESKTOP and scheme == "light":
                yield from wrong_links(page, url, folder)
                for image in page.locator("main img").evaluate_all(NO_ALT):
                    yield f"a picture has no alternative text: {image}"
            context.close()
    hosts = {urlsplit(one).netloc for one in others if one.startswith("http")}
    yield from (f"asks {host}" for host in sorted(hosts - {urlsplit(url).netloc}))


def main(folder: Path, *some: str) -> int:
    "Print what is wrong with each page; 1 if there is anything."
    program = next(filter(None, map(which, BROWSERS)), None)
    if program is None or not (folder / "index.html").exists():
        print("A Chromium or Chrome is needed, and a folder with index.html")
        return 2
    handler = partial(Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}{base()}"
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.html"))
    names = list(some) or names
    sound = True
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=program, args=options)
        for name in names:
            for wrong in dict.fromkeys(look(browser, url, folder, name)):
                print(f"{name}: {wrong}", flush=True)
                sound = False
        browser.close()
    server.shutdown()
    if sound:
        print(f"{len(names)} pages: nothing is wrong with them")
    return int(not sound)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), *sys.argv[2:]))
