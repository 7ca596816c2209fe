"""Whether probabilities are what they say: log loss and expected calibration error (ECE) on new
examples, for every head, with few examples per class.

python benchmarks/calibration.py --draws 40

Five classes are drawn of each data set, and up to ten others of each class are asked about. Three
ways to make probabilities of the same scores are compared: the softmax at the head's usual
temperature, at the temperature with the smallest log loss of the examples left out (temperature
scaling, Guo et al. 2017, arXiv:1706.04599), and what `predict_proba` gives. Writes
benchmarks/calibration.json; a row that was measured with as many draws is kept.
"""

import argparse
import functools
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from quickstudy.core.arrays import NDArray
from quickstudy.estimators import FewShotClassifier

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import own_heads  # noqa: E402

FILE = ROOT / "benchmarks" / "calibration.json"
DATA = (
    ("steel", "photographs"),
    ("sign-digits", "photographs"),
    ("faces", "photographs"),
    ("Omniglot", "symbols"),
    ("glyphs", "symbols"),
)
HEADS = ("prototype", "ridge", "logistic", "gaussian", "auto")
SHOTS = (2, 5)
WAYS = 5
BINS = 10
WAYS_TO = ("usual temperature", "temperature", "predict_proba")
Scores = Float[NDArray[np.float64], "n C"]
Labels = Int[NDArray[np.int64], " n"]


def best_temperature(scores: Scores, labels: Labels, usual: float) -> float:
    """What gives the examples left out the highest likelihood, with nothing to hold it back."""
    known = np.isfinite(scores).all(1)
    gap = scores[known] - scores[known, labels[known]][:, None]
    middle = np.log(usual)
    best: Any = minimize_scalar(
        lambda t: float(logsumexp(gap / np.exp(t), axis=1).mean()),
        bounds=(middle - np.log(100), middle + np.log(100)),
        method="bounded",
    )
    return float(np.exp(best.x))


def softmax(scores: Scores) -> Scores:
    """Probabilities of log odds."""
    return np.exp(scores - logsumexp(scores, axis=1, keepdims=True))


def measured(data: str, encoder: str, shots: int, *, draws: int, folder: Path) -> dict[str, Any]:
    """Log loss and ECE of each head and way, over all answers of all draws."""
    x, y = own_heads.encoded(data, encoder, folder)
    answers: dict[tuple[str, str], list[tuple[Scores, Labels]]] = {
        (head, way): [] for head in HEADS for way in WAYS_TO
    }
    for draw in range(draws):
        train, labels, test, truth = own_heads.drawn(y, ways=WAYS, shots=shots, draw=draw)
        for head in HEADS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scaling = "centre" if head == "auto" else "auto"  # as `fit_folder`
                model = FewShotClassifier(head, scaling=scaling).fit(x[train], labels)
            scores = model.class_scores(x[test])
            usual = model.head_.temperature
            scaled = best_temperature(model.left_out_scores(), model.labels_, usual)
            for way, p in zip(
                WAYS_TO,
                (softmax(scores / usual), softmax(scores / scaled), model.predict_proba(x[test])),
                strict=True,
            ):
                answers[head, way].append((p, truth))
    row: dict[str, Any] = {}
    for (head, way), parts in answers.items():
        p = np.concatenate([p for p, _ in parts])
        truth = np.concatenate([t for _, t in parts])
        row.setdefault(head, {})[way] = numbers(p, truth)
    return row


def numbers(p: Scores, truth: Labels) -> dict[str, float]:
    """Accuracy, log loss, ECE, and how many of the answers that are sure to 99.9 % are wrong."""
    right, sure = p.argmax(1) == truth, p.max(1)
    of = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [
        (of == b).mean() * abs(right[of == b].mean() - sure[of == b].mean())
        for b in range(BINS)
        if (of == b).any()
    ]
    certain = sure > 0.999
    return {
        "accuracy": float(right.mean()),
        "log_loss": float(-np.log(np.maximum(p[np.arange(len(p)), truth], 1e-12)).mean()),
        "ece": float(sum(gaps)),
        "certain_and_wrong": float((certain & ~right).mean()),
    }


def rows() -> list[str]:
    """The table, from the file."""
    found = json.loads(FILE.read_text(encoding="utf-8"))["rows"]
    out = [
        "| data, encoder | shots | head | accuracy | log loss: usual, temperature, "
        "`predict_proba` | ECE: usual, temperature, `predict_proba` |",
        "|---" * 6 + "|",
    ]
    for key, row in found.items():
        data, encoder, shots = key.split(" / ")
        for head in HEADS:
            of = [row[head][way] for way in WAYS_TO]
            losses = ", ".join(f"{n['log_loss']:.2f}" for n in of)
            errors = ", ".join(f"{100 * n['ece']:.1f}" for n in of)
            out.append(
                f"| {data}, {encoder} | {shots} | `{head}` | {100 * of[0]['accuracy']:.1f} | "
                f"{losses} | {errors} |"
            )
    parts = [row[head] for row in found.values() for head in HEADS]
    means = [
        f"{way}: log loss {np.mean([p[way]['log_loss'] for p in parts]):.3f}, ECE "
        f"{100 * np.mean([p[way]['ece'] for p in parts]):.1f} %, surer than 99.9 % and wrong "
        f"{100 * np.mean([p[way]['certain_and_wrong'] for p in parts]):.2f} %"
        for way in WAYS_TO
    ]
    draws = sorted({row["draws"] for row in found.values()})
    return [
        *out,
        "",
        f"Accuracy and ECE in %, {WAYS} classes, {', '.join(map(str, draws))} draws. On average "
        f"over all rows: {'; '.join(means)}.",
    ]


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--shots", nargs="*", type=int, default=SHOTS)
    parser.add_argument("--data", nargs="*", default=[name for name, _ in DATA])
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    parser.add_argument("--vectors", type=Path, default=ROOT / "runs" / "own_heads")
    args = parser.parse_args()
    rows_to_measure = {
        f"{data} / {encoder} / {shots}": functools.partial(
            measured, data, encoder, shots, draws=args.draws, folder=args.vectors
        )
        for shots in args.shots
        for data, encoder in DATA
        if data in args.data
    }
    own_heads.add_missing(FILE, rows_to_measure, draws=args.draws, again=args.again)


if __name__ == "__main__":
    main()
