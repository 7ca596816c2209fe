"""Speakers never heard in training: who is it, and is it the same one? By an encoder of ours,
trained on synthetic voices.

quickstudy train voices-protonet
python benchmarks/voices.py --run runs/voices-protonet

Writes benchmarks/voices.json.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quickstudy.core.arrays import NDArray
from quickstudy.data import LogMel, Recording, Voices
from quickstudy.data.voices import installed
from quickstudy.estimators import FewShotClassifier
from quickstudy.evaluation import commit, versions
from quickstudy.metrics.verification import (
    bootstrap_by_identity,
    equal_error_rate,
    true_accept_rate,
)
from quickstudy.pretrained import SpectrogramEncoder
from quickstudy.recipes import load_run

ROOT = Path(__file__).parent.parent
ENROLLED, DRAWS, FAR, BOOTSTRAPS = 2, 20, 0.01, 500
Vectors = NDArray[np.float64]


def mean_spectrum(recordings: list[Recording], data: Voices) -> Vectors:
    """The baseline: how loud each mel is on the average, less what it is in training."""
    fmt = LogMel.from_json(data.sound_format)
    spectra = np.stack([fmt.spectrogram(r).mean(1).numpy() for r in recordings])
    return spectra - data.split("train").x.float().mean((0, 1, 3)).numpy()


def scored(x: Vectors) -> dict[str, list[float]]:
    """Of vectors ``[speakers utterances D]``: identification and verification from two utterances
    each, over draws of these, with 95 % intervals.
    """
    n, utterances, _ = x.shape
    right, similarity = np.empty((DRAWS, n)), np.empty((DRAWS, n, utterances - ENROLLED, n))
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(utterances)
        model = FewShotClassifier().fit(
            x[:, order[:ENROLLED]].reshape(n * ENROLLED, -1), np.repeat(np.arange(n), ENROLLED)
        )
        scores = model.class_scores(x[:, order[ENROLLED:]].reshape(-1, x.shape[2]))
        # the cosine to the mean of the two
        similarity[draw] = scores.reshape(n, utterances - ENROLLED, n)
        right[draw] = (similarity[draw].argmax(2) == np.arange(n)[:, None]).mean(1)

    def verified(rate: Callable[[Vectors, Vectors], float]) -> list[float]:
        def of(rows: NDArray[np.int64]) -> float:
            chosen, same = similarity[0][rows][:, :, rows], rows[:, None] == rows
            return rate(
                chosen.transpose(0, 2, 1)[same].ravel(), chosen.transpose(0, 2, 1)[~same].ravel()
            )

        return [of(np.arange(n)), *bootstrap_by_identity(of, np.arange(n), n=BOOTSTRAPS)]

    def identified(rows: NDArray[np.int64]) -> float:
        return float(right[:, rows].mean())

    return {
        "identified": [
            identified(np.arange(n)),
            *bootstrap_by_identity(identified, np.arange(n), n=BOOTSTRAPS),
        ],
        "eer": verified(equal_error_rate),
        "tar": verified(lambda genuine, impostor: true_accept_rate(genuine, impostor, far=FAR)),
    }


def main() -> None:
    """Speak, encode, score, write."""
    parser = argparse.ArgumentParser(description="Speakers never heard in training.")
    parser.add_argument(
        "--run", type=Path, required=True, help="a run of the recipe voices-protonet"
    )
    asked, began = parser.parse_args(), time.perf_counter()
    run, encoder = load_run(asked.run), SpectrogramEncoder(asked.run)
    data = run.recipe.build_data()
    assert isinstance(data, Voices)
    people = data.speakers("test")
    recordings = [data.recording(speaker, k) for speaker in people for k in range(data.utterances)]
    trained = encoder.encode(recordings)
    encoder.encoder.load_state_dict(run.recipe.build_learner().encoder.state_dict())
    encoded = {
        "trained": trained,
        "untrained": encoder.encode(recordings),
        "mean spectrum": mean_spectrum(recordings, data),
    }
    found = {}
    for name, x in encoded.items():
        found[name] = scored(x.reshape(len(people), data.utterances, -1).astype(np.float64))
        print(name, found[name], flush=True)
    out = {
        "commit": commit(),
        "versions": {**versions(), "espeak-ng": installed()},
        "speakers": len(people),
        "enrolled": ENROLLED,
        "probes": data.utterances - ENROLLED,
        "draws": DRAWS,
        "far": FAR,
        "heard_in_training": len(data.speakers("train")),
        "train_tasks": run.result.tasks,
        "train_seconds": run.result.seconds,
        "encoders": found,
        "seconds": time.perf_counter() - began,
    }
    (ROOT / "benchmarks" / "voices.json").write_text(
        json.dumps(out, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
