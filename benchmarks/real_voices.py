"""Real speakers, with others who were never enrolled: who is it, and is it anybody?

python benchmarks/real_voices.py --encoder voices spectrum runs/voices-protonet

Of six speakers of LibriSpeech with ten recordings each, two are enrolled and eight are probes;
fifty others with one recording each are unknowns. Writes benchmarks/real_voices.json; an encoder
that was measured before and is not named stays as it is.
"""

import argparse
import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float

from quickstudy.core.arrays import NDArray
from quickstudy.data import Recording
from quickstudy.data.locations import data_root
from quickstudy.evaluation import commit, versions
from quickstudy.metrics.verification import (
    bootstrap_by_identity,
    equal_error_rate,
    identification_rates,
)
from quickstudy.pretrained import open_encoder
from quickstudy.recipes import load_run

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "real_voices.json"
ENROLLED, DRAWS, BOOTSTRAPS = 2, 200, 500
RATES = (0.02, 0.1)  # false-positive identification rates


def recordings() -> tuple[list[Recording], NDArray[np.int64]]:
    """All recordings and whose they are; the first six numbers are the speakers with several."""
    with zipfile.ZipFile(data_root() / "librispeech-sample.zip") as z:
        files = sorted(n for n in z.namelist() if n.endswith(".flac"))
        speakers = sorted(n for n in files if "/speakers/" in n)
        others = [n for n in files if "/speakers/" not in n]
        heard = [
            Recording(*soundfile.read(io.BytesIO(z.read(n)), dtype="float32"))
            for n in [*speakers, *others]
        ]
    known = np.unique([n.split("/")[2] for n in speakers], return_inverse=True)[1]
    return heard, np.concatenate((known, known.max() + 1 + np.arange(len(others))))


def scored(x: Float[NDArray[np.float64], "n D"], who: NDArray[np.int64]) -> dict[str, Any]:
    """Rates with 95 % intervals by bootstrap over the speakers with several recordings."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    people = np.flatnonzero(np.bincount(who) > 1)
    n = len(people)
    own = np.stack([np.flatnonzero(who == p) for p in people])  # [people recordings]
    others = x[~np.isin(who, people)]
    n_probes = own.shape[1] - ENROLLED
    similarity = np.empty((DRAWS, n, n_probes, n))
    unknown = np.empty((DRAWS, len(others), n))
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(own.shape[1])
        templates = x[own[:, order[:ENROLLED]]].mean(1)
        templates /= np.linalg.norm(templates, axis=1, keepdims=True)
        similarity[draw] = x[own[:, order[ENROLLED:]]] @ templates.T
        unknown[draw] = others @ templates.T

    def pairs(rows: NDArray[np.int64]) -> float:
        """Any two recordings of one person against any two of different ones."""
        mine = x[own[rows]]
        upper = np.triu_indices(own.shape[1], 1)
        genuine = (mine @ mine.transpose(0, 2, 1))[:, *upper]
        different = rows[:, None] < rows
        among = np.einsum("aid,bjd->abij", mine, mine)[different]
        return equal_error_rate(genuine, np.concatenate((among.ravel(), (mine @ others.T).ravel())))

    def rank_1(rows: NDArray[np.int64]) -> float:
        return float((similarity.argmax(3) == np.arange(n)[:, None])[:, rows].mean())

    def missed(fpir: float) -> float:
        rates = []
        for known, unknowns in zip(similarity, unknown, strict=True):
            scores = np.concatenate((known.reshape(-1, n), unknowns))
            mate = np.concatenate((np.repeat(np.arange(n), n_probes), np.full(len(others), -1)))
            rates.append(identification_rates(scores, mate, fpir=fpir)[0])
        return float(np.mean(rates))

    whole = np.arange(n)
    return {
        "eer": [pairs(whole), *bootstrap_by_identity(pairs, whole, n=BOOTSTRAPS)],
        "rank_1": [rank_1(whole), *bootstrap_by_identity(rank_1, whole, n=BOOTSTRAPS)],
        "fnir": {str(rate): missed(rate) for rate in RATES},
    }


def rows() -> list[str]:
    """The table, from the file."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    out = [
        "| encoder | equal error rate | the right one of "
        f"{found['speakers']} | "
        + " | ".join(f"missed where {100 * rate:g} % of unknowns pass" for rate in RATES)
        + " | seconds of processor per minute |",
        "|---|---|---|" + "---|" * (len(RATES) + 1),
    ]
    for name, row in found["encoders"].items():
        cells = [
            f"{100 * v:.1f} % ({100 * low:.1f} … {100 * high:.1f})"
            for v, low, high in (row["eer"], row["rank_1"])
        ]
        cells += [f"{100 * row['fnir'][str(rate)]:.1f} %" for rate in RATES]
        out.append(f"| {name} | {' | '.join(cells)} | {row['seconds_per_minute']:.2f} |")
    trained = [r["trained"] for r in found["encoders"].values() if r.get("trained")]
    return [
        *out,
        "",
        f"{found['speakers']} speakers of LibriSpeech, {found['enrolled']} recordings of each "
        f"enrolled and {found['probes']} as probes, {found['draws']} draws; {found['unknowns']} "
        "other speakers as unknowns; in brackets 95 % intervals by bootstrap over the speakers. "
        "The equal error rate is over pairs of single recordings, unknowns included. "
        + "".join(f"{text} " for text in trained)
        + f"Commit {found['commit']}.",
    ]


def main() -> None:
    """Encode, score, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", nargs="*", default=["voices", "spectrum"], help="or a run")
    args = parser.parse_args()
    heard, who = recordings()
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"encoders": {}}
    for source in args.encoder:
        encoder = open_encoder(source, kind="audio", device="cpu")
        began = time.process_time()
        x = np.concatenate([encoder.encode([recording]) for recording in heard])
        seconds = time.process_time() - began
        row = scored(x.astype(np.float64), who)
        row["seconds_per_minute"] = seconds / sum(r.seconds for r in heard) * 60
        name = f"`{source}`"
        if Path(source).is_dir():
            run = load_run(source)
            name = "synthetic speakers"
            row["trained"] = (
                f"*Synthetic speakers* is the recipe voices-protonet after {run.result.tasks:,} "
                "tasks."
            )
        found["encoders"][name] = row
        print(name, row, flush=True)
    found |= {
        "commit": commit(),
        "versions": versions(),
        "speakers": int((np.bincount(who) > 1).sum()),
        "enrolled": ENROLLED,
        "probes": int(np.bincount(who).max()) - ENROLLED,
        "draws": DRAWS,
        "unknowns": int((np.bincount(who) == 1).sum()),
    }
    FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
