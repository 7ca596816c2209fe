"""Train and score learners with 12 training classes, with and without task interpolation, three
times each.

python benchmarks/few_classes.py                     what is not in benchmarks/few_classes/ yet
python benchmarks/few_classes.py maml maml-mlti      these, unless they are there
"""

import sys
from pathlib import Path

import torch

from quickstudy.recipes import train_recipe
from quickstudy.recipes.few_classes import NAMES, few_classes

ROOT = Path(__file__).parent.parent
SEEDS = 3


def main(names: list[str]) -> None:
    """Train and score the recipes of these names."""
    torch.set_num_threads(1)
    here = ROOT / "benchmarks" / "few_classes"
    here.mkdir(exist_ok=True)
    for name in names or NAMES:
        for seed in range(SEEDS):
            file = here / f"{name}.{seed}.json"
            folder = ROOT / "runs" / "few_classes" / f"{name}.{seed}"
            if file.exists():
                continue
            recipe = few_classes(name, seed)
            run = train_recipe(recipe, folder, resume=(folder / "last.pt").exists(), device="cpu")
            if not run.result.finished:
                return
            report = run.evaluate(recipe.evaluations[0])
            report.save(file)
            print(name, seed, report, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
