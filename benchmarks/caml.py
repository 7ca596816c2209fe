"""CAML and CAMeLU beside prototypes and the head "auto", all on the same features of a frozen
encoder.

python benchmarks/caml.py encode --encoder symbols    vectors of Omniglot, steel and sign digits
python benchmarks/caml.py train --encoder symbols     both, on Omniglot; goes on where it stopped
python benchmarks/caml.py score --encoder symbols     writes benchmarks/caml.json
python benchmarks/table.py                            writes its table into docs/methods/caml.md

CAML is trained on characters of Omniglot with their labels, CAMeLU on drawings of the same
characters without: each drawing is a class, changed views its support, and further views mixed with
other drawings its queries. No picture is in the loop: drawings, views and mixtures are encoded
once. Scored are characters that neither has seen, and data of another kind. `symbols` has seen the
training characters, and none of the test characters.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from quickstudy import Classes, Episode, Examples, Optimiser, Plan, Setting, train
from quickstudy.algorithms import CAML
from quickstudy.augment import MixedViews
from quickstudy.core.arrays import NDArray
from quickstudy.core.rng import generator, uniform, words
from quickstudy.core.tasks import AbstractTasks
from quickstudy.data import Omniglot
from quickstudy.data.locations import cache_folder
from quickstudy.encoders import Identity
from quickstudy.estimators import FewShotClassifier
from quickstudy.evaluation import commit, versions
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.pretrained import open_encoder

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import own_heads  # noqa: E402

FILE = ROOT / "benchmarks" / "caml.json"
# Encoder: training characters, drawings of each, drawings that views are made of, test characters.
SIZES = {"symbols": (1028, 10, 2000, 200), "photographs": (200, 6, 300, 60)}
STEPS = {"symbols": 600, "photographs": 400}
OPTIONS: dict[str, dict[str, Any]] = {
    "symbols": {},
    "photographs": {"width": 96},
}
VIEWS = 3
"""Plain views of a drawing, and as many mixed ones."""
TASKS_PER_STEP = 2
WAYS, SHOTS = (5, 10, 20), (1, 2, 5)
DATA = {"Omniglot": 20, "steel": 6, "sign-digits": 10}
LEARNERS = ("CAML", "CAMeLU")
RIVALS = ("prototype", "auto")


class FeatureTasks(AbstractTasks):
    """Tasks of vectors ``[classes, examples, D]``: ways and shots are drawn for every block of so
    many tasks.

    Args:
        support, query: the vectors of each class; None = queries are other examples of the same.
    """

    def __init__(self, support: NDArray[np.float32], query: NDArray[np.float32] | None) -> None:
        self.support = support
        self.query = query
        self.data = "features"
        self.split = "train"
        self.split_hash = f"{support.shape}"
        self.seed = 0
        self.uniform = False
        self.block = TASKS_PER_STEP
        self.setting = Setting(max(WAYS), max(SHOTS), 1)

    def batch(self, numbers: Any) -> Episode:
        block = int(numbers[0]) // self.block
        u = uniform(2, "caml", "size", block)
        ways, shots = WAYS[int(u[0] * len(WAYS))], SHOTS[int(u[1] * len(SHOTS))]
        shots = min(shots, self.support.shape[1] - (self.query is None))
        tasks = [self._task(int(i), ways, shots) for i in numbers]
        support, query = (
            Examples(torch.stack([t[k] for t in tasks]), torch.stack([t[k + 1] for t in tasks]))
            for k in (0, 2)
        )
        return Episode(support, query, Classes(ways))

    def _task(self, number: int, ways: int, shots: int) -> tuple[torch.Tensor, ...]:
        rng = np.random.default_rng(int(words(1, "caml", "task", number)[0]))
        classes = rng.choice(len(self.support), ways, replace=False)
        rows = rng.random((ways, self.support.shape[1])).argsort(1)
        x = self.support[classes[:, None], rows[:, :shots]]
        if self.query is None:
            asked = self.support[classes, rows[:, shots]]
        else:
            asked = self.query[classes, rng.integers(self.query.shape[1], size=ways)]
        y = np.repeat(np.arange(ways), shots)
        parts = (x.reshape(ways * shots, -1), y, asked, np.arange(ways))
        return tuple(torch.from_numpy(part) for part in parts)


def vectors(encoder: str, name: str, folder: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Vectors and classes of a data set; made once, in pieces, and kept."""
    file = folder / f"{encoder}-{name}.npz"
    if not file.exists():
        images, y = pictures(encoder, name)
        x = encode(encoder, images, folder / f"{encoder}-{name}")
        np.savez(file, x=x, y=y)
    with np.load(file) as kept:
        return kept["x"], kept["y"]


