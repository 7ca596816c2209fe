"""Every encoder of images that comes along, on data that none was trained on: each head, the one
that the examples prefer, and scikit-learn on the same vectors; and faces with unknowns.

python benchmarks/encoders.py --encoder photographs --data steel --shots 5 --draws 200

Vectors are made once and kept in a folder; a row of the table that was measured with as many draws
is not measured again, so it may be run in pieces. Writes benchmarks/encoders.json. The thresholds
that the encoder faces brings along are measured with --faces; --check says whether they are those.
--polarity measures what it brings that `symbols` turns drawings by their border.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import ImageOps

from quickstudy.core.arrays import NDArray
from quickstudy.estimators import FewShotClassifier
from quickstudy.evaluation import commit, versions
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.metrics.verification import identification_rates
from quickstudy.pretrained.faces import MEASURED
from quickstudy.pretrained.symbols import SymbolEncoder

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import own_heads  # noqa: E402

FILE = ROOT / "benchmarks" / "encoders.json"
SHOTS = {"steel": (1, 2, 5, 10), "faces": (1, 5)}
USUAL_SHOTS = (1, 5, 15)
ENCODERS = ("photographs", "symbols", "faces")
DATA = ("faces", "steel", "sign-digits", "Omniglot", "glyphs")
DRAWS, UNKNOWN, ENROLLED, FPIR = 200, 10, 2, 0.01
SHORT = {
    "scikit-learn: logistic regression, standardised": "scikit-learn, logistic",
    "scikit-learn: nearest centroid": "scikit-learn, centroid",
}


def stored() -> dict[str, Any]:
    """What was measured before."""
    if FILE.exists():
        return json.loads(FILE.read_text(encoding="utf-8"))
    return {"rows": {}, "identification": {}}


def keep(kind: str, name: str, row: dict[str, Any]) -> None:
    """Add a result; another process may have added one meanwhile."""
    found = stored()
    found.setdefault(kind, {})[name] = row | {"commit": commit()}
    found["versions"] = versions()
    FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measure(encoder: str, data: str, shots: int, *, draws: int, folder: Path) -> None:
    """One row of the table, unless there is one of as many draws."""
    key = f"{encoder} / {data} / {shots}"
    if stored()["rows"].get(key, {}).get("draws", 0) >= draws:
        return
    x, y = own_heads.encoded(data, encoder, folder)
    most = own_heads.ARCHIVES[data][1] if data in own_heads.ARCHIVES else 20
    ways = min(most, int((np.bincount(y) >= shots + 5).sum()))
    began = time.process_time()
    row = own_heads.scored(x, y, ways=ways, shots=shots, draws=draws, is_table=False)
    keep("rows", key, row | {"seconds": round(time.process_time() - began)})
    shown = {n: round(100 * a[0], 1) for n, a in row["accuracy"].items()}
    print(key, shown, row["best_head"], row["auto_less_best"], row["taken"], flush=True)


def identify(encoder: str, *, folder: Path) -> None:
    """Faces with unknowns: 30 people with two photographs each, 10 people whom nobody enrolled."""
    x, y = own_heads.encoded("faces", encoder, folder)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    rank_1, missed = [], []
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        people = rng.permutation(y.max() + 1)
        known, unknown = people[UNKNOWN:], people[:UNKNOWN]
        rows = np.stack([rng.permutation(np.flatnonzero(y == p)) for p in known])
        templates = x[rows[:, :ENROLLED]].mean(1)
        templates /= np.linalg.norm(templates, axis=1, keepdims=True)
        probes = rows[:, ENROLLED:]
        mate = np.repeat(np.arange(len(known)), probes.shape[1])
        own = x[probes.ravel()] @ templates.T
        others = x[np.isin(y, unknown)] @ templates.T
        rank_1.append(float((own.argmax(1) == mate).mean()))
        mates = np.concatenate((mate, np.full(len(others), -1)))
        scores = np.concatenate((own, others))
        missed.append(identification_rates(scores, mates, fpir=FPIR)[0])
    row = {"rank_1": mean_ci95(rank_1), "fnir": mean_ci95(missed), "photographs": len(y)}
    keep("identification", encoder, row)
    print(encoder, row, flush=True)


def polarity(data: str, *, draws: int) -> None:
    """What it brings that `symbols` turns drawings by their border: the accuracy from one example
    by a logistic head, with the images as they are, and with every other one of them inverted.
    """
    pictures, y = own_heads.images(data)
    inverted = [ImageOps.invert(i.convert("RGB")) for i in pictures]
    mixed = [(i, j)[k % 2] for k, (i, j) in enumerate(zip(pictures, inverted, strict=True))]
    ways = own_heads.ARCHIVES[data][1] if data in own_heads.ARCHIVES else 20
    row: dict[str, Any] = {"ways": ways, "draws": draws}
    for of, images in (("as they are", pictures), ("half inverted", mixed)):
        accuracies = {}
        for name, invert in (("never turned", True), ("drawings turned", None)):
            x = SymbolEncoder(invert=invert).encode(images)
            accuracies[name] = []
            for draw in range(draws):
                train, labels, test, truth = own_heads.drawn(y, ways=ways, shots=1, draw=draw)
                model = FewShotClassifier("logistic").fit(x[train], labels)
                accuracies[name].append(float(model.score(x[test], truth)))
        gap = np.subtract(accuracies["drawings turned"], accuracies["never turned"]).tolist()
        row[of] = {name: mean_ci95(a) for name, a in accuracies.items()} | {"gap": mean_ci95(gap)}
    keep("polarity", data, row)
    print(data, row, flush=True)


def polarity_rows() -> list[str]:
    """The table of what turning drawings brings, from the file."""
    found = stored()["polarity"]
    out = [
        "| data | never turned | drawings turned | half inverted: never turned | drawings turned |",
        "|---|---|---|---|---|",
    ]
    for data, row in found.items():
        cells = [
            f"{100 * row[of][name][0]:.1f} ± {100 * row[of][name][1]:.1f}"
            for of in ("as they are", "half inverted")
            for name in ("never turned", "drawings turned")
        ]
        out.append(f"| {data}, {row['ways']} classes | {' | '.join(cells)} |")
    draws = sorted({row["draws"] for row in found.values()})
    return [
        *out,
        "",
        "`symbols` and a logistic head from one example of each class, accuracy in % with 95 % "
        f"intervals; {', '.join(map(str, draws))} draws, the same for all.",
    ]


def different(folder: Path) -> Float[NDArray[np.float64], " n"]:
    """The cosines of photographs of different people, by the encoder faces."""
    x, y = own_heads.encoded("faces", "faces", folder)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    i, j = np.triu_indices(len(x), 1)
    apart = y[i] != y[j]
    return (x[i] * x[j]).sum(1)[apart]


def check_measured(folder: Path) -> None:
    """Stop unless the thresholds that the encoder faces brings along are the measured ones."""
    cosines = different(folder)
    thresholds = np.quantile(cosines, 1 - np.asarray(MEASURED.false_match_rates))
    if (
        len(cosines) != MEASURED.comparisons
        or np.abs(thresholds - MEASURED.thresholds).max() > 1e-3
    ):
        raise SystemExit(
            f"faces.MEASURED has {MEASURED.comparisons} comparisons and {MEASURED.thresholds}, but "
            f"{len(cosines)} comparisons gave {np.round(thresholds, 4).tolist()}."
        )
    print("faces.MEASURED is what was measured.")


def rows() -> list[str]:
    """The table of accuracies, from the file."""
    found = stored()["rows"]
    names = [*own_heads.HEADS, *SHORT]
    shown = [SHORT.get(n, f"`{n}`") for n in names]
    out = [
        f"| encoder | data | shots | {' | '.join(shown)} | `auto` − best | draws |",
        "|---" * (5 + len(names)) + "|",
    ]
    order = sorted(found, key=lambda k: (*k.split(" / ")[:2], int(k.split(" / ")[2])))
    for key in order:
        row, (encoder, data, shots) = found[key], key.split(" / ")
        cells = [f"{100 * row['accuracy'][n][0]:.1f}" for n in names]
        mean, half = row["auto_less_best"]
        out.append(
            f"| {encoder} | {data}, {row['ways']} classes | {shots} | {' | '.join(cells)} | "
            f"{100 * mean:+.1f} ± {100 * half:.1f} | {row['draws']} |"
        )
    gaps = np.asarray([r["auto_less_scikit_learn"][0] for r in found.values()])
    widest = max(found.values(), key=lambda r: r["accuracy"]["auto"][1])["accuracy"]["auto"][1]
    return [
        *out,
        "",
        f"Accuracies in %; their 95 % intervals over the draws are ± {100 * widest:.1f} at most. "
        "`auto` less scikit-learn's standardised logistic regression: "
        f"{100 * gaps.mean():+.1f} points on average over the {len(gaps)} rows. "
        f"{own_heads.said_of_gaps({key: found[key]['auto_less_best'] for key in order})}",
    ]


def identification_rows() -> list[str]:
    """The table of faces with unknowns, from the file."""
    found = stored()["identification"]
    out = [
        "| encoder | the right one of 30 | not found or another, where 1 % of unknowns pass |",
        "|---|---|---|",
    ]
    for encoder, row in found.items():
        cells = [f"{100 * m:.1f} ± {100 * h:.1f} %" for m, h in (row["rank_1"], row["fnir"])]
        out.append(f"| `{encoder}` | {' | '.join(cells)} |")
    used = sorted({row["photographs"] for row in found.values()})
    return [
        *out,
        "",
        f"ORL faces ({', '.join(map(str, used))} photographs), {ENROLLED} photographs of each of "
        f"30 people enrolled, 8 of each as probes, all 10 of 10 others as unknowns; {DRAWS} draws, "
        "95 % intervals over these.",
    ]


def main() -> None:
    """Measure what is asked for and missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", nargs="*", default=ENCODERS)
    parser.add_argument("--data", nargs="*", default=DATA)
    parser.add_argument("--shots", nargs="*", type=int, default=[], help="default: as in the table")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--faces", action="store_true", help="only faces with unknowns")
    parser.add_argument("--polarity", action="store_true", help="only what turning drawings brings")
    parser.add_argument("--check", action="store_true", help="only check faces.MEASURED")
    parser.add_argument("--vectors", type=Path, default=ROOT / "runs" / "own_heads")
    args = parser.parse_args()
    if args.check:
        check_measured(args.vectors)
        return
    if args.polarity:
        for data in args.data:
            polarity(data, draws=args.draws)
        return
    for encoder in args.encoder:
        if args.faces:
            identify(encoder, folder=args.vectors)
            continue
        for data in args.data:
            if encoder == "faces" and data != "faces":
                continue  # it encodes nothing but faces
            for shots in args.shots or SHOTS.get(data, USUAL_SHOTS):
                measure(encoder, data, shots, draws=args.draws, folder=args.vectors)


if __name__ == "__main__":
    main()
