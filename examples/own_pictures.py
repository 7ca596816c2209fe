"""A folder with a few pictures per class becomes a classifier that can say "unknown", grows by a
class, and is kept on disk.

python examples/own_pictures.py
python examples/own_pictures.py --classes 12 --pictures 3

The pictures are drawn on the spot: printed characters, as PNG files in a folder per class. The
encoder comes with the package, so nothing is downloaded or trained. With photographs of yours, use
encoder="facebook/dinov2-small".
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from quickstudy.data import Glyphs
from quickstudy.estimators import FittedModel, fit_folder, score_model
from quickstudy.report import model_page


def draw(folder: Path, classes: range, pictures: range) -> None:
    """Some drawings of some characters, dark on white paper, one folder each."""
    test = Glyphs().split("test")
    for c in classes:
        place = folder / test.index.names[c]
        place.mkdir(parents=True, exist_ok=True)
        for row in test.index.rows_of(c)[pictures.start : pictures.stop]:
            Image.fromarray(255 - np.asarray(test.x[int(row), 0])).save(place / f"{int(row)}.png")


def main() -> None:
    """Draw, fit, ask, add a class, save and load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=20, help="how many are learned")
    parser.add_argument("--pictures", type=int, default=3, help="of each class")
    asked = parser.parse_args()
    work = Path(tempfile.mkdtemp())
    n = asked.classes
    draw(work / "known", range(n), range(asked.pictures))
    draw(work / "unknown", range(n + 1, n + 101), range(1))
    draw(work / "new", range(n), range(asked.pictures, asked.pictures + 5))

    fitted = fit_folder(
        work / "known",
        encoder="symbols",
        false_accept_rate=0.05,
        review_rate=0.5,
        cohort=work / "unknown",
    )
    assert fitted.summary is not None
    print(
        f"{n} classes of {asked.pictures} pictures each. {fitted.summary.accuracy:.0%} of the "
        "pictures are recognised by the others of their class."
    )

    score = score_model(fitted, work / "new")
    low, high = score.interval
    print(
        f"New pictures of them: {score.accuracy:.0%} right ({low:.0%} to {high:.0%}), "
        f"{score.false_reject_rate:.0%} called unknown."
    )

    draw(work / "guest", range(n, n + 1), range(asked.pictures + 1))
    *first, last = fitted.find_files([work / "guest"])
    before = fitted.predict_files([last])[0]
    fitted.add_class("guest", first)
    after = fitted.predict_files([last])[0]
    print(
        f"A picture of a character that was not learned: {before.label}. After it was added: "
        f"{after.label} (score {after.score:.3f})."
    )

    page = model_page(fitted.remove_class("guest"), work / "report.html", title="Characters")
    fitted.save(work / "model")
    same = FittedModel.load(work / "model").predict_files(work / "new")
    print(
        f"Kept in {work / 'model'}; loaded it says the same: "
        f"{same == fitted.predict_files(work / 'new')}."
    )
    print(f"What there is to know about it: {page}")


if __name__ == "__main__":
    main()
