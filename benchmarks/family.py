"""Train and score every recipe of the gradient-based family, one after another, and keep what was
measured.

python benchmarks/family.py                 what is not in benchmarks/family/ yet
python benchmarks/family.py maml maml_pp    these, unless they are there
python benchmarks/family.py --long maml     the same with twelve times as many tasks, into
benchmarks/family_long/

Every run uses one thread, so that several of these commands may run side by side, one to a core.
What was interrupted is taken up again where it was: the runs lie in runs/.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from quickstudy.recipes import train_recipe
from quickstudy.recipes.family import FAMILY, STEPS, family_recipe

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Train and score the recipes of these names, in this order."""
    parser = argparse.ArgumentParser(description="Train and score the gradient-based family.")
    parser.add_argument("names", nargs="*", choices=[*FAMILY, []])
    parser.add_argument("--long", action="store_true", help="twelve times as many tasks")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    kind = "family_long" if asked.long else "family"
    here, runs = ROOT / "benchmarks" / kind, ROOT / "runs" / kind
    here.mkdir(exist_ok=True)
    for name in asked.names or FAMILY:
        steps = 12 * STEPS if asked.long else STEPS
        recipe = family_recipe(name, steps)
        files = [here / f"{name}.{i}.json" for i in range(len(recipe.evaluations))]
        if all(file.exists() for file in files):
            continue
        if recipe.start_from:
            half = runs / "maml-half"
            half_run = train_recipe(
                family_recipe("maml", steps // 2),
                half,
                resume=(half / "last.pt").exists(),
                device="cpu",
            )
            recipe = replace(recipe, start_from=str(half))
            if not half_run.result.finished:
                return
        run = train_recipe(
            recipe, runs / name, resume=(runs / name / "last.pt").exists(), device="cpu"
        )
        if not run.result.finished:
            return
        for evaluation, file in zip(recipe.evaluations, files, strict=True):
            report = run.evaluate(evaluation)
            report.save(file)
            print(name, report, flush=True)


if __name__ == "__main__":
    main()
