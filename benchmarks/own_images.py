"""Impostors at the door and defects on steel: what the estimators do with pictures their encoder
has never seen the like of.

quickstudy train mini-imagenet-protonet
python benchmarks/own_images.py --photos runs/mini-imagenet-protonet

Writes benchmarks/own_images.json and docs/images/own_images.png.
"""

import argparse
import io
import json
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import binom

from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.data import Omniglot
from quickstudy.data.locations import data_root
from quickstudy.estimators import FewShotClassifier, ImageEncoder, OpenSetClassifier
from quickstudy.evaluation import commit, versions
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.metrics.verification import identification_rates

ROOT = Path(__file__).parent.parent
DRAWS, RATES, SHOTS = 200, (0.01, 0.05, 0.1), (1, 2, 5, 10)
Vectors = NDArray[np.float64]


def pictures(archive: str) -> tuple[list[Image.Image], NDArray[np.int64], list[str]]:
    """The pictures of a zip with one folder per class, their classes, and the names of these."""
    images, labels = [], []
    with zipfile.ZipFile(data_root() / f"{archive}.zip") as z:
        for entry in sorted(n for n in z.namelist() if n.endswith((".png", ".jpg"))):
            images.append(Image.open(io.BytesIO(z.read(entry))).convert("RGB"))
            labels.append(entry.split("/")[-2])
    names = sorted(set(labels))
    return images, np.asarray([names.index(label) for label in labels]), names


def impostor_rates(
    x: Vectors,
    y: NDArray[np.int64],
    *,
    enrolled: int,
    apart: int,
    cohort: int,
    cohort_photos: int = 1,
    singly: bool = False,
    draws: int = DRAWS,
) -> dict[str, object]:
    """Over random draws of who is enrolled (two pictures each), who is an impostor, and, for the
    cohort rule, who is the cohort.
    """
    found: dict[str, object] = {
        "enrolled": enrolled,
        "impostors": apart,
        "cohort": cohort,
        "cohort_photos": cohort_photos,
        "draws": draws,
    }
    accepted = {rate: [] for rate in RATES}
    missed, first = {rate: [] for rate in RATES}, []
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        people = rng.permutation(y.max() + 1)[: enrolled + apart + cohort]
        known, unknown, others = np.split(people, [enrolled, enrolled + apart])
        rows = {int(p): rng.permutation(np.flatnonzero(y == p)) for p in people}
        train = np.concatenate([rows[int(p)][:2] for p in known])
        probes = np.concatenate([rows[int(p)][2:] for p in known])
        # One picture of each impostor: pictures of one person are not independent of each other.
        intruders = np.asarray([rows[int(p)][0] for p in unknown])
        aside = np.concatenate([rows[int(p)][:cohort_photos] for p in others]) if cohort else None
        model = OpenSetClassifier(FewShotClassifier(), false_accept_rate=0.5)
        model.fit(
            x[train],
            y[train],
            cohort=None if aside is None else x[aside],
            cohort_groups=None if aside is None or singly else y[aside],
        )
        scores = model.estimator_.class_scores(np.r_[x[probes], x[intruders]])
        mate = np.r_[np.searchsorted(model.classes_, y[probes]), np.full(len(intruders), -1)]
        first.append(float((scores[: len(probes)].argmax(1) == mate[: len(probes)]).mean()))
        for rate in RATES:
            try:
                model.calibrate(rate)
            except ConfigError:
                continue
            accepted[rate].append(float((model.membership(x[intruders]) > model.threshold_).mean()))
            missed[rate].append(identification_rates(scores, mate, fpir=rate)[0])
    found["rank_1"] = mean_ci95(first)
    found["rates"] = {}
    for rate in RATES:
        if not accepted[rate]:
            found["rates"][str(rate)] = None  # too few of them to choose the threshold by
            continue
        low, high = binom.interval(0.95, apart * draws, rate)
        found["rates"][str(rate)] = {
            "accepted": mean_ci95(accepted[rate]),
            "interval": [low / (apart * draws), high / (apart * draws)],
            "fnir": mean_ci95(missed[rate]),
        }
    print(found, flush=True)
    return found


