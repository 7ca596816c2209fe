"""Strangers at the door and defects on steel: what the estimators do with pictures their encoder has never seen the like of.

quickstudy train mini-imagenet-protonet --set train.steps=500
quickstudy train omniglot-protonet --set train.steps=600
python benchmarks/own_images.py --photos runs/mini-imagenet-protonet --drawings runs/omniglot-protonet

Writes benchmarks/own_images.json and docs/own_images.png.
"""

import argparse
import io
import json
import time
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binom

from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.core.errors import ConfigError
from quickstudy.data import Omniglot
from quickstudy.data.places import data_root
from quickstudy.estimator import FewShotClassifier, ImageEncoder, OpenSetClassifier
from quickstudy.evaluation import commit, versions
from quickstudy.functional.intervals import mean_ci95
from quickstudy.functional.verification import identification_rates

ROOT = Path(__file__).parent.parent
DRAWS, RATES = 200, (0.01, 0.05, 0.1)
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


def strangers(x: Vectors, y: NDArray[np.int64], *, enrolled: int, apart: int, cohort: int, draws: int) -> dict[str, object]:
    """Over random draws of who is enrolled (two pictures each), who is a stranger, and, for the cohort rule, who is the cohort."""
    found: dict[str, object] = {"enrolled": enrolled, "strangers": apart, "cohort": cohort, "draws": draws}
    accepted = {rate: [] for rate in RATES}
    missed, first, asked = {rate: [] for rate in RATES}, [], 0
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        people = rng.permutation(y.max() + 1)[: enrolled + apart + cohort]
        known, unknown, others = np.split(people, [enrolled, enrolled + apart])
        rows = {int(p): rng.permutation(np.flatnonzero(y == p)) for p in people}
        train = np.concatenate([rows[int(p)][:2] for p in known])
        probes = np.concatenate([rows[int(p)][2:] for p in known])
        # One picture of each stranger: pictures of one person are not independent of each other.
        intruders = np.asarray([rows[int(p)][0] for p in unknown])
        aside = x[np.asarray([rows[int(p)][0] for p in others])] if cohort else None
        asked += len(intruders)
        model = OpenSetClassifier(FewShotClassifier(), false_accept_rate=0.5).fit(x[train], y[train], cohort=aside)
        scores = model.estimator_.class_scores(np.r_[x[probes], x[intruders]])
        mate = np.r_[np.searchsorted(model.classes_, y[probes]), np.full(len(intruders), -1)]
        first.append(float((scores[: len(probes)].argmax(1) == mate[: len(probes)]).mean()))
        for rate in RATES:
            try:
                model.calibrate(rate)
            except ConfigError:
                continue
            accepted[rate].append(int((model.predict(x[intruders]) != "unknown").sum()))
            missed[rate].append(identification_rates(scores, mate, fpir=rate)[0])
    found["rank_1"] = mean_ci95(first)
    found["rates"] = {}
    for rate in RATES:
        if not accepted[rate]:
            found["rates"][str(rate)] = None  # too few strangers to choose the threshold by
            continue
        low, high = binom.interval(0.95, asked, rate)
        share = sum(accepted[rate]) / asked
        found["rates"][str(rate)] = {"accepted": share, "interval": [low / asked, high / asked], "fnir": mean_ci95(missed[rate])}
    return found


def defects(x: Vectors, y: NDArray[np.int64]) -> dict[str, dict[str, tuple[float, float]]]:
    """Accuracy on the other pictures, by head and number of pictures per class."""
    out: dict[str, dict[str, tuple[float, float]]] = {}
    for head in ("prototype", "cosine", "ridge", "logistic"):
        out[head] = {}
        for shots in (1, 2, 5, 10):
            scores = []
            for draw in range(DRAWS):
                rng = np.random.default_rng(draw)
                train = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:shots] for c in range(y.max() + 1)])
                rest = np.setdiff1d(np.arange(len(y)), train)
                scores.append(FewShotClassifier(head).fit(x[train], y[train]).score(x[rest], y[rest]))
            out[head][str(shots)] = mean_ci95(scores)
            print(head, shots, out[head][str(shots)], flush=True)
    return out


def main() -> None:
    """Encode, draw, score, write, draw the picture."""
    parser = argparse.ArgumentParser(description="Strangers and defects.")
    parser.add_argument("--photos", type=Path, required=True, help="a run trained on photographs")
    parser.add_argument("--drawings", type=Path, required=True, help="a run trained on Omniglot")
    asked, began = parser.parse_args(), time.perf_counter()
    photos, drawings = ImageEncoder(asked.photos).fit(), ImageEncoder(asked.drawings).fit()
    out: dict[str, object] = {"commit": commit(), "versions": versions(), "photos": photos.key_, "drawings": drawings.key_}
    images, y, _ = pictures("orl-faces")
    faces = photos.transform(images).astype(np.float64)
    out["faces, leave one class out"] = strangers(faces, y, enrolled=30, apart=10, cohort=0, draws=DRAWS)
    test = Omniglot(rotations=True).split("test")
    rows = np.concatenate([test.index.rows_of(c)[:6] for c in range(len(test.index))])
    marks = drawings.transform([Image.fromarray(255 - np.asarray(test.x[int(r), 0])) for r in rows]).astype(np.float64)
    of = np.repeat(np.arange(len(test.index)), 6)
    out["characters, cohort"] = strangers(marks, of, enrolled=1000, apart=300, cohort=392, draws=DRAWS // 10)
    out["characters, leave one class out"] = strangers(marks, of, enrolled=1000, apart=692, cohort=0, draws=4)
    images, y, _ = pictures("neu-steel-defects")
    out["steel"] = defects(photos.transform(images).astype(np.float64), y)
    out["seconds"] = time.perf_counter() - began
    (ROOT / "benchmarks" / "own_images.json").write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    figure = new_figure(6.5, 4.2)
    axes = figure.subplots()
    for head, of_shots in out["steel"].items():
        shots = [int(s) for s in of_shots]
        axes.errorbar(
            shots, [100 * m for m, _ in of_shots.values()], [100 * h for _, h in of_shots.values()], label=head, marker="o", capsize=3
        )
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10], labels=["1", "2", "5", "10"])
    axes.set_xlabel("pictures per class")
    axes.set_ylabel("accuracy in %, mean of 200 draws")
    axes.set_title("Six kinds of defects on steel")
    axes.legend(frameon=False)
    save_figure(figure, ROOT / "docs" / "own_images.png")


if __name__ == "__main__":
    main()
