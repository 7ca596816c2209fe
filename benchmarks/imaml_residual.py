"""How near to a minimum the inner loop of iMAML comes on Omniglot, by strength, rate and steps.

    python benchmarks/imaml_residual.py       writes benchmarks/imaml_residual.json

Three 5-way 1-shot training tasks, a strided Conv4 with batch statistics and fresh weights, as in
the recipe family-imaml. The residual is that of `quickstudy.inner.implicit.ImplicitLoop`: 0 at a
minimum, 1 at the start. Beside it the smallest curvature that conjugate gradients met, and the
share of right answers after adaptation.
"""

import json
from pathlib import Path

import torch
from torch import Tensor

from quickstudy.algorithms import imaml
from quickstudy.core.rng import seed_everything
from quickstudy.encoders import Conv4
from quickstudy.evaluation import commit
from quickstudy.inner.implicit import ImplicitLoop
from quickstudy.recipes.family import family_recipe

FILE = Path(__file__).parent / "imaml_residual.json"
# strength, rate, steps
CASES = ((2, 0.2, 16), (2, 0.05, 32), (2, 0.005, 300), (20, 0.005, 40), (50, 0.005, 32))
CASES = (*CASES, (100, 0.004, 32))


def main() -> None:
    recipe = family_recipe("imaml")
    episode = recipe.build_data().tasks("train", recipe.episodes).batch(range(3))
    rows = []

    def note(loop: ImplicitLoop, residual: Tensor, bend: Tensor) -> None:
        rows[-1] |= {"residual": float(residual.max()), "curvature": float(bend.min())}

    ImplicitLoop.check = note  # type: ignore[method-assign]
    for strength, rate, steps in CASES:
        seed_everything("weights", "imaml")
        encoder = Conv4(size=28, norm="batch", downsample="stride")
        options = {"inner_lr": rate, "inner_steps": steps, "strength": float(strength)}
        learner = imaml(encoder, n_out=5, **options).train()
        rows.append({"strength": strength, "inner_lr": rate, "inner_steps": steps})
        out = learner(episode)
        right = (out.argmax(-1) == episode.query.y).double().mean()
        episode.target.loss(out, episode.query.y).mean().backward()
        rows[-1]["accuracy"] = round(float(right), 3)
        print(rows[-1], flush=True)
    result = {"rows": rows, "torch": torch.__version__, "commit": commit()}
    FILE.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
