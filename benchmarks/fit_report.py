"""The report of a fit: a picture of it for the docs, and how well it finds a wrong label.

python benchmarks/fit_report.py

Writes docs/images/fit_report.png, for which it needs Chromium, and benchmarks/fit_report.json.
All is drawn here: printed characters that the encoder "symbols", which comes with the package, has
not seen.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from quickstudy.core.arrays import NDArray
from quickstudy.data import ClassDataset, Glyphs
from quickstudy.estimators import FewShotClassifier, ImageEncoder, OpenSetClassifier
from quickstudy.estimators.findings import examine
from quickstudy.evaluation import commit, versions
from quickstudy.report import fit_page

ROOT = Path(__file__).parent.parent
DRAWS, SETTINGS = 200, ((10, 3), (20, 4), (6, 5), (50, 5), (20, 10))


def main() -> None:
    """Draw, encode, fit, look for planted labels, write the page and photograph it."""
    browser = (
        shutil.which("chromium")
        or shutil.which("google-chrome")
        or sys.exit("Chromium is needed to photograph the page.")
    )
    start, test = time.perf_counter(), Glyphs().split("test")
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        paths, labels = drawn(test, work)
        encoder = ImageEncoder("symbols").fit()
        x = np.asarray(encoder.transform(paths), dtype=np.float64)
        rows = [planted(x, labels, n_class=c, n=n) for c, n in SETTINGS]
        report = {
            "what": "one wrong label planted",
            "draws": DRAWS,
            "rows": rows,
            "commit": commit(),
            "versions": versions(),
        }
        report["seconds"] = round(time.perf_counter() - start)
        (ROOT / "benchmarks" / "fit_report.json").write_text(
            json.dumps(report, indent=1) + "\n", encoding="utf-8"
        )
        photograph(browser, page(test, x, labels, paths, work, list(encoder.notes_[:1])), work)


def drawn(test: ClassDataset, work: Path) -> tuple[list[Path], NDArray[np.int64]]:
    """All drawings as files, dark on light, each class in a folder, and their classes."""
    paths = []
    for row, c in enumerate(test.index.labels.tolist()):
        place = work / test.index.names[c].title() / f"{row % 20 + 1:02}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(255 - np.asarray(test.x[row, 0])).save(place)
        paths.append(place)
    return paths, test.index.labels


def planted(
    x: NDArray[np.float64], labels: NDArray[np.int64], *, n_class: int, n: int
) -> dict[str, float]:
    """In random draws of so many classes of so many drawings: how often a wrong label is suspected,
    and how often a right one.
    """
    found, wrongly, clean = [], [], []
    for draw in range(DRAWS):
        rng = np.random.default_rng((draw, n_class, n))
        classes = rng.permutation(int(labels.max()) + 1)[:n_class]
        rows = np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:n] for c in classes])
        y = np.repeat(np.arange(n_class), n)
        clean.append(len(suspects(x[rows], y)) / len(y))
        at = int(rng.integers(len(y)))
        y[at] = (y[at] + 1 + rng.integers(n_class - 1)) % n_class
        named = suspects(x[rows], y)
        found.append(at in named)
        wrongly.append(len(named - {at}) / len(y))
    return {
        "classes": n_class,
        "examples": n,
        "found": round(float(np.mean(found)), 4),
        "right_suspected": round(float(np.mean(wrongly)), 5),
        "right_suspected_without_one": round(float(np.mean(clean)), 5),
    }


def suspects(x: NDArray[np.float64], y: NDArray[np.int64]) -> set[int]:
    """The examples that may carry a wrong label, by their place in ``x``."""
    order = np.argsort(y, kind="stable")
    model = FewShotClassifier().fit(x, y)
    told = examine(
        model.support_,
        model.labels_,
        [str(c) for c in model.classes_],
        model.left_out_scores(),
        temperature=model.temperature,
    )
    return {int(order[i]) for i, _ in told.suspects}


def page(
    test: ClassDataset,
    x: NDArray[np.float64],
    labels: NDArray[np.int64],
    paths: list[Path],
    work: Path,
    notes: list[str],
) -> Path:
    """A report of some letters, one drawing under a wrong name; the letters of another script are
    unknowns.
    """
    names = test.index.names
    letters = [c for c, name in enumerate(names) if name.startswith("GEORGIAN CAPITAL LETTER")][:18]
    others = np.asarray([c for c, name in enumerate(names) if not name.startswith("GEORGIAN")])
    rows = np.concatenate([np.flatnonzero(labels == c)[:4] for c in letters])
    y = np.asarray(
        [names[c].title().removeprefix("Georgian Capital Letter ") for c in labels[rows]]
    )
    y[2] = y[-1]
    order = np.argsort(y, kind="stable")
    unknowns = x[np.isin(labels, others)][::20]
    model = OpenSetClassifier(false_accept_rate=0.05).fit(x[rows][order], y[order], cohort=unknowns)
    title = "Georgian capital letters, four drawings each"
    return fit_page(
        model,
        work / "report.html",
        items=[paths[i] for i in rows[order]],
        title=title,
        notes=notes,
        encoder="symbols",
    )


def photograph(browser: str, file: Path, work: Path) -> None:
    """The upper part of the page, as a picture of few colours."""
    shot = work / "shot.png"
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={work / 'profile'}",
    ]
    subprocess.run(
        [browser, *options, f"--screenshot={shot}", "--window-size=1000,1900", file.as_uri()],
        check=True,
        capture_output=True,
    )
    Image.open(shot).convert("RGB").quantize(128).save(
        ROOT / "docs" / "images" / "fit_report.png", optimize=True
    )


if __name__ == "__main__":
    main()
