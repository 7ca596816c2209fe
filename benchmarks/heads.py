"""Heads on one trained encoder of photographs: what looks at the queries beside what does not,
where classes have as many queries and where not.

quickstudy train mini-imagenet-classify
quickstudy train mini-imagenet-meta --from runs/mini-imagenet-classify
python benchmarks/heads.py --run runs/mini-imagenet-meta

5-way 1-shot and 5-shot, 75 queries, of miniImageNet's test classes, spread over the classes evenly
or by Dirichlet(2); the same tasks for all. What is slow gets fewer of them. Writes
benchmarks/heads.json after every head, and goes on where it stopped.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from quickstudy.algorithms import ALGORITHMS
from quickstudy.algorithms.transfer.feature_head import FeatureHead
from quickstudy.core.learner import AbstractLearner, encoder_of
from quickstudy.core.setting import Setting
from quickstudy.data import Episodes, encoded, on_features
from quickstudy.evaluation import commit, evaluate, versions
from quickstudy.recipes import load_run

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "heads.json"
SETTINGS = {
    "1-shot, even": Setting(5, 1, 15),
    "1-shot, Dirichlet": Setting(5, 1, 15, alpha=2.0),
    "5-shot, even": Setting(5, 5, 15),
    "5-shot, Dirichlet": Setting(5, 5, 15, alpha=2.0),
}
TASKS, SLOW_TASKS, IMAGE_TASKS = 1000, 200, 20
HEADS: dict[str, tuple[str, dict[str, Any], int]] = {
    "class means, Euclidean": ("protonet", {}, TASKS),
    "class means, cosine": ("protonet", {"similarity": "cosine"}, TASKS),
    "SimpleShot (CL2N)": ("simpleshot", {}, TASKS),
    "nearest example, cosine": ("nearest_neighbour", {"similarity": "cosine"}, TASKS),
    "logistic regression": ("linear_probe", {}, SLOW_TASKS),
    "Baseline": ("baseline", {}, SLOW_TASKS),
    "Baseline++": ("baseline_pp", {}, SLOW_TASKS),
    "cosine classifier": ("cosine_tuning", {}, SLOW_TASKS),
    "cosine classifier, entropy of noisy supports": (
        "cosine_tuning",
        {"entropy": "support"},
        SLOW_TASKS,
    ),
    "cosine classifier, entropy of queries": ("cosine_tuning", {"entropy": "queries"}, SLOW_TASKS),
    "soft k-means, 1 step": ("soft_kmeans", {"steps": 1}, TASKS),
    "soft k-means": ("soft_kmeans", {}, TASKS),
    "BD-CSPN": ("bd_cspn", {}, TASKS),
    "LaplacianShot": ("laplacian_shot", {}, TASKS),
    "PT-MAP": ("pt_map", {}, TASKS),
    "TIM": ("tim", {}, SLOW_TASKS),
    "α-TIM (1-shot: 2, 5-shot: 7)": ("alpha_tim", {}, SLOW_TASKS),
    "OSLO": ("oslo", {}, TASKS),
    "transductive fine-tuning of the whole network": ("transductive_tuning", {}, IMAGE_TASKS),
}


def rows() -> list[str]:
    """The table, from the file."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    made = [
        f"| head | looks at the queries | {' | '.join(SETTINGS)} | tasks | seconds per 1,000 "
        "tasks, 1-shot and 5-shot |",
        "|---" * 8 + "|",
    ]
    for name, e in found["heads"].items():
        scores = (f"{100 * s['mean']:.2f} ± {100 * s['ci95']:.2f}" for s in e["settings"].values())
        seconds = " and ".join(
            f"{e['settings'][k]['seconds_per_1000']:.3g}" for k in ("1-shot, even", "5-shot, even")
        )
        made.append(
            f"| {name} | {'yes' if e['transductive'] else 'no'} | {' | '.join(scores)} | "
            f"{e['n_tasks']:,} | {seconds} |"
        )
    commits = ", ".join(sorted({e["commit"] for e in found["heads"].values()}))
    note = (
        f"Encoder: the run `{found['recipe']}`. 5-way, 75 queries, 95 % intervals over tasks; on "
        f"{found['threads']} thread beside other work, so the seconds are "
        f"an upper bound; commit {commits}."
    )
    return [*made, "", note]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], help="so many heads; default all")
    args = parser.parse_args()
    run = load_run(args.run)
    encoder = encoder_of(run.learner)
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    if found.get("recipe") != run.recipe.name:
        found = {"recipe": run.recipe.name, "heads": {}}
    pictures = run.recipe.build_data().tasks("test", SETTINGS["1-shot, even"])
    assert isinstance(pictures, Episodes)
    features, centred = encoded(pictures.dataset, encoder), None
    for name, (algorithm, options, n_tasks) in HEADS.items():
        if name in found["heads"] or (args.only and name not in args.only):
            continue
        rates: dict[str, Any] = {}
        for title, setting in SETTINGS.items():
            more = {"alpha": 7.0} if algorithm == "alpha_tim" and setting.n_shot == 5 else {}
            learner: AbstractLearner[Any] = ALGORITHMS[algorithm](encoder, **options, **more).eval()
            if isinstance(learner, FeatureHead):
                if centred is None:
                    learner.prepare(run.recipe.training_tasks)
                    centred = learner.mean.clone() if learner.transform == "cl2n" else None
                elif learner.transform == "cl2n":
                    learner.mean.copy_(centred)
            quick = learner.traits.encodes_alone
            asked, data = (on_features(learner), features) if quick else (learner, pictures.dataset)
            began = time.perf_counter()
            report = evaluate(asked, Episodes(data, setting), n_tasks=n_tasks, batch=8)
            seconds = (time.perf_counter() - began) / n_tasks * 1000
            rates[title] = {
                "mean": report.mean,
                "ci95": report.ci95,
                "seconds_per_1000": round(seconds, 2),
            }
            print(f"{name}, {title}: {report}  {seconds:.1f} s per 1,000 tasks", flush=True)
        found["heads"][name] = {
            "algorithm": algorithm,
            "options": options,
            "n_tasks": n_tasks,
            "transductive": learner.traits.transductive,
            "settings": rates,
            "commit": commit(),
        }
        found |= {
            "threads": torch.get_num_threads(),
            "versions": versions(),
            "train_tasks": run.result.tasks,
        }
        FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