def defects(x: Vectors, y: NDArray[np.int64]) -> dict[str, dict[str, tuple[float, float]]]:
    """Accuracy on the other pictures, by head and number of pictures per class."""
    out: dict[str, dict[str, tuple[float, float]]] = {}
    for head in ("prototype", "cosine", "ridge", "logistic"):
        out[head] = {}
        for shots in SHOTS:
            scores = []
            for draw in range(DRAWS):
                rng = np.random.default_rng(draw)
                train = np.concatenate(
                    [rng.permutation(np.flatnonzero(y == c))[:shots] for c in range(y.max() + 1)]
                )
                rest = np.setdiff1d(np.arange(len(y)), train)
                scores.append(
                    FewShotClassifier(head).fit(x[train], y[train]).score(x[rest], y[rest])
                )
            out[head][str(shots)] = mean_ci95(scores)
            print(head, shots, out[head][str(shots)], flush=True)
    return out


def pixels(images: list[Image.Image]) -> Vectors:
    """The baseline: a small grey picture, without its mean."""
    x = np.stack(
        [np.asarray(i.convert("L").resize((28, 28)), dtype=np.float64).ravel() for i in images]
    )
    return x - x.mean(1, keepdims=True)


def main() -> None:
    """Encode, draw, score, write, draw the picture."""
    parser = argparse.ArgumentParser(description="Impostors and defects.")
    parser.add_argument("--photos", type=Path, required=True, help="a run trained on photographs")
    asked, began = parser.parse_args(), time.perf_counter()
    photos, drawings = ImageEncoder(asked.photos).fit(), ImageEncoder("symbols").fit()
    out: dict[str, object] = {
        "commit": commit(),
        "versions": versions(),
        "photos": photos.key_,
        "drawings": drawings.key_,
    }
    images, y, _ = pictures("orl-faces")
    faces = photos.transform(images).astype(np.float64)
    out["faces, leave one class out"] = impostor_rates(faces, y, enrolled=30, apart=10, cohort=0)
    # All 40 people are used: those of the cohort are taken from the enrolled. Ten people are ten
    # impostors, however many photos there are of them.
    out["faces, cohort"] = impostor_rates(
        faces, y, enrolled=20, apart=10, cohort=10, cohort_photos=10
    )
    out["faces, cohort, every photo counted as an impostor"] = impostor_rates(
        faces, y, enrolled=20, apart=10, cohort=10, cohort_photos=10, singly=True
    )
    test = Omniglot(rotations=True).split("test")
    rows = np.concatenate([test.index.rows_of(c)[:6] for c in range(len(test.index))])
    marks = drawings.transform(
        [Image.fromarray(255 - np.asarray(test.x[int(r), 0])) for r in rows]
    ).astype(np.float64)
    of = np.repeat(np.arange(len(test.index)), 6)
    # With 399 in the cohort a rate of 1, 5 and 10 % is a whole number of them, so nothing is lost
    # to rounding.
    out["characters, cohort"] = impostor_rates(marks, of, enrolled=1000, apart=293, cohort=399)
    out["characters, leave one class out"] = impostor_rates(
        marks, of, enrolled=1000, apart=692, cohort=0
    )
    images, y, _ = pictures("neu-steel-defects")
    encoded = {
        "photographs": photos.transform(images).astype(np.float64),
        "symbols": drawings.transform(images).astype(np.float64),
    }
    out["steel"] = {
        name: defects(x, y) for name, x in {**encoded, "pixels": pixels(images)}.items()
    }
    out["seconds"] = time.perf_counter() - began
    (ROOT / "benchmarks" / "own_images.json").write_text(
        json.dumps(out, indent=1) + "\n", encoding="utf-8"
    )
    figure = new_figure(9.5, 3.8)
    for axes, (name, by_head) in zip(
        figure.subplots(1, 3, sharey=True), out["steel"].items(), strict=True
    ):
        for head, of_shots in by_head.items():
            means, halves = zip(*of_shots.values(), strict=True)
            axes.errorbar(
                SHOTS,
                [100 * m for m in means],
                [100 * h for h in halves],
                label=head,
                marker="o",
                markersize=4,
                capsize=3,
            )
        axes.axhline(100 / 6, color="grey", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_xticks(SHOTS, labels=[str(s) for s in SHOTS])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("pictures per class")
        axes.set_title(name)
    figure.axes[0].set_ylabel("accuracy in %, mean of 200 draws")
    figure.axes[0].legend(frameon=False)
    figure.suptitle("Six kinds of defects on steel, by encoder (dotted: chance)")
    save_figure(figure, ROOT / "docs" / "images" / "own_images.png")


if __name__ == "__main__":
    main()
