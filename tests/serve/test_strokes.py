"""Characters of drawers that were not seen, drawn again on the page stroke by stroke."""

import csv
import io
import zipfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from quickstudy.data.locations import data_root
from quickstudy.evaluation import Report
from quickstudy.pretrained.symbols import SYMBOLS

WAYS, ASKED = 5, 2
STEP = 6
"""So many pixels of a drawing a stroke passes at a time."""
ARCHIVES = ("images_background.zip", "images_evaluation.zip")
_NEIGHBOURS = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]


def thinned(ink: np.ndarray) -> np.ndarray:
    """The middle of every line, one pixel wide (Zhang and Suen 1984)."""
    ink = np.pad(ink, 1).astype(np.uint8)
    while True:
        before = ink.copy()
        for first, second in (((0, 2, 4), (2, 4, 6)), ((0, 2, 6), (0, 4, 6))):
            p = np.stack([np.roll(ink, (-r, -c), (0, 1)) for r, c in _NEIGHBOURS])
            changes = ((p == 0) & (np.roll(p, -1, 0) == 1)).sum(0)
            goes = (ink == 1) & (changes == 1) & (p.sum(0) >= 2) & (p.sum(0) <= 6)
            goes &= (p[list(first)].prod(0) == 0) & (p[list(second)].prod(0) == 0)
            ink[goes] = 0
        if (ink == before).all():
            return ink[1:-1]


def strokes(ink: np.ndarray) -> list[list[tuple[float, float]]]:
    """Lines through the ink, from end to end, in shares of the pad."""
    line = {(int(r), int(c)) for r, c in np.argwhere(thinned(ink))}
    left = set(line)

    def beside(at: tuple[int, int], among: set[tuple[int, int]]) -> list[tuple[int, int]]:
        near = [(at[0] + r, at[1] + c) for r, c in (*_NEIGHBOURS[::2], *_NEIGHBOURS[1::2])]
        return [pixel for pixel in near if pixel in among]

    result = []
    while left:
        at = min(left, key=lambda pixel: (len(beside(pixel, left)), pixel))
        path = [*beside(at, line - left)[:1], at]  # from a stroke that is there
        left.remove(at)
        while near := beside(at, left):
            at = near[0]
            left.remove(at)
            path.append(at)
        path += beside(at, line - left - set(path))[:1]  # to one
        kept = [*path[:-1:STEP], path[-1]]
        result.append([((c + 0.5) / len(ink), (r + 0.5) / len(ink)) for r, c in kept])
    return result


def drawings(character: str, which: list[int]) -> list[np.ndarray]:
    """Drawings of a character by these drawers, as ink or no ink."""
    for name in ARCHIVES:
        with zipfile.ZipFile(data_root() / name) as archive:
            folder = f"{Path(name).stem}/{character}/"
            files = sorted(file for file in archive.namelist() if file.startswith(folder))
            if files:
                chosen = [archive.read(files[i]) for i in which]
                return [~np.asarray(Image.open(io.BytesIO(one)).convert("1")) for one in chosen]
    raise AssertionError(character)


def unseen_characters(rng: np.random.Generator) -> list[str]:
    """Characters of the test split."""
    split = resources.files("quickstudy.data") / "splits" / "omniglot-vinyals.csv"
    rows = csv.DictReader(split.read_text().splitlines())
    names = [f"{r['alphabet']}/{r['character']}" for r in rows if r["split"] == "test"]
    return rng.choice(names, WAYS, replace=False).tolist()


@pytest.mark.skipif(
    not all((data_root() / name).exists() for name in ARCHIVES),
    reason="Omniglot's archives are not in the data root",
)
def test_new_characters_are_recognised_at_the_rate_of_the_report(
    blank: str, browse: Callable[..., Any], pen: Callable[..., None]
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    rng = np.random.default_rng(0)
    # One drawer teaches, others ask.
    inks = [
        drawings(character, rng.choice(20, 1 + ASKED, replace=False).tolist())
        for character in unseen_characters(rng)
    ]
    page = browse(blank)
    for number, ink in enumerate(inks):
        pen(page, strokes(ink[0]))
        page.fill("#name", f"character {number}")
        page.keyboard.press("Enter")
        page.get_by_text(f"Added to character {number}").wait_for()
    page.click("#tab-try")
    right = 0
    for number, (_, *asked) in enumerate(inks):
        for ink in asked:
            page.click("#clear")
            playwright.expect(page.locator("#answer")).to_have_class("answer idle")
            pen(page, strokes(ink))
            playwright.expect(page.locator("#input")).not_to_have_attribute("aria-busy", "true")
            right += page.locator("#bars li.first .name").inner_text() == f"character {number}"
    promised = Report.load(SYMBOLS / "report-omniglot-5w1s15q.json").mean
    # So few right would be seen once in a thousand times at the rate of the report.
    assert right >= stats.binom.ppf(0.001, WAYS * ASKED, promised), (right, promised)
