"""Put a trained run of symbols-protonet into the package, and measure what it is good for.

quickstudy train symbols-protonet
python benchmarks/ship_symbols.py runs/symbols-protonet

Writes the weights and the reports into src/quickstudy/pretrained/weights/symbols, and
benchmarks/symbols.json: the encoder beside the bare pixels, on characters and on what it was not
made for. Needs mini-imagenet.zip, orl-faces.zip and neu-steel-defects.zip in the data root.
"""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
from own_images import pictures
from PIL import Image

from quickstudy.core.arrays import NDArray
from quickstudy.data import ClassDataset, MiniImageNet, Omniglot
from quickstudy.estimators import FewShotClassifier
from quickstudy.evaluation import commit, versions
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.pretrained.symbols import SYMBOLS, SymbolEncoder
from quickstudy.recipes import Part, learner_extra, load_run, save_learner

ROOT = Path(__file__).parent.parent
LARGEST = 1_000_000
N_TASKS, N_WAY = 600, 5


def ship(run: Path) -> None:
    """The weights and what is needed to read pictures; of the training only its reports."""
    SYMBOLS.mkdir(exist_ok=True)
    save_learner(load_run(run).learner, SYMBOLS, extra={"image": learner_extra(run)["image"]})
    for report in (run / "reports").glob("*.json"):
        shutil.copyfile(report, SYMBOLS / f"report-symbols-{report.name}")


def score_the_parts(run: Path) -> None:
    """What `quickstudy eval RUN --data …` says of handwritten and of printed characters alone."""
    trained = load_run(run)
    for name in ("omniglot", "glyphs"):
        part = dataclasses.replace(
            trained, recipe=dataclasses.replace(trained.recipe, data=Part(name))
        )
        for evaluation in trained.recipe.evaluations:
            report = part.evaluate(evaluation)
            report.save(SYMBOLS / f"report-{name}-{evaluation.title}.json")
            print(report, flush=True)


def unpacked(
    data: ClassDataset, *, ink: bool = False
) -> tuple[list[Image.Image], NDArray[np.int64], str]:
    """Pictures as a user has them: photographs in colour, drawings in dark ink on light paper;
    their classes; what they are called.
    """
    x = data.x.numpy()
    return (
        [Image.fromarray(255 - p[0] if ink else p.transpose(1, 2, 0)) for p in x],
        data.index.labels,
        f"{data.name} {data.split}",
    )


def accuracy(
    x: NDArray[np.float32], y: NDArray[np.int64], *, n_shot: int, n_query: int
) -> tuple[float, float]:
    """Mean and 95 % half-width over random tasks, the same for every encoder."""
    scores = []
    for task in range(N_TASKS):
        rng = np.random.default_rng(task)
        classes = rng.choice(y.max() + 1, N_WAY, replace=False)
        rows = np.stack(
            [rng.choice(np.flatnonzero(y == c), n_shot + n_query, replace=False) for c in classes]
        )
        known, asked = rows[:, :n_shot].ravel(), rows[:, n_shot:].ravel()
        scores.append(FewShotClassifier().fit(x[known], y[known]).score(x[asked], y[asked]))
    return mean_ci95(scores)


def beside_pixels(
    images: list[Image.Image], y: NDArray[np.int64], *, n_query: int
) -> dict[str, object]:
    """The encoder, and what it sees: a grey picture of 28×28 without its mean."""
    encoder = SymbolEncoder()
    encoded = np.concatenate(
        [encoder.encode(images[at : at + 256]) for at in range(0, len(images), 256)]
    )
    small = np.stack([encoder.format.convert(i).numpy().ravel() for i in images]).astype(np.float32)
    vectors = {"symbols": encoded, "pixels": small - small.mean(1, keepdims=True)}
    found = {
        f"{k}-shot": {
            name: accuracy(x, y, n_shot=k, n_query=n_query) for name, x in vectors.items()
        }
        for k in (1, 5)
    }
    return {"n_query": n_query, "chance": 1 / N_WAY, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description="Ship the encoder of symbols.")
    parser.add_argument("run", type=Path, help="a run of symbols-protonet")
    parser.add_argument("--copy-only", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    ship(asked.run)
    if not asked.copy_only:
        score_the_parts(asked.run)
        measured: dict[str, object] = {
            "commit": commit(),
            "versions": versions(),
            "n_way": N_WAY,
            "n_tasks": N_TASKS,
        }
        measured["key"] = SymbolEncoder().key
        sets = [
            unpacked(Omniglot(rotations=False).split("test"), ink=True),
            unpacked(MiniImageNet().split("test")),
        ]
        sets += [
            (*pictures(archive)[:2], archive) for archive in ("orl-faces", "neu-steel-defects")
        ]
        for images, y, name in sets:
            # Of each face there are ten pictures.
            measured[name] = beside_pixels(
                images, y, n_query=min(15, int(np.bincount(y).min()) - 5)
            )
            print(name, measured[name], flush=True)
        (ROOT / "benchmarks" / "symbols.json").write_text(
            json.dumps(measured, indent=1) + "\n", encoding="utf-8"
        )
    size = sum(file.stat().st_size for file in SYMBOLS.iterdir())
    print(f"{SYMBOLS}: {size:,} bytes")
    if size > LARGEST:
        raise SystemExit(f"The encoder of the package may have {LARGEST:,} bytes at most.")


if __name__ == "__main__":
    main()
