"""Whether thresholds that were measured with the encoder symbols on one set of drawings hold on
another.

python benchmarks/symbol_thresholds.py

The thresholds are the cosines that so many comparisons of two different characters exceed, on the
alphabets of Omniglot that the encoder was trained on. Counted is how many comparisons exceed them
on its other alphabets, on printed characters, and on photographs, which the encoder is not for.
Writes benchmarks/symbol_thresholds.json.
"""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from quickstudy.core.arrays import NDArray
from quickstudy.data import Glyphs
from quickstudy.data.locations import data_root
from quickstudy.evaluation import commit, versions
from quickstudy.pretrained import open_encoder

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "symbol_thresholds.json"
RATES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
CLASSES, EACH = 200, 10
ARCHIVES = {
    "Omniglot, alphabets of the training": "images_background",
    "Omniglot, other alphabets": "images_evaluation",
    "photographs of hands that sign digits": "sign-digits",
}
CHOSEN_ON = next(iter(ARCHIVES))


def archived(archive: str) -> tuple[list[Image.Image], list[str]]:
    """Ten images of each of 200 classes, or of as many as there are, and their classes."""
    with zipfile.ZipFile(data_root() / f"{archive}.zip") as z:
        names = sorted(n for n in z.namelist() if n.lower().endswith((".png", ".jpg")))
        of: dict[str, list[str]] = {}
        for name in names:
            of.setdefault(name.rsplit("/", 1)[0], []).append(name)
        classes = list(of)[:: max(1, len(of) // CLASSES)][:CLASSES]
        kept = [name for c in classes for name in of[c][:EACH]]
        images = [Image.open(io.BytesIO(z.read(name))).convert("RGB") for name in kept]
    return images, [name.rsplit("/", 1)[0] for name in kept]


def printed() -> tuple[list[Image.Image], list[str]]:
    """Characters of fonts that the encoder has not seen."""
    test = Glyphs().split("test")
    labels = test.index.labels
    rows = np.concatenate([np.flatnonzero(labels == c)[:EACH] for c in np.unique(labels)])
    return [Image.fromarray(255 - np.asarray(test.x[int(r), 0])) for r in rows], [
        str(c) for c in labels[rows]
    ]


def different(images: list[Image.Image], labels: list[str]) -> Float[NDArray[np.float64], " n"]:
    """The cosines of all pairs of images of two classes."""
    encoder = open_encoder("symbols")
    parts = [encoder.encode(images[i : i + 64]) for i in range(0, len(images), 64)]
    x = np.concatenate(parts).astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.unique(labels, return_inverse=True)[1]
    i, j = np.triu_indices(len(x), 1)
    return (x @ x.T)[i, j][y[i] != y[j]]


def rows() -> list[str]:
    """The table, from the file."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    lines = [
        "| drawings | comparisons | " + " | ".join(f"{100 * r:g} %" for r in RATES) + " |",
        "|---" * (2 + len(RATES)) + "|",
    ]
    for name, row in found["data"].items():
        shares = " | ".join(f"{100 * s:.3g} %" for s in row["above"])
        lines.append(f"| {name} | {row['comparisons']:,} | {shares} |")
    return [
        *lines,
        "",
        f"Share of the comparisons of two different ones, of at most {CLASSES} classes with "
        f"{EACH} images each, that exceed the thresholds which this share exceeds in the first "
        "row.",
    ]


def main() -> None:
    """Measure and write."""
    data = {name: archived(archive) for name, archive in ARCHIVES.items()}
    data["printed characters of other fonts"] = printed()
    found: dict[str, object] = {"commit": commit(), "versions": versions(), "rates": RATES}
    measured = {name: different(*given) for name, given in data.items()}
    thresholds = np.quantile(measured[CHOSEN_ON], 1 - np.asarray(RATES))
    found["thresholds"] = thresholds.round(4).tolist()
    found["data"] = {
        name: {
            "classes": len(set(data[name][1])),
            "comparisons": len(cosines),
            "above": [float((cosines > t).mean()) for t in thresholds],
        }
        for name, cosines in measured.items()
    }
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(rows()))


if __name__ == "__main__":
    main()
