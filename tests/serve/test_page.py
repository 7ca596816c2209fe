"""A person teaches on the page; a browser does what the person would."""

import math
from collections.abc import Callable
from typing import Any

import pytest

Path2D = list[tuple[float, float]]
DRAWINGS: dict[str, Callable[[float], list[Path2D]]] = {
    "circle": lambda d: [
        [(0.5 + d + 0.3 * math.cos(t / 2.5), 0.5 + 0.32 * math.sin(t / 2.5)) for t in range(17)]
    ],
    "cross": lambda d: [[(0.2 + d, 0.2), (0.8, 0.8 - d)], [(0.8, 0.2 + d), (0.2, 0.8)]],
    "bars": lambda d: [[(0.2, y + d), (0.8, y)] for y in (0.25, 0.5, 0.75)],
    "wave": lambda d: [[(0.1 + i * 0.04, 0.5 + d + 0.3 * math.sin(i * 0.9)) for i in range(21)]],
}


Draw = Callable[..., None]


@pytest.fixture
def draw(pen: Callable[[Any, list[Path2D]], None]) -> Draw:
    def drawing(page: Any, name: str, shift: float = 0.0) -> None:
        pen(page, DRAWINGS[name](shift))

    return drawing


def expect(locator: Any) -> Any:
    return pytest.importorskip("playwright.sync_api").expect(locator)


def asked(page: Any, answer: str) -> None:
    expect(page.locator("#answer")).to_have_text(answer)


def test_a_person_teaches_tries_corrects_and_forgets(
    blank: str, browse: Callable[..., Any], draw: Draw
) -> None:
    page = browse(blank)
    for name in ("circle", "cross", "bars"):
        draw(page, name)
        page.fill("#name", name)
        page.keyboard.press("Enter")
        page.get_by_text(f"Added to {name}").wait_for()
    expect(page.locator("#classes img")).to_have_count(3)
    page.click("#tab-try")
    for name in ("cross", "circle", "bars"):
        page.click("#clear")
        draw(page, name, 0.03)
        asked(page, name)
    page.click("#clear")
    draw(page, "wave")
    asked(page, "unknown")
    expect(page.locator("#cost")).to_contain_text("of 60 unknowns")

    page.click("#clear")
    draw(page, "circle", 0.05)
    asked(page, "circle")
    page.click("#wrong")  # it is none of them
    asked(page, "unknown")
    page.click("#undo")
    asked(page, "circle")

    page.locator("#tab-try").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#plane .asked")).to_have_count(1)
    expect(page.locator("#legend li")).to_have_count(3)
    page.keyboard.press("ArrowRight")
    # Of three classes with one example each nothing can be left out.
    expect(page.locator("#compared tr")).to_have_count(7)
    expect(page.locator("#methods-note")).to_contain_text("No class has two examples")
    page.keyboard.press("ArrowRight")
    for button, ending in (("#download", "zip"), ("#download-report", "html")):
        with page.expect_download() as download:
            page.click(button)
        assert download.value.suggested_filename == f"drawings.{ending}"

    page.click("#tab-teach")
    page.click("[aria-label='Remove bars']")
    expect(page.locator("#classes > li")).to_have_count(2)
    page.click("#tab-try")
    page.click("#mode-file")
    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": b"no image"}
    page.set_input_files("#files", [broken])
    expect(page.locator("#problem")).to_contain_text("broken.png")
