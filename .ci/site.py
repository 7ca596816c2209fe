"""Looks at the built site in a headless Chromium, as a reader does.

``python .ci/site.py [FOLDER]``; the folder is docs/_build/html if none is given. Checked are

- the search: what people look for is among the first three pages found;
- the pages: none is wider than its window, and no picture is broken, at the width of a desktop and
  of a telephone, in light and in dark.
"""

import argparse
import functools
import http.server
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
SEARCHES = {
    "backbone": ("applications/encoders", "get_started/glossary", "methods/transfer"),
    "out-of-distribution": ("applications/classifier", "get_started/glossary"),
    "few-shot face recognition": ("applications/gallery",),
    "prototypical": ("methods/metric", "generated/quickstudy.algorithms.ProtoNet"),
    "MAML learning rate": ("methods/gradient_based",),
}
FIRST = 3
WIDTHS = {"desktop": (1280, 900), "telephone": (390, 844)}
SCHEMES = ("light", "dark")
PARTS = ("get_started", "applications", "methods", "experiments", "extend", "examples", "about")
API_PAGES = ("core", "algorithms", "data", "estimators", "gallery")
BROKEN = """
() => [...document.querySelectorAll("img")]
    .filter((image) => image.complete && image.naturalWidth === 0)
    .map((image) => image.getAttribute("src"))
"""
WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which the folder is served."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def pages_of(site: Path) -> list[str]:
    """The pages that are looked at, relative to the site."""
    pages = [site / "index.html", site / "search.html"]
    for part in PARTS:
        pages += sorted((site / part).glob("*.html"))
    pages += [page for room in API_PAGES if (page := site / "api" / f"{room}.html").exists()]
    return [page.relative_to(site).as_posix() for page in pages]


def faults_of_search(page: Any, address: str) -> list[str]:
    """Searches that do not find one of their pages among the first."""
    faults = []
    for query, wanted in SEARCHES.items():
        page.goto(f"{address}/search.html?q={query.replace(' ', '+')}")
        page.wait_for_function("() => document.querySelector('#search-results p')?.innerText")
        page.wait_for_selector("#search-results ul.search li a")
        page.wait_for_timeout(500)
        links = page.eval_on_selector_all(
            "#search-results ul.search > li > a", "links => links.map((link) => link.href)"
        )
        first = [link.removeprefix(f"{address}/") for link in links[:FIRST]]
        print(f"{query}: {', '.join(first)}")
        if not any(name in link for name in wanted for link in first):
            faults.append(f"The search for {query!r} finds {first}, none of {wanted}.")
    return faults


def faults_of_pages(browser: Any, address: str, pages: list[str], shots: Path | None) -> list[str]:
    """Pages that are wider than the window, or have a broken picture."""
    faults = []
    for width, (x, y) in WIDTHS.items():
        for scheme in SCHEMES:
            context = browser.new_context(viewport={"width": x, "height": y}, color_scheme=scheme)
            view = context.new_page()
            for name in pages:
                view.goto(f"{address}/{name}")
                where = f"{name} ({width}, {scheme})"
                if (excess := view.evaluate(WIDER)) > 0:
                    faults.append(f"{where} is {excess} pixels wider than the window.")
                faults += [f"{where}: broken picture {src}" for src in view.evaluate(BROKEN)]
                if shots is not None:
                    file = f"{name.removesuffix('.html').replace('/', '-')}-{width}-{scheme}.png"
                    view.screenshot(path=shots / file)
            context.close()
    return faults


def main() -> int:
    """Look, and say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "site", nargs="?", type=Path, default=ROOT / "docs" / "_build" / "html", help="the site"
    )
    parser.add_argument("--shots", type=Path, help="a folder for screenshots")
    args = parser.parse_args()
    if not (args.site / "index.html").exists():
        print(f"There is no site in {args.site}. Build it with: make docs", file=sys.stderr)
        return 2
    if args.shots is not None:
        args.shots.mkdir(parents=True, exist_ok=True)
    installed = shutil.which("chromium") or shutil.which("chromium-browser")
    with served(args.site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        pages = pages_of(args.site)
        faults = faults_of_search(browser.new_page(), address)
        faults += faults_of_pages(browser, address, pages, args.shots)
        browser.close()
    print(f"Looked at {len(pages)} pages and searched {len(SEARCHES)} times.")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
