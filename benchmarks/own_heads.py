"""Every head, the one that the examples prefer, and scikit-learn on the same vectors.

python benchmarks/own_heads.py --encoder symbols --draws 200

Draws so many examples per class of data that the encoder was not trained on, fits every head, and
asks about up to ten others of each class. Vectors are kept in a folder, and the results in
benchmarks/own_heads.json: a later call adds what is missing, or replaces what had fewer draws. The
heads that "auto" tries, and their order, were chosen on steel, glyphs and faces by "symbols" and
"photographs", with other draws, and of tables on glass, haberman, ionosphere, pima-diabetes and
wine, which are left out unless they are named; columns are standardised by the examples.
"""

import argparse
import io
import json
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from quickstudy.core.arrays import NDArray
from quickstudy.data import Glyphs
from quickstudy.data.locations import data_root
from quickstudy.estimators import FewShotClassifier
from quickstudy.evaluation import commit, versions
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.pretrained import open_encoder

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "own_heads.json"
SHOTS = (1, 2, 5, 20)
QUERIES = 10  # of each class, at most
# Name: archive, classes per draw, classes of the archive that are used (0 = all).
ARCHIVES = {
    "steel": ("neu-steel-defects", 6, 0),
    "sign-digits": ("sign-digits", 10, 0),
    "faces": ("orl-faces", 40, 0),
    "Omniglot": ("images_evaluation", 20, 110),
}
HEADS = ("prototype", "cosine", "ridge", "logistic", "gaussian", "auto")
TABLES = ("banknote", "ecoli", "german-credit", "iris")
RIVALS = (
    "scikit-learn: logistic regression, standardised",
    "scikit-learn: nearest centroid",
)
Vectors = tuple[NDArray[np.float64], NDArray[np.int64]]


