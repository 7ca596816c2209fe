"""Whether the share of one's own examples that a fit says are still accepted is what comes, and
the false-accept rate what was asked for, by each membership score.

python benchmarks/acceptance.py --draws 200

Some classes are drawn, a cohort of 40 images of others sets the threshold, and ten new images of
each class and 100 other images of the other classes are asked about. Writes
benchmarks/acceptance.json; a row that was measured with as many draws is kept.
"""

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from quickstudy.core.arrays import NDArray
from quickstudy.estimators import FewShotClassifier, OpenSetClassifier
from quickstudy.estimators.rejection import rejection_of
from quickstudy.estimators.summary import accepted_share, findings_of
from quickstudy.metrics.intervals import mean_ci95

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import own_heads  # noqa: E402

FILE = ROOT / "benchmarks" / "acceptance.json"
DATA = (
    ("sign-digits", "photographs", 4),
    ("glyphs", "symbols", 8),
    ("steel", "photographs", 3),
    ("faces", "faces", 10),
    ("Omniglot", "symbols", 20),
)
# Head and membership score; in the last no head takes part.
WAYS = (
    ("prototype", "max_similarity"),
    ("gaussian", "max_similarity"),
    ("prototype", "nearest"),
)
SHOTS = (2, 5)
COHORT, UNKNOWNS, QUERIES, RATE = 40, 100, 10, 0.05


def one_draw(
    x: NDArray[np.float64], y: NDArray[np.int64], *, ways: int, shots: int, draw: int
) -> dict[str, tuple[float, float, float, float]]:
    """Of each way: own images accepted, unknowns accepted, what the fit said of its own, AUROC."""
    rng = np.random.default_rng((draw, shots))
    known = rng.permutation(y.max() + 1)[:ways]
    rows = [rng.permutation(np.flatnonzero(y == c)) for c in known]
    train = np.concatenate([r[:shots] for r in rows])
    own = np.concatenate([r[shots : shots + QUERIES] for r in rows])
    others = rng.permutation(np.flatnonzero(~np.isin(y, known)))
    cohort, unknowns = np.split(others[: COHORT + UNKNOWNS], [COHORT])
    is_own = np.repeat([1, 0], [len(own), len(unknowns)])
    out = {}
    for head, score in WAYS:
        model = OpenSetClassifier(
            FewShotClassifier(head), unknown_score=score, false_accept_rate=RATE
        ).fit(x[train], np.repeat(np.arange(ways), shots), cohort=x[cohort])
        a, b = model.membership(x[own]), model.membership(x[unknowns])
        said = float("nan")
        if score == "max_similarity":
            said = accepted_share(rejection_of(model, findings_of(model.estimator_))) or 0.0
        line = model.threshold_
        auroc = float(roc_auc_score(is_own, np.concatenate((a, b))))
        out[f"{head}, {score}"] = (
            float((a > line).mean()),
            float((b > line).mean()),
            said,
            auroc,
        )
    return out


def measured(
    data: str, encoder: str, ways: int, shots: int, *, draws: int, folder: Path
) -> dict[str, Any]:
    """Of each way, the means over the draws with their 95 % intervals."""
    x, y = own_heads.encoded(data, encoder, folder)
    results = [one_draw(x, y, ways=ways, shots=shots, draw=draw) for draw in range(draws)]
    row: dict[str, Any] = {"ways": {}}
    for head, score in WAYS:
        way = f"{head}, {score}"
        columns = np.asarray([result[way] for result in results]).T
        own, unknowns, said, auroc = (mean_ci95(column.tolist()) for column in columns)
        row["ways"][way] = {
            "own": own,
            "unknowns": unknowns,
            "said": said if score == "max_similarity" else None,
            "auroc": auroc,
        }
    return row


def rows() -> list[str]:
    """The table, from the file."""
    found = json.loads(FILE.read_text(encoding="utf-8"))["rows"]
    out = [
        "| data, encoder | shots | head, score | said of one's own | own accepted | unknowns "
        "accepted | AUROC |",
        "|---" * 7 + "|",
    ]
    for key, row in found.items():
        data, encoder, shots = key.split(" / ")
        for way, of in row["ways"].items():
            mean, half = of["said"] or (None, None)
            said = "" if mean is None else f"{100 * mean:.1f} ± {100 * half:.1f} %"
            own, wrong = of["own"], of["unknowns"]
            out.append(
                f"| {data}, {encoder} | {shots} | {way} | {said} | "
                f"{100 * own[0]:.1f} ± {100 * own[1]:.1f} % | "
                f"{100 * wrong[0]:.1f} ± {100 * wrong[1]:.1f} % | {of['auroc'][0]:.3f} |"
            )
    draws = sorted({row["draws"] for row in found.values()})
    return [
        *out,
        "",
        f"False-accept rate {100 * RATE:g} %, a cohort of {COHORT}; "
        f"{', '.join(map(str, draws))} draws, means with 95 % intervals over them.",
    ]


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--data", nargs="*", default=[name for name, _, _ in DATA])
    parser.add_argument("--shots", nargs="*", type=int, default=SHOTS)
    parser.add_argument("--vectors", type=Path, default=ROOT / "runs" / "own_heads")
    args = parser.parse_args()
    rows_to_measure = {
        f"{data} / {encoder} / {shots}": functools.partial(
            measured, data, encoder, ways, shots, draws=args.draws, folder=args.vectors
        )
        for data, encoder, ways in DATA
        for shots in args.shots
        if data in args.data
    }
    own_heads.add_missing(FILE, rows_to_measure, draws=args.draws)


if __name__ == "__main__":
    main()
