"""Train and score every recipe of the gradient-based family, one after another, and keep what was measured.

python benchmarks/family.py                 what is not in benchmarks/family/ yet
python benchmarks/family.py maml maml_pp    these, unless they are there

Every run uses one thread, so that several of these commands may run side by side, one to a core.
"""

import sys
import tempfile
from pathlib import Path

import torch

from quickstudy.recipes import train_recipe
from quickstudy.recipes.family import FAMILY

HERE = Path(__file__).parent / "family"


def main(names: list[str]) -> None:
    """Train and score the recipes of these names, in this order."""
    torch.set_num_threads(1)
    HERE.mkdir(exist_ok=True)
    for name in names or list(FAMILY):
        recipe = FAMILY[name]()
        files = [HERE / f"{name}.{i}.json" for i in range(len(recipe.evaluations))]
        if all(file.exists() for file in files):
            continue
        with tempfile.TemporaryDirectory() as folder:
            run, _ = train_recipe(recipe, Path(folder) / "run", device="cpu")
            for evaluation, file in zip(recipe.evaluations, files, strict=True):
                report = run.evaluate(evaluation)
                report.save(file)
                print(name, report, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