def images(name: str) -> tuple[list[Image.Image], NDArray[np.int64]]:
    """The pictures of a data set and their classes."""
    if name == "glyphs":
        test = Glyphs().split("test")
        drawn = [Image.fromarray(255 - np.asarray(x[0])) for x in test.x]
        return drawn, test.index.labels
    archive, _, most = ARCHIVES[name]
    with zipfile.ZipFile(data_root() / f"{archive}.zip") as z:
        files = sorted(n for n in z.namelist() if n.lower().endswith((".png", ".jpg", ".jpeg")))
        classes = sorted({n.rsplit("/", 1)[0] for n in files})
        if most:
            classes = classes[:: len(classes) // most][:most]
        files = [n for n in files if n.rsplit("/", 1)[0] in set(classes)]
        opened = [Image.open(io.BytesIO(z.read(n))).convert("RGB") for n in files]
    return opened, np.asarray([classes.index(n.rsplit("/", 1)[0]) for n in files])


def encoded(name: str, encoder: str, folder: Path) -> Vectors:
    """The vectors of a data set, kept in a folder; "pixels" are 28×28 grey values."""
    file = folder / f"{name}-{encoder}.npz"
    if not file.exists():
        pictures, y = images(name)
        if encoder == "pixels":
            small = [i.convert("L").resize((28, 28)) for i in pictures]
            x = np.stack([np.asarray(i, dtype=np.float64).ravel() / 255 for i in small])
        else:
            opened = open_encoder(encoder)
            x = np.concatenate(
                [opened.encode(pictures[i : i + 64]) for i in range(0, len(pictures), 64)]
            )
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(file, x=x.astype(np.float64), y=y)
    with np.load(file) as kept:
        return kept["x"], kept["y"]


def tables() -> dict[str, Vectors]:
    """Tables of numbers: rows without missing values, columns of numbers only."""
    out: dict[str, Vectors] = {}
    with zipfile.ZipFile(data_root() / "tables.zip") as z:
        index = z.read("tables/index.csv").decode().split()[1:]
        for name in [line.split(",")[0] for line in index if ",classification," in line]:
            lines = z.read(f"tables/{name}.csv").decode().splitlines()
            rows = [line.split(",") for line in lines[1:] if line]
            whole = [r for r in rows if "" not in r]
            columns = [c for c in range(len(rows[0]) - 1) if all(_is_number(r[c]) for r in whole)]
            if len(whole) < 100 or len(columns) < 2:
                continue
            x = np.asarray([[float(r[c]) for c in columns] for r in whole])
            out[name] = x, np.unique([r[-1] for r in whole], return_inverse=True)[1]
    return out


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def drawn(
    y: NDArray[np.int64], *, ways: int, shots: int, draw: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from, their classes, rows to ask about, and theirs."""
    rng = np.random.default_rng((draw, shots))
    usable = np.flatnonzero(np.bincount(y) >= shots + 5)
    classes = rng.permutation(usable)[:ways]
    rows = [rng.permutation(np.flatnonzero(y == c)) for c in classes]
    asked = [r[shots : shots + QUERIES] for r in rows]
    return (
        np.concatenate([r[:shots] for r in rows]),
        np.repeat(np.arange(len(rows)), shots),
        np.concatenate(asked),
        np.concatenate([np.full(len(r), c) for c, r in enumerate(asked)]),
    )


def add_missing(
    file: Path,
    rows: Mapping[str, Callable[[], dict[str, Any]]],
    *,
    draws: int,
    again: bool = False,
) -> None:
    """Measure the rows that a results file lacks or has of fewer draws, and write it after each.

    Args:
        file: of JSON, with `rows` by key.
        rows: what measures each row.
        draws: how many each is measured with.
        again: also measure rows that are there.
    """
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"rows": {}}
    for key, measure in rows.items():
        if results["rows"].get(key, {}).get("draws", 0) >= draws and not again:
            continue
        row = {"draws": draws, **measure(), "commit": commit()}
        results["rows"][key] = row
        results["versions"] = versions()
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(key, row, flush=True)


def methods(is_table: bool) -> dict[str, Any]:
    """What is compared. Of tables the columns are standardised and vectors keep their length. Head
    "auto" gets the scaling that `fit_folder` and `fit_table` give it.
    """
    scaling = {"scaling": "standardise"} if is_table else {}
    of_auto = scaling or {"scaling": "centre"}
    metric = {"metric": "euclidean"} if is_table else {}
    ours = {
        head: FewShotClassifier(head, **(of_auto if head == "auto" else scaling | metric))
        for head in (*HEADS, *(("in-context",) if is_table else ()))
    }
    return {
        **ours,
        RIVALS[0]: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        RIVALS[1]: NearestCentroid(),
    }


def scored(
    x: NDArray[np.float64],
    y: NDArray[np.int64],
    *,
    ways: int,
    shots: int,
    draws: int,
    is_table: bool,
) -> dict[str, Any]:
    """Accuracies over the draws, what "auto" took, and how far it is from the best head."""
    accuracies: dict[str, list[float]] = {name: [] for name in methods(is_table)}
    taken: dict[str, int] = {}
    for draw in range(draws):
        train, labels, test, truth = drawn(y, ways=ways, shots=shots, draw=draw)
        seen, unseen = x[train], x[test]
        if is_table:
            scaler = StandardScaler().fit(seen)
            seen, unseen = scaler.transform(seen), scaler.transform(unseen)
        for name, model in methods(is_table).items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(seen, labels)
            accuracies[name].append(float((model.predict(unseen) == truth).mean()))
            if name == "auto":
                chosen = str(model.head_comparison_.choice)
                taken[chosen] = taken.get(chosen, 0) + 1
    means = {name: mean_ci95(values) for name, values in accuracies.items()}
    best = max((n for n in means if n not in ("auto", *RIVALS)), key=lambda n: means[n][0])
    gap = np.subtract(accuracies["auto"], accuracies[best])
    rival = np.subtract(accuracies["auto"], accuracies[RIVALS[0]])
    return {
        "ways": ways,
        "draws": draws,
        "accuracy": means,
        "taken": taken,
        "best_head": best,
        "auto_less_best": mean_ci95(gap.tolist()),
        "auto_less_scikit_learn": mean_ci95(rival.tolist()),
        "commit": commit(),
    }


def rows() -> list[str]:
    """The table, from the file."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    short = {
        "scikit-learn: logistic regression, standardised": "scikit-learn, logistic",
        "scikit-learn: nearest centroid": "scikit-learn, centroid",
    }
    names = [*HEADS, "in-context", *short]
    shown = [short.get(n, f"`{n}`") for n in names]
    out = [
        f"| vectors | data | shots | {' | '.join(shown)} | `auto` − best | draws |",
        "|---" * (5 + len(names)) + "|",
    ]
    for key, row in sorted(found["rows"].items()):
        encoder, data, shots = key.split(" / ")
        accuracy = row["accuracy"]
        cells = [f"{100 * accuracy[n][0]:.1f}" if n in accuracy else "" for n in names]
        mean, half = row["auto_less_best"]
        out.append(
            f"| {encoder} | {data}, {row['ways']} classes | {shots} | {' | '.join(cells)} | "
            f"{100 * mean:+.1f} ± {100 * half:.1f} | {row['draws']} |"
        )
    gaps = np.asarray([r["auto_less_scikit_learn"][0] for r in found["rows"].values()])
    return [
        *out,
        "",
        f"`auto` less scikit-learn's standardised logistic regression: {100 * gaps.mean():+.1f} "
        f"points on average over the {len(gaps)} rows. "
        f"{said_of_gaps({k: r['auto_less_best'] for k, r in sorted(found['rows'].items())})}",
    ]


def said_of_gaps(gaps: dict[str, list[float]]) -> str:
    """Where head "auto" is more than 2 points behind the best single head, and whether chance may
    have done it: the best of several means of the same draws is too high by itself.

    Args:
        gaps: of each row the mean difference and half of its 95 % interval.
    """
    behind = [key for key, (mean, _) in gaps.items() if mean < -0.02]
    surely = [key for key in behind if sum(gaps[key]) < -0.02]
    text = (
        "More than 2 points behind the head that turned out the best: "
        f"{', '.join(behind) if behind else 'nowhere'}."
    )
    if not behind:
        return text
    return (
        f"{text} Of these the whole 95 % interval of the difference is beyond 2 points in "
        f"{', '.join(surely) if surely else 'none'}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", nargs="*", default=["symbols"], help="or pixels, tables")
    parser.add_argument("--data", nargs="*", default=[])
    parser.add_argument("--shots", nargs="*", type=int, default=SHOTS)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--vectors", type=Path, default=ROOT / "runs" / "own_heads")
    args = parser.parse_args()
    for encoder in args.encoder:
        is_table = encoder == "tables"
        names = args.data or (TABLES if is_table else [*ARCHIVES, "glyphs"])
        data = tables() if is_table else dict.fromkeys(names)
        for name, given in data.items():
            if name not in names:
                continue
            x, y = encoded(name, encoder, args.vectors) if given is None else given
            for shots in args.shots:
                _measure(f"{encoder} / {name} / {shots}", x, y, shots=shots, draws=args.draws)


def _measure(
    key: str, x: NDArray[np.float64], y: NDArray[np.int64], *, shots: int, draws: int
) -> None:
    """Score one row of the table, and keep it, unless there is one of as many draws."""
    encoder, name, _ = key.split(" / ")
    most = ARCHIVES[name][1] if name in ARCHIVES else 20
    ways = min(most, int((np.bincount(y) >= shots + 5).sum()))
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"rows": {}}
    if ways < 2 or found["rows"].get(key, {}).get("draws", 0) >= draws:
        return
    began = time.process_time()
    row = scored(x, y, ways=ways, shots=shots, draws=draws, is_table=encoder == "tables")
    row["seconds"] = round(time.process_time() - began)
    # Another process may have written meanwhile.
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"rows": {}}
    found["rows"][key] = row
    found["versions"] = versions()
    FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shown = {n: round(100 * a[0], 1) for n, a in row["accuracy"].items()}
    print(key, shown, row["best_head"], row["auto_less_best"], row["taken"], flush=True)


if __name__ == "__main__":
    main()
