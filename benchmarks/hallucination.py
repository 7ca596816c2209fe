"""Hallucination on photographs: do imagined examples help where there is one of each class?

quickstudy train mini-imagenet-classify
quickstudy train mini-imagenet-meta --from runs/mini-imagenet-classify
python benchmarks/hallucination.py --run runs/mini-imagenet-meta

miniImageNet's features by the run's encoder, which stays as it is; generators are trained on 5-way
1-shot tasks of the training classes with M imagined examples per class, and scored with M = 0, 10,
50 and 100 on the same test tasks. M = 0 is the same trained learner without imagined examples; as
its features are fixed and its scale changes no answer, that is the nearest class mean in the
features. "G without noise" shows what a learned change of the class means does by itself: one
imagined example, z = 0. Writes benchmarks/hallucination.json and, of the variant that concatenates,
docs/images/embedding.png.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quickstudy.algorithms import Hallucinator
from quickstudy.analysis import embedding, imagined_spread
from quickstudy.core.learner import encoder_of
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import seed_everything
from quickstudy.core.setting import Setting
from quickstudy.data import ClassDataset, Episodes, encoded
from quickstudy.encoders import Identity
from quickstudy.evaluation import commit, compare, evaluate, versions
from quickstudy.objectives import QueryLoss
from quickstudy.recipes import load_run
from quickstudy.training import Optimiser, Plan, train

ROOT = Path(__file__).parent.parent
FILE, PICTURE = (
    ROOT / "benchmarks" / "hallucination.json",
    ROOT / "docs" / "images" / "embedding.png",
)
SETTING, TRAINED_WITH, SCORED_WITH = Setting(5, 1, 15), 10, (0, 10, 50, 100)
VARIANTS: dict[str, dict[str, Any]] = {
    "concatenation, class means": {"generator": "concat"},
    "Wang et al., class means": {"generator": "residual"},
    "Wang et al., matching": {"generator": "residual", "head": "matching"},
}


def rows() -> list[str]:
    """The table, from the file."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    titles = list(next(iter(found["variants"].values()))["scores"])
    made = [
        f"| generator, learner | {' | '.join(titles)} | spread over the noise |",
        "|---" * (len(titles) + 2) + "|",
    ]
    for name, e in found["variants"].items():
        cells = []
        for title, s in e["scores"].items():
            pair = (
                ""
                if title == "M = 0"
                else f" ({100 * s['difference']:+.2f} ± {100 * s['difference_ci95']:.2f})"
            )
            cells.append(f"{100 * s['mean']:.2f} ± {100 * s['ci95']:.2f}{pair}")
        made.append(f"| {name} | {' | '.join(cells)} | {e['spread']:.2f} |")
    seconds = [e["train_seconds"] for e in found["variants"].values()]
    commits = ", ".join(sorted({e["commit"] for e in found["variants"].values()}))
    note = (
        f"5-way 1-shot, 15 queries, miniImageNet's test classes, {found['n_tasks']:,} tasks, the "
        "same for all; in brackets the paired difference to M = 0 of the same "
        f"learner; all ± are 95 % intervals. Features of the run `{found['recipe']}`, generators "
        f"trained with M = {found['trained_with']} for {found['steps']} steps of two "
        f"tasks ({min(seconds):.0f} to {max(seconds):.0f} s on {found['threads']} thread); commit "
        f"{commits}."
    )
    return [*made, "", note]


def without_noise(learner: Hallucinator) -> None:
    """One imagined example per class, of the noise 0."""
    learner.n_imagined, imagined = 1, learner.imagined

    def without_noise(z: Tensor, y: Tensor, n: int) -> Tensor:
        return imagined(z, y, n, noise=z.new_zeros(1))

    learner.imagined = without_noise  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--n-tasks", type=int, default=400)
    args = parser.parse_args()
    run = load_run(args.run)
    data, encoder = run.recipe.build_data(), encoder_of(run.learner)
    splits: dict[str, ClassDataset] = {}
    for name in ("train", "test"):
        tasks = data.tasks(name, SETTING)
        assert isinstance(tasks, Episodes)
        splits[name] = encoded(tasks.dataset, encoder)
        print(f"{name} encoded", flush=True)
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    if found.get("recipe") != run.recipe.name or found.get("steps") != args.steps:
        found = {
            "recipe": run.recipe.name,
            "steps": args.steps,
            "n_tasks": args.n_tasks,
            "trained_with": TRAINED_WITH,
            "variants": {},
        }
    for name, options in VARIANTS.items():
        if name in found["variants"]:
            continue
        seed_everything("hallucination", name)
        learner = Hallucinator(Identity(encoder.out_dim), n_imagined=TRAINED_WITH, **options)
        began = time.perf_counter()
        train(
            MetaStep(learner, QueryLoss()),
            Episodes(splits["train"], SETTING),
            plan=Plan(steps=args.steps, tasks_per_step=2, validate_every=0),
            optimiser=Optimiser(lr=1e-3, schedule="one_cycle"),
        )
        seconds = time.perf_counter() - began
        learner.eval()
        exams, reports = Episodes(splits["test"], SETTING), {}
        for m in SCORED_WITH:
            learner.n_imagined = m
            reports[f"M = {m}"] = evaluate(learner, exams, n_tasks=args.n_tasks, batch=2)
            print(f"{name}, M = {m}: {reports[f'M = {m}']}", flush=True)
        learner.n_imagined = SCORED_WITH[-1]
        episode = exams.batch([0])
        spread = imagined_spread(learner, episode.support, SETTING.n_way)
        if name == next(iter(VARIANTS)):
            learner.n_imagined = 20
            embedding(learner, Episodes(splits["test"], Setting(5, 1, 30))).draw(
                PICTURE, title="Real and imagined photographs of five classes"
            )
        without_noise(learner)
        reports["G without noise"] = evaluate(learner, exams, n_tasks=args.n_tasks, batch=2)
        plain, told = reports["M = 0"], {}
        for title, report in reports.items():
            pair = compare(plain, report)
            told[title] = {
                "mean": report.mean,
                "ci95": report.ci95,
                "difference": pair.difference,
                "difference_ci95": pair.ci95,
            }
        found["variants"][name] = {
            "options": options,
            "scores": told,
            "spread": spread,
            "train_seconds": round(seconds, 1),
            "commit": commit(),
        }
        found |= {"versions": versions(), "threads": torch.get_num_threads()}
        FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