def encode(encoder: str, images: list[Image.Image], parts: Path) -> Float[NDArray[Any], "M D"]:
    """The vectors of pictures, 512 at a time, so that a stopped run loses little."""
    parts.mkdir(parents=True, exist_ok=True)
    opened, out = open_encoder(encoder), []
    for at in range(0, len(images), 512):
        part = parts / f"{at}.npy"
        if not part.exists():
            np.save(part, opened.encode(images[at : at + 512]).astype(np.float32))
            print(f"{parts.name}: {min(at + 512, len(images))} of {len(images)}", flush=True)
        out.append(np.load(part))
    return np.concatenate(out)


def pictures(encoder: str, name: str) -> tuple[list[Image.Image], NDArray[np.int64]]:
    """The pictures of a data set, and their classes."""
    if name in ("steel", "sign-digits"):
        return own_heads.images(name)
    characters, drawings, of_views, tests = SIZES[encoder]
    split = Omniglot(rotations=False).split("test" if name == "test" else "train")
    by_class = [np.flatnonzero(split.index.labels == c) for c in range(len(split.index))]
    if name == "test":
        rows = np.concatenate(by_class[:: len(by_class) // tests][:tests])
    else:
        kept = by_class[:: len(by_class) // characters][:characters]
        rows = np.concatenate([r[:drawings] for r in kept])
    x = split.x[torch.from_numpy(rows)].float() / 255
    y = np.unique(split.index.labels[rows], return_inverse=True)[1]
    if name == "views":
        order = np.random.default_rng(0).permutation(len(x))[:of_views]
        x, y = views_of(x[torch.from_numpy(order)])
    inked = (255 * (1 - x[:, 0])).round().byte().numpy()
    return [Image.fromarray(i) for i in inked], y


def views_of(x: torch.Tensor) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """Of each drawing some views, and as many mixed with other drawings; which drawing each is
    of.
    """
    own = torch.arange(len(x))
    other = x[torch.randperm(len(x), generator=generator("caml", "others"))]
    zero = torch.zeros(1, len(x), dtype=torch.long)
    episode = Episode(Examples(x[None], zero), Examples(other[None], zero), Classes(1))
    task = MixedViews(support=VIEWS, queries=VIEWS)(episode, generator("caml", "views"))
    both = torch.stack(
        (
            task.support.x[0].unflatten(0, (VIEWS, len(x))),
            task.query.x[0].unflatten(0, (VIEWS, len(x))),
        )
    )  # [2 V M ...]
    out = both.permute(2, 0, 1, 3, 4, 5).flatten(0, 2)
    return out, own.repeat_interleave(2 * VIEWS).numpy()


def trained(encoder: str, name: str, folder: Path) -> CAML:
    """The learner, trained on vectors of Omniglot; goes on where it was stopped."""
    if name == "CAML":
        x, y = vectors(encoder, "train", folder)
        tasks = FeatureTasks(x.reshape(y.max() + 1, -1, x.shape[1]), None)
    else:
        x, y = vectors(encoder, "views", folder)
        both = x.reshape(y.max() + 1, 2, VIEWS, x.shape[1])
        tasks = FeatureTasks(both[:, 0], both[:, 1])
    torch.manual_seed(0)
    learner = CAML(Identity(x.shape[1]), **OPTIONS[encoder])
    out = folder / f"{encoder}-{name}"
    result = train(
        learner,
        tasks,
        plan=Plan(
            steps=STEPS[encoder],
            tasks_per_step=TASKS_PER_STEP,
            chunk=TASKS_PER_STEP,
            clip_norm=1.0,
            checkpoint_every=50,
            log_every=50,
        ),
        optimiser=Optimiser(lr=2e-3, schedule="one_cycle"),
        out=out,
        resume=(out / "last.pt").exists(),
    )
    if not result.finished:
        raise SystemExit(f"Stopped after {result.steps} steps. Call it again to go on.")
    return learner


def score(encoder: str, *, draws: int, folder: Path) -> None:
    """Every learner on the same draws of every data set."""
    learners = {name: trained(encoder, name, folder) for name in LEARNERS}
    for data, ways in DATA.items():
        x, y = vectors(encoder, "test" if data == "Omniglot" else data, folder)
        for shots in (1, 5):
            key = f"{encoder} / {data} / {shots}"
            if stored()["rows"].get(key, {}).get("draws", 0) >= draws:
                continue
            row = scored(learners, x, y, ways=ways, shots=shots, draws=draws)
            keep(key, row | {"ways": ways, "draws": draws})
            print(key, {n: round(100 * a[0], 1) for n, a in row["accuracy"].items()}, flush=True)


def scored(
    learners: dict[str, CAML],
    x: NDArray[Any],
    y: NDArray[np.int64],
    *,
    ways: int,
    shots: int,
    draws: int,
) -> dict[str, Any]:
    """Accuracies over the draws, paired differences, and processor seconds of a draw."""
    right: dict[str, list[float]] = {name: [] for name in (*learners, *RIVALS)}
    seconds = dict.fromkeys(right, 0.0)
    for draw in range(draws):
        train_rows, labels, test_rows, truth = own_heads.drawn(y, ways=ways, shots=shots, draw=draw)
        seen, unseen = x[train_rows], x[test_rows]
        for name in right:
            began = time.process_time()
            if name in learners:
                support = Examples.single(torch.from_numpy(seen), torch.from_numpy(labels))
                predictor = learners[name].fit(support, Classes(ways))
                answer = predictor(torch.from_numpy(unseen)).argmax(1).numpy()
            else:
                answer = FewShotClassifier(name).fit(seen, labels).predict(unseen)
            seconds[name] += time.process_time() - began
            right[name].append(float((answer == truth).mean()))
    return {
        "accuracy": {name: mean_ci95(values) for name, values in right.items()},
        "less": {
            name: {r: mean_ci95(np.subtract(right[name], right[r]).tolist()) for r in RIVALS}
            for name in learners
        },
        "seconds": {name: round(total / draws, 4) for name, total in seconds.items()},
        "commit": commit(),
    }


def stored() -> dict[str, Any]:
    """What was measured before."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"rows": {}}


def keep(key: str, row: dict[str, Any]) -> None:
    """Add a row to the file."""
    content = stored()
    content["rows"][key] = row
    content["versions"] = versions()
    FILE.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def rows() -> list[str]:
    """The table, from the file."""
    measured = stored()["rows"]
    names = (*LEARNERS, *RIVALS)
    shown = ("CAML", "CAMeLU (no labels)", "`prototype`", "`auto`")
    gaps = [f"{name} − `{r}`" for name in LEARNERS for r in RIVALS]
    out = [
        f"| encoder | data | shots | {' | '.join((*shown, *gaps))} |",
        "|---" * (3 + len(shown) + len(gaps)) + "|",
    ]
    for key, row in measured.items():
        encoder, data, shots = key.split(" / ")
        cells = [f"{100 * row['accuracy'][n][0]:.1f}" for n in names]
        cells += [
            f"{100 * row['less'][n][r][0]:+.1f} ± {100 * row['less'][n][r][1]:.1f}"
            for n in LEARNERS
            for r in RIVALS
        ]
        out.append(f"| {encoder} | {data}, {row['ways']} classes | {shots} | {' | '.join(cells)} |")
    draws = sorted({row["draws"] for row in measured.values()})
    commits = sorted({row["commit"] for row in measured.values()})
    return [
        *out,
        "",
        f"Accuracies in %, {', '.join(map(str, draws))} draws, the same for all; differences with "
        f"95 % intervals, paired by draw. Trained on Omniglot alone; commit {', '.join(commits)}.",
    ]


def main() -> None:
    """Encode, train or score."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("encode", "train", "score"))
    parser.add_argument("--encoder", choices=tuple(SIZES), required=True)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=cache_folder() / "caml")
    given = parser.parse_args()
    if given.what == "encode":
        for name in ("train", "test", "steel", "sign-digits", "views"):
            vectors(given.encoder, name, given.folder)
    elif given.what == "train":
        for name in LEARNERS:
            trained(given.encoder, name, given.folder)
    else:
        score(given.encoder, draws=given.draws, folder=given.folder)


if __name__ == "__main__":
    main()
