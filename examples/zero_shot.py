"""Zero-shot: learn how descriptions and examples belong together, then tell classes apart that
nobody has shown an example of.

    python examples/zero_shot.py --steps 50    # a look at it, seconds
    python examples/zero_shot.py               # better numbers, half a minute

Nothing is downloaded. For your own data: one row of numbers per class (attributes, or the embedding
of its name), and one per example (pixels, or features).
"""

import argparse

import torch

import quickstudy as qs
from quickstudy.algorithms import ZeroShot
from quickstudy.core.types import Classes, Examples
from quickstudy.data import Attributes, SemanticEpisodes
from quickstudy.encoders import Identity


def main() -> None:
    """Train on some classes, then describe others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=400, help="training steps")
    args = parser.parse_args()

    # stands for your data: source.split(…) are examples, source.vectors(…) a row per class
    source = Attributes()
    setting = qs.Setting(n_way=50, n_shot=1, n_query=10)
    tasks = {
        split: SemanticEpisodes(source.split(split), source.vectors(split), setting)
        for split in ("train", "test")
    }

    torch.manual_seed(0)
    learner = ZeroShot(Identity(source.dim), semantic_dim=source.n_attributes, dim=64)
    plan = qs.Plan(steps=args.steps, tasks_per_step=1, validate_every=0)
    qs.train(
        qs.MetaStep(learner, qs.objectives.QueryLoss()),
        tasks["train"],
        plan=plan,
        optimiser=qs.Optimiser(lr=3e-3, schedule="cosine"),
    )
    print("50 classes that were never seen:", qs.evaluate(learner, tasks["test"], n_tasks=100))

    described, examples = source.vectors("test")[:3], source.split("test")
    predictor = learner.fit(Examples.single(described, torch.arange(3)), Classes(3))
    x = torch.cat([examples.x[torch.from_numpy(examples.index.rows_of(c)[:5])] for c in range(3)])
    right = int((predictor(x).argmax(1) == torch.arange(3).repeat_interleave(5)).sum())
    print(f"A predictor made of three descriptions gets {right} of 15 examples right.")


if __name__ == "__main__":
    main()
