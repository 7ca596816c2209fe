"""A person teaches on the page; a browser does what the person would."""

import math
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

Path2D = list[tuple[float, float]]
DRAWINGS: dict[str, Callable[[float], list[Path2D]]] = {
    "circle": lambda d: [
        [(0.5 + d + 0.3 * math.cos(t / 2.5), 0.5 + 0.32 * math.sin(t / 2.5)) for t in range(17)]
    ],
    "cross": lambda d: [[(0.2 + d, 0.2), (0.8, 0.8 - d)], [(0.8, 0.2 + d), (0.2, 0.8)]],
    "bars": lambda d: [[(0.2, y + d), (0.8, y)] for y in (0.25, 0.5, 0.75)],
    "wave": lambda d: [[(0.1 + i * 0.04, 0.5 + d + 0.3 * math.sin(i * 0.9)) for i in range(21)]],
}


@pytest.fixture
def page(blank: str) -> Iterator[Any]:
    playwright.expect.set_options(timeout=30_000)
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1100, "height": 900})
        page = context.new_page()
        page.set_default_timeout(30_000)
        elsewhere: list[str] = []
        wrong: list[str] = []
        page.on("request", lambda r: None if r.url.startswith(blank) else elsewhere.append(r.url))
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("dialog", lambda d: d.accept())
        page.goto(blank)
        page.wait_for_selector("body[data-ready]")
        yield page
        browser.close()
    assert [url for url in elsewhere if not url.startswith(("blob:", "data:"))] == []
    assert wrong == []


def draw(page: Any, name: str, shift: float = 0.0) -> None:
    box = page.locator("#pad").bounding_box()
    for points in DRAWINGS[name](shift):
        corners = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        page.mouse.move(*corners[0])
        page.mouse.down()
        for corner in corners[1:]:
            page.mouse.move(*corner, steps=3)
        page.mouse.up()


def asked(page: Any, answer: str) -> None:
    playwright.expect(page.locator("#answer")).to_have_text(answer)


def test_a_person_teaches_tries_corrects_and_forgets(page: Any) -> None:
    for name in ("circle", "cross", "bars"):
        draw(page, name)
        page.fill("#name", name)
        page.keyboard.press("Enter")
        page.get_by_text(f"Added to {name}").wait_for()
    playwright.expect(page.locator("#classes img")).to_have_count(3)
    page.click("#tab-try")
    for name in ("cross", "circle", "bars"):
        page.click("#clear")
        draw(page, name, 0.03)
        asked(page, name)
    page.click("#clear")
    draw(page, "wave")
    asked(page, "unknown")
    playwright.expect(page.locator("#cost")).to_contain_text("of 60 unknowns")

    page.click("#clear")
    draw(page, "circle", 0.05)
    asked(page, "circle")
    page.click("#wrong")  # it is none of them
    asked(page, "unknown")
    page.click("#undo")
    asked(page, "circle")

    page.locator("#tab-try").focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("#plane .asked")).to_have_count(1)
    playwright.expect(page.locator("#legend li")).to_have_count(3)
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("#compared tr")).to_have_count(5)
    page.click("#tab-keep")
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "drawings.zip"

    page.click("#tab-teach")
    page.click("[aria-label='Remove bars']")
    playwright.expect(page.locator("#classes > li")).to_have_count(2)
    page.click("#tab-try")
    page.click("#mode-file")
    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.set_input_files("#files", [broken])
    playwright.expect(page.locator("#problem")).to_contain_text("broken.png")
