"""Characters that nobody taught, drawn on the page of the service by drawers who did not teach
them: how often it is right from one drawing each.

python benchmarks/strokes.py               40 tasks of five characters, each asked about twice
python benchmarks/table.py                 writes the line into docs/applications/serving.md

A headless Chromium moves the pointer along strokes that are traced from the drawings of Omniglot's
test split, as the data set's files hold pictures. In each task one drawer teaches a character and
others ask. Right is the class that the page ranks first. Writes benchmarks/strokes.json, beside
what the report of the encoder promises. Needs playwright, Chromium, and Omniglot in the data root.
"""

import argparse
import contextlib
import csv
import io
import json
import multiprocessing
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from quickstudy.data.locations import data_root

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "strokes.json"
WAYS, ASKED = 5, 2
STEP = 6
"""So many pixels of a drawing a stroke passes at a time."""
ARCHIVES = ("images_background.zip", "images_evaluation.zip")
_NEIGHBOURS = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
Strokes = Sequence[Sequence[tuple[float, float]]]


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
    raise LookupError(character)


def unseen_characters() -> list[str]:
    """The characters of the test split."""
    split = resources.files("quickstudy.data") / "splits" / "omniglot-vinyals.csv"
    rows = csv.DictReader(split.read_text().splitlines())
    return [f"{r['alphabet']}/{r['character']}" for r in rows if r["split"] == "test"]


def task(rng: np.random.Generator) -> list[list[np.ndarray]]:
    """Of each character one drawing that teaches, and those that ask, by other drawers."""
    return [
        drawings(character, rng.choice(20, 1 + ASKED, replace=False).tolist())
        for character in rng.choice(unseen_characters(), WAYS, replace=False).tolist()
    ]


def draw(page: Any, lines: Strokes) -> None:
    """Move the pointer along strokes on the pad, whose width and height are 1."""
    box = page.locator("#pad").bounding_box()
    for points in lines:
        corners = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        page.mouse.move(*corners[0])
        page.mouse.down()
        for corner in corners[1:] or corners:
            page.mouse.move(*corner)
        page.mouse.up()


def teach(page: Any, name: str, lines: Strokes) -> None:
    """Draw an example of a class, and wait until it is learned."""
    draw(page, lines)
    page.fill("#name", name)
    page.click("#teach-form button")
    page.locator("#teach-note", has_text=f"Added to {name}").wait_for()


def answered(page: Any, lines: Strokes) -> None:
    """Draw in *Try*, and wait for the answer."""
    page.click("#clear")
    page.locator("#answer.idle").wait_for()
    draw(page, lines)
    page.locator("#input:not([aria-busy=true])").wait_for()


@contextlib.contextmanager
def demo(**options: Any) -> Iterator[Callable[[], Any]]:
    """Opens the page of `quickstudy demo --web`, each time in a browser without memories."""
    from playwright.sync_api import sync_playwright

    from quickstudy.cli.serve import serve_demo

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        port = free_port()
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=serve_demo, args=(Path(folder), port), daemon=True)
        process.start()
        stack.callback(process.join, 30)
        stack.callback(process.terminate)
        p = stack.enter_context(sync_playwright())
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        stack.callback(browser.close)

        def opened() -> Any:
            page = browser.new_context(**options).new_page()
            page.set_default_timeout(60_000)
            for _ in range(600):
                with contextlib.suppress(Exception):  # the server is not there yet
                    page.goto(f"http://127.0.0.1:{port}")
                    break
                time.sleep(0.2)
            page.wait_for_selector("body[data-ready]")
            return page

        yield opened


def free_port() -> int:
    """A port that nobody listens on."""
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def measure(tasks: int) -> list[float]:
    """The share of right answers in each task."""
    rng, shares = np.random.default_rng(0), list[float]()
    with demo(viewport={"width": 1100, "height": 900}) as opened:
        page = opened()
        page.on("dialog", lambda dialog: dialog.accept())
        for number in range(tasks):
            inks = task(rng)
            page.click("#tab-teach")
            page.click("#clear")
            for one, ink in enumerate(inks):
                teach(page, f"character {one}", strokes(ink[0]))
            page.click("#tab-try")
            right = 0
            for one, (_, *asked) in enumerate(inks):
                for ink in asked:
                    answered(page, strokes(ink))
                    first = page.locator("#bars li.first .name").inner_text()
                    right += first == f"character {one}"
            shares.append(right / (WAYS * ASKED))
            print(number, shares[-1], flush=True)
            page.request.delete(f"{page.url.rstrip('/')}/v1/models/drawings/classes")
            page.reload()
            page.wait_for_selector("body[data-ready]")
    return shares


def rows() -> list[str]:
    """The line in the docs, from the file."""
    saved = json.loads(FILE.read_text(encoding="utf-8"))
    return [
        f"Five characters of Omniglot's test split, one drawing each, {saved['tasks']} tasks with "
        f"{saved['asked']} questions, drawn stroke by stroke by other drawers: "
        f"{100 * saved['accuracy']:.1f} ± {100 * saved['interval']:.1f} % right on the page "
        f"(95 % over tasks); the report of the encoder promises {100 * saved['promised']:.1f} ± "
        f"{100 * saved['promised_interval']:.1f} % for the data set's own pictures; commit "
        f"{saved['commit']}."
    ]


def main() -> None:
    """Measure and write."""
    from quickstudy.evaluation import Report, commit
    from quickstudy.pretrained.symbols import SYMBOLS

    parser = argparse.ArgumentParser(description="Strokes on the page of the service.")
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--out", type=Path, default=FILE)
    asked = parser.parse_args()
    shares = np.asarray(measure(asked.tasks))
    report = Report.load(SYMBOLS / "report-omniglot-5w1s15q.json")
    out = {
        "tasks": len(shares),
        "asked": len(shares) * WAYS * ASKED,
        "accuracy": float(shares.mean()),
        "interval": 1.96 * float(shares.std(ddof=1)) / len(shares) ** 0.5,
        "promised": report.mean,
        "promised_interval": report.ci95,
        "commit": commit(),
    }
    print(json.dumps(out, indent=1))
    asked.out.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
