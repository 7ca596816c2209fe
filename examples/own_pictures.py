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

from quickstudy.data import Glyphs, find_classes
from quickstudy.estimators import Encoding, FewShotClassifier, FittedModel, OpenSetClassifier
from quickstudy.pretrained import encode_files, open_encoder
from quickstudy.report import fit_page


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
    draw(work / "strangers", range(n + 1, n + 101), range(1))
    draw(work / "new", range(n), range(asked.pictures, asked.pictures + 5))

    encoder = open_encoder("symbols")
    found = find_classes(work / "known")
    paths = [path for files in found.values() for path in files]
    labels = [name for name, files in found.items() for _ in files]
    cohort = encode_files(
        encoder, [p for files in find_classes(work / "strangers").values() for p in files]
    )
    model = OpenSetClassifier(FewShotClassifier(), false_accept_rate=0.05, review_rate=0.5)
    model.fit(encode_files(encoder, paths).vectors, labels, cohort=cohort.vectors)
    fitted = FittedModel(
        model, Encoding("images", encoder.source, encoder.key), encoder, encoder.notes
    )
    print(
        f"{n} classes of {asked.pictures} pictures each. {fitted.known.diagnose().accuracy:.0%} of "
        "the pictures are recognised by the others of their class."
    )

    new = find_classes(work / "new")
    answers = {name: [d.label for d in fitted.decide(files)] for name, files in new.items()}
    right = np.mean([label == name for name, given in answers.items() for label in given])
    unknown = np.mean([label is None for given in answers.values() for label in given])
    print(f"New pictures of them: {right:.0%} right, {unknown:.0%} called unknown.")

    draw(work / "guest", range(n, n + 1), range(asked.pictures + 1))
    (guest,) = find_classes_of_one(work / "guest").values()
    before = fitted.decide(guest[-1:])[0]
    fitted.add_class("guest", guest[:-1])
    after = fitted.decide(guest[-1:])[0]
    print(
        f"A picture of a character that was not learned: {before.label or 'unknown'}. After it was "
        f"added: {after.label or 'unknown'} (score {after.score:.3f})."
    )

    fitted.remove_class("guest").save(work / "model")
    same = FittedModel.load(work / "model").decide(paths[:3])
    print(
        f"Kept in {work / 'model'}; loaded it says the same: "
        f"{[d.label for d in same] == [d.label for d in fitted.decide(paths[:3])]}."
    )
    page = fit_page(
        model, work / "report.html", things=paths, title="Printed characters", notes=encoder.notes
    )
    print(f"What there is to know about it: {page}")


def find_classes_of_one(folder: Path) -> dict[str, list[Path]]:
    """As `find_classes`, which wants at least two classes, for a folder with one."""
    return {place.name: sorted(place.iterdir()) for place in folder.iterdir()}


if __name__ == "__main__":
    main()
