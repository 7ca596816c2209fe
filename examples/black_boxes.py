"""Black boxes: a model that reads a task, and answers each example before it is told its label.

    python examples/black_boxes.py --steps 3     # a look at it, seconds
    python examples/black_boxes.py               # better numbers, some minutes

Nothing is downloaded: the tasks are drawn glyphs. For your own data: any class data set in the
place of Glyphs.
"""

import argparse

import torch

import quickstudy as qs
from quickstudy.algorithms import MANN, InContext
from quickstudy.analysis import instance_accuracy
from quickstudy.core.types import Classes, Examples
from quickstudy.data import Glyphs
from quickstudy.encoders import Conv4
from quickstudy.objectives import Online


def main() -> None:
    """Train a network with a memory, asked before it is told; then one that reads a whole support
    set at once.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=400, help="outer steps of each training")
    args = parser.parse_args()

    data = Glyphs()
    plan = qs.Plan(steps=args.steps, tasks_per_step=8, validate_every=0, clip_norm=10.0)
    sequences = {
        split: data.tasks(split, qs.Setting(n_way=3, n_shot=1, n_query=4))
        for split in ("train", "test")
    }
    torch.manual_seed(0)
    reader = MANN(Conv4(width=16), n_out=3)
    qs.train(
        qs.MetaStep(reader, Online()),
        sequences["train"],
        plan=plan,
        optimiser=qs.Optimiser(lr=1e-3),
    )
    for k, right in instance_accuracy(reader, sequences["test"], n_tasks=100).rows():
        print(f"MANN, example {k} of a class before its label was told: {right}")

    tasks = {
        split: data.tasks(split, qs.Setting(n_way=5, n_shot=1, n_query=5))
        for split in ("train", "test")
    }
    torch.manual_seed(0)
    learner = InContext(Conv4(width=16), max_way=10, width=64, layers=2)
    qs.train(
        qs.MetaStep(learner, qs.objectives.QueryLoss()),
        tasks["train"],
        plan=plan,
        optimiser=qs.Optimiser(lr=1e-3),
    )
    print("In context:", qs.evaluate(learner, tasks["test"], n_tasks=100))
    support, queries = torch.rand(7, 1, 28, 28), torch.rand(2, 1, 28, 28)
    scores = learner.eval().fit(Examples.single(support, torch.arange(7)), Classes(7))(queries)
    print(f"The same model, asked about 7 classes: {tuple(scores.shape)} scores.")


if __name__ == "__main__":
    main()
