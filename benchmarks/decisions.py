"""Promises beside what comes: false-accept rates of open-set classifiers, and coverage of sets.

python benchmarks/decisions.py --encoder symbols

Clusters are drawn here; real vectors are those of an encoder that has not seen such things, on
handwritten characters (Omniglot) and faces (ORL). Writes benchmarks/decisions.json.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.estimators import FewShotClassifier, OpenSetClassifier
from quickstudy.evaluation import commit, versions

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "decisions.json"
RATES = (0.01, 0.05, 0.1)
PHOTOS, UNKNOWNS = 2, 20
# Name: enrolled classes, members of the cohort (0 = each class is left out), photos of each.
SETTINGS = {
    "clusters": [
        (10, 0, 0),
        (20, 0, 0),
        (50, 0, 0),
        (200, 0, 0),
        (10, 100, 1),
        (50, 100, 1),
        (200, 100, 1),
        (50, 40, 5),
    ],
    "Omniglot": [(10, 0, 0), (20, 0, 0), (50, 0, 0), (40, 40, 1), (40, 25, 5)],
    "faces": [(10, 0, 0), (19, 0, 0), (10, 10, 1), (10, 10, 5)],
}
ALPHAS = (0.1, 0.2)
Array = NDArray[np.float64]
Sampler = Callable[[np.random.Generator, int, int], Array]


def clusters(rng: np.random.Generator, n: int, k: int) -> Array:
    """Vectors ``[n k D]`` of n identities, k photos each."""
    return rng.normal(size=(n, 1, 32)) + 0.6 * rng.normal(size=(n, k, 32))


def overlapping(rng: np.random.Generator, n: int, k: int) -> Array:
    """Likewise, of identities that are hard to tell apart."""
    return rng.normal(size=(n, 1, 32)) + 2.2 * rng.normal(size=(n, k, 32))


def of_data(x: Array, y: NDArray[np.int64]) -> Sampler:
    """Likewise from real vectors, each identity drawn once."""

    def draw(rng: np.random.Generator, n: int, k: int) -> Array:
        classes = rng.permutation(int(y.max()) + 1)[:n]
        return np.stack([x[rng.permutation(np.flatnonzero(y == c))[:k]] for c in classes])

    return draw


def accepted(draw: Sampler, n: int, cohort: int, photos: int, draws: int) -> list[dict[str, Any]]:
    """How many unknowns get in, over draws of who is enrolled, in the cohort, and comes."""
    wrong, asked, missed, needs = dict.fromkeys(RATES, 0), dict.fromkeys(RATES, 0), {}, {}
    for i in range(draws):
        rng = np.random.default_rng((i, n, cohort))
        most = max(PHOTOS + 1, photos)
        everyone = draw(rng, n + cohort + UNKNOWNS, most)
        enrolled, others, come = np.split(everyone, [n, n + cohort])
        model = OpenSetClassifier(false_accept_rate=0.5).fit(
            enrolled[:, :PHOTOS].reshape(n * PHOTOS, -1),
            np.repeat(np.arange(n), PHOTOS),
            cohort=others[:, :photos].reshape(cohort * photos, -1) if cohort else None,
            cohort_groups=np.repeat(np.arange(cohort), photos) if cohort else None,
        )
        scores = model.membership(come[:, 0])
        members = model.membership(enrolled[:, PHOTOS])
        for rate in RATES:
            try:
                model.set_rate(rate)
            except ConfigError as error:
                needs[rate] = str(error)
                continue
            wrong[rate] += int((scores > model.threshold_).sum())
            asked[rate] += len(scores)
            missed.setdefault(rate, []).append(float((members <= model.threshold_).mean()))
    return [
        {"rate": rate, "refused": needs[rate]}
        if rate in needs
        else {
            "rate": rate,
            "accepted": wrong[rate] / asked[rate],
            "interval": [float(b) / asked[rate] for b in binom.interval(0.95, asked[rate], rate)],
            "members_missed": float(np.mean(missed[rate])),
        }
        for rate in RATES
    ]


def coverage(draw: Sampler, head: str, draws: int) -> list[dict[str, Any]]:
    """How often the right class is in the set, and how large sets are: as promised, and where what
    comes is unlike the examples.
    """
    ways, shots, kept, asked = 5, 5, 5, 10
    found: dict[tuple[str, str, float], list[tuple[float, float]]] = {}
    for i in range(draws):
        rng = np.random.default_rng((i, 7))
        x = draw(rng, ways, shots + kept + asked)
        dim, spread = x.shape[2], float(x.std())
        train, calibration, test = np.split(x, [shots, shots + kept], axis=1)
        truth = np.repeat(np.arange(ways), asked)
        model = FewShotClassifier(head).fit(train.reshape(-1, dim), np.repeat(range(ways), shots))
        given = calibration.reshape(-1, dim), np.repeat(np.arange(ways), kept)
        flat = test.reshape(-1, dim)
        direction = rng.normal(size=dim) / dim**0.5
        shifts = {
            "as the examples": flat,
            "noise": flat + spread * rng.normal(size=flat.shape),
            "all moved one way": flat + 3 * spread * direction * dim**0.5,
        }
        for shift, probes in shifts.items():
            for alpha in ALPHAS:
                for rule in ("examples left out", "calibration examples"):
                    sets = model.predict_sets(
                        probes,
                        alpha,
                        calibration=given if rule == "calibration examples" else None,
                    )
                    hit = np.mean([c in s for c, s in zip(truth, sets, strict=True)])
                    size = np.mean([len(s) for s in sets])
                    found.setdefault((rule, shift, alpha), []).append((float(hit), float(size)))
    return [
        {
            "rule": rule,
            "shift": shift,
            "alpha": alpha,
            "coverage": float(np.mean([h for h, _ in rows])),
            "error": float(np.std([h for h, _ in rows], ddof=1) / len(rows) ** 0.5 * 1.96),
            "size": float(np.mean([s for _, s in rows])),
        }
        for (rule, shift, alpha), rows in found.items()
    ]


def rate_rows() -> list[str]:
    """The table of false-accept rates, from the file."""
    out = [
        "| vectors | enrolled | unknowns for the threshold | asked for | accepted | 95 % interval "
        "of the promise | members missed |",
        "|---" * 7 + "|",
    ]
    for row in json.loads(FILE.read_text(encoding="utf-8"))["rates"]:
        cohort = f"cohort of {row['cohort']} × {row['photos']}"
        rule = cohort if row["cohort"] else "each class left out"
        for r in row["rows"]:
            begin = f"| {row['data']} | {row['enrolled']} | {rule} | {100 * r['rate']:g} % |"
            if "refused" in r:
                out.append(f"{begin} refused |  |  |")
                continue
            low, high = r["interval"]
            out.append(
                f"{begin} {100 * r['accepted']:.2f} % | {100 * low:.2f} … {100 * high:.2f} % | "
                f"{100 * r['members_missed']:.1f} % |"
            )
    return out


def set_rows() -> list[str]:
    """The table of sets, from the file."""
    out = [
        "| vectors | head | what comes | rule | promised | right class in it | size |",
        "|---" * 7 + "|",
    ]
    for row in json.loads(FILE.read_text(encoding="utf-8"))["sets"]:
        for r in row["rows"]:
            out.append(
                f"| {row['data']} | `{row['head']}` | {r['shift']} | {r['rule']} | "
                f"{100 * (1 - r['alpha']):g} % | {100 * r['coverage']:.1f} ± "
                f"{100 * r['error']:.1f} % | {r['size']:.1f} of 5 |"
            )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="symbols")
    parser.add_argument("--part", nargs="*", default=["rates", "sets"])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--vectors", type=Path, default=ROOT / "runs" / "own_heads")
    from own_heads import encoded  # lies beside this script

    args = parser.parse_args()
    samplers: dict[str, Sampler] = {"clusters": clusters}
    for name in ("Omniglot", "faces"):
        samplers[name] = of_data(*encoded(name, args.encoder, args.vectors))
    rates = []
    for name, draw in samplers.items() if "rates" in args.part else ():
        for n, cohort, photos in SETTINGS[name]:
            rows = accepted(draw, n, cohort, photos, args.draws)
            rates.append(
                {
                    "data": name,
                    "enrolled": n,
                    "cohort": cohort,
                    "photos": photos,
                    "draws": args.draws,
                    "rows": rows,
                }
            )
            print(rates[-1], flush=True)
    sets = []
    # Ten photos of a face are too few to learn from, to calibrate and to ask.
    for name, draw in {"clusters": overlapping, "Omniglot": samplers["Omniglot"]}.items():
        if "sets" not in args.part:
            break
        for head in ("prototype", "logistic"):
            draws = args.draws // 4
            rows = coverage(draw, head, draws)
            sets.append({"data": name, "head": head, "draws": draws, "rows": rows})
            print(sets[-1], flush=True)
    out = {
        "encoder": args.encoder,
        "unknowns": UNKNOWNS,
        **({"rates": rates} if rates else {}),
        **({"sets": sets} if sets else {}),
        "commit": commit(),
        "versions": versions(),
    }
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    FILE.write_text(json.dumps(kept | out, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
