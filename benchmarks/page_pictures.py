"""The pictures of the web page in the docs: a headless Chromium teaches three symbols on the page
of `quickstudy demo --web`, by three drawings each, and shows it a new one.

python benchmarks/page_pictures.py         writes docs/images/serve_teach, serve_try and serve_map

Needs playwright and Chromium. Look at each picture before it is committed.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from strokes import Strokes, answered, demo, draw, teach

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 1000, 700
EXAMPLES = 3
SYMBOLS: dict[str, Callable[[], list[list[tuple[float, float]]]]] = {
    "house": lambda: [
        [(0.25, 0.8), (0.25, 0.45), (0.5, 0.2), (0.75, 0.45), (0.75, 0.8), (0.25, 0.8)],
        [(0.45, 0.8), (0.45, 0.6), (0.57, 0.6), (0.57, 0.8)],
    ],
    "sun": lambda: [
        _arc(0.5, 0.5, 0.16, 0, 2 * math.pi),
        *(
            [_at(0.5, 0.5, 0.24, k * math.pi / 4), _at(0.5, 0.5, 0.36, k * math.pi / 4)]
            for k in range(8)
        ),
    ],
    "fish": lambda: [
        _arc(0.42, 0.72, 0.4, 4.1, 5.5),
        _arc(0.42, 0.28, 0.4, 0.8, 2.2),
        [(0.69, 0.44), (0.85, 0.3), (0.85, 0.68), (0.69, 0.55)],
        _arc(0.3, 0.47, 0.015, 0, 2 * math.pi),
    ],
}


def _at(x: float, y: float, radius: float, angle: float) -> tuple[float, float]:
    return x + radius * math.cos(angle), y + radius * math.sin(angle)


def _arc(x: float, y: float, radius: float, start: float, end: float) -> list[tuple[float, float]]:
    return [_at(x, y, radius, start + (end - start) * t / 24) for t in range(25)]


def by_hand(symbol: str, rng: np.random.Generator) -> Strokes:
    """A symbol as a hand draws it: turned, stretched and moved a little."""
    turn, stretch = rng.normal(0, 0.08), 1 + rng.normal(0, 0.06, 2)
    shift = rng.normal(0, 0.02, 2)
    cos, sin = math.cos(turn), math.sin(turn)
    lines = []
    for points in SYMBOLS[symbol]():
        x = (np.asarray(points) - 0.5) * stretch @ np.asarray([[cos, sin], [-sin, cos]])
        x = np.clip(x + 0.5 + shift + rng.normal(0, 0.0015, x.shape), 0.03, 0.97)
        lines.append([(float(a), float(b)) for a, b in x])
    return lines


def picture(page: Any, folder: Path, name: str) -> None:
    """The page as it is, whole."""
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    page.screenshot(path=folder / f"serve_{name}.png", full_page=True)


def main() -> None:
    """Teach, ask, and take the pictures."""
    parser = argparse.ArgumentParser(description="Pictures of the page.")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images")
    folder, rng = parser.parse_args().folder, np.random.default_rng(4)
    options = {"viewport": {"width": WIDTH, "height": HEIGHT}, "reduced_motion": "reduce"}
    with demo(**options) as opened:
        page = opened()
        for _ in range(EXAMPLES):
            for symbol in SYMBOLS:
                teach(page, symbol, by_hand(symbol, rng))
        draw(page, by_hand("sun", rng))
        picture(page, folder, "teach")
        page.click("#tab-try")
        answered(page, by_hand("fish", rng))
        page.wait_for_selector("#cost:not(:empty)")
        page.check("#sets")
        page.wait_for_selector("#set:not([hidden])")
        picture(page, folder, "try")
        page.click("#tab-map")
        page.wait_for_selector("#plane .asked")
        picture(page, folder, "map")


if __name__ == "__main__":
    main()
