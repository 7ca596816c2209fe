"""Unknowns among the queries: how well scores of a learner tell them, on characters and on
photographs.

quickstudy train mini-imagenet-protonet
python benchmarks/open_set.py --photos runs/mini-imagenet-protonet

600 tasks of 5 known and 5 unknown classes, 15 queries of each, test classes; the drawings by the
encoder that comes with the package. Writes benchmarks/open_set.json.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.algorithms import OSLO, NearestNeighbour, ProtoNet
from quickstudy.core.learner import AbstractLearner, Traits, encoder_of
from quickstudy.core.setting import Setting
from quickstudy.core.types import Examples, Target
from quickstudy.data import ClassDataset, ClassIndex, Episodes, MiniImageNet, Omniglot, encoded
from quickstudy.encoders import Identity
from quickstudy.evaluation import commit, evaluate, versions
from quickstudy.functional.oslo import centred
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import cosine
from quickstudy.pretrained.symbols import SYMBOLS
from quickstudy.recipes import load

ROOT = Path(__file__).parent.parent
KNOWN, UNKNOWN, QUERIES, TASKS, SHOTS = 5, 5, 15, 600, (1, 5)
SEEN = 2000  # training pictures that the mean is taken of, evenly over the classes


class CentredPrototypes(AbstractLearner[tuple[Tensor, Tensor]]):
    """The features as `OSLO` takes them, without what it does with them: how much of the difference
    is the centring.
    """

    def __init__(self) -> None:
        super().__init__()
        self.traits = Traits(transductive=True)

    def adapt(
        self, support: Examples, target: Target, query_x: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        assert query_x is not None
        z, _, mean = centred(support.x, query_x)
        return class_means(z, support.y, target.width), mean

    def predict(self, state: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
        means, mean = state
        return cosine(F.normalize(x - mean, dim=-1), means)


def learners(dim: int) -> dict[str, tuple[AbstractLearner, str]]:
    """Who is asked, and the score of their answer that tells unknowns."""
    features, compared = Identity(dim), "cosine"
    return {
        "distance to the nearest class mean": (ProtoNet(features), "max_similarity"),
        "energy of these distances": (ProtoNet(features), "energy"),
        "highest softmax of these distances": (ProtoNet(features), "max_probability"),
        "cosine to the nearest class mean": (
            ProtoNet(features, similarity=compared),
            "max_similarity",
        ),
        "cosine to the nearest example": (
            NearestNeighbour(features, similarity=compared),
            "max_similarity",
        ),
        "cosine to the nearest class mean, centred on the task": (
            CentredPrototypes(),
            "max_similarity",
        ),
        "OSLO": (OSLO(features), "max_similarity"),
    }


def scored(features: ClassDataset, mean: Tensor) -> dict[str, dict[str, dict[str, object]]]:
    """The rates by shots and learner; ``mean`` is that of the features of the training classes."""
    out: dict[str, dict[str, dict[str, object]]] = {}
    dim, centre = features.x.shape[1], replace(features, x=F.normalize(features.x - mean, dim=-1))
    asked = [
        (name, features, learner, unknown_score)
        for name, (learner, unknown_score) in learners(dim).items()
    ]
    asked.insert(
        -2,
        (
            "cosine to the nearest class mean, centred on the training classes",
            centre,
            ProtoNet(Identity(dim), similarity="cosine"),
            "max_similarity",
        ),
    )
    for shots in SHOTS:
        setting, out[str(shots)] = Setting(KNOWN + UNKNOWN, shots, QUERIES), {}
        for name, examples, learner, unknown_score in asked:
            tasks = Episodes(examples, setting)
            r = evaluate(
                learner,
                tasks,
                n_tasks=TASKS,
                n_unknown=UNKNOWN,
                unknown_score=unknown_score,
                batch=20,
            )
            rates = {
                "accuracy": [r.mean, r.ci95],
                "auroc": [r.auroc, r.auroc_ci95],
                "fpr95": [r.fpr95, r.fpr95_ci95],
                "oscr": [r.oscr, r.oscr_ci95],
            }
            out[str(shots)][name] = {"transductive": r.transductive, **rates}
            print(f"{name}: {r}", flush=True)
    return out


def main() -> None:
    """Encode each split once, score, write."""
    parser = argparse.ArgumentParser(description="Unknowns among the queries.")
    parser.add_argument("--photos", type=Path, required=True, help="a run trained on miniImageNet")
    asked, began = parser.parse_args(), time.perf_counter()
    out: dict[str, object] = {
        "n_tasks": TASKS,
        "known": KNOWN,
        "unknown": UNKNOWN,
        "queries": QUERIES,
        "commit": commit(),
        "versions": versions(),
    }
    of_data: dict[str, object] = {}
    for name, run, data in (
        ("Omniglot", SYMBOLS, Omniglot),
        ("miniImageNet", asked.photos, MiniImageNet),
    ):
        learner = load(run)
        assert isinstance(learner, AbstractLearner)
        features, train = encoded(data().split("test"), encoder_of(learner)), data().split("train")
        rows = np.concatenate(
            [
                train.index.rows_of(c)[: max(2, SEEN // len(train.index))]
                for c in range(len(train.index))
            ]
        )
        few = replace(train, x=train.x[rows], index=ClassIndex([0] * len(rows), ["all"]))
        of_data[name] = {
            "classes": len(features.index),
            "images": len(features.x),
            "by": scored(features, encoded(few, encoder_of(learner)).x.mean(0)),
        }
    out["data"] = of_data
    out["seconds"] = time.perf_counter() - began
    (ROOT / "benchmarks" / "open_set.json").write_text(
        json.dumps(out, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
