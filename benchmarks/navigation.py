"""Meta reinforcement learning in minutes: 2-D navigation by MAML, beside what does not adapt, and
bandits by RL².

python benchmarks/navigation.py                                          all of it, writes
benchmarks/navigation.json and docs/images/navigation.png
python benchmarks/navigation.py --iterations 3 --bandits 5 --out FILE --plot FILE    a look at it

Navigation: a policy is meta-trained by TRPO through one REINFORCE step on 20 episodes of each of 20
goals, and scored on 40 goals that it has never met, before adaptation and after one, two and three
steps. Beside it, on the same goals: a policy that was trained on all goals at once (the same TRPO,
no inner step) and a fresh one, each adapted at the same rate and at the one that does best for it
after three steps on 40 training goals; and one that knows the goal.

Bandits: ten pulls at five arms that pay with unknown probabilities. A recurrent policy learns to
try and to choose; beside it chance, Thompson sampling, and one who knows the best arm, on the same
1,000 bandits.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.core.rng import generator, seed_everything
from quickstudy.evaluation import commit
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.rl import (
    TRPO,
    Bandits,
    Navigation2D,
    PolicyLearner,
    RecurrentPolicy,
    TrialPPO,
    live,
    maml_policy,
    play,
    returns_along,
    train_policy,
    train_recurrent,
)

ROOT = Path(__file__).parent.parent
FILE, PICTURE = ROOT / "benchmarks" / "navigation.json", ROOT / "docs" / "images" / "navigation.png"
RUNS = ROOT / "runs" / "navigation"
WORLD, GOALS, STEPS, PULLS = Navigation2D(), 40, 3, 10
RATES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
NAMES = {
    "maml": "MAML, TRPO",
    "pretrained": "trained on all goals at once",
    "random": "fresh weights",
}


def fresh(inner_steps: int) -> PolicyLearner:
    """The policy that all begin with."""
    seed_everything("weights", "navigation")
    return maml_policy(WORLD, inner_lr=0.1, later_lr=0.05, inner_steps=inner_steps)


def navigation(iterations: int, runs: Path) -> tuple[dict[str, Any], PolicyLearner]:
    """Every policy's returns, and the one that was meta-trained."""
    found: dict[str, Any] = {}
    learners = {"maml": fresh(1), "pretrained": fresh(0), "random": fresh(1)}
    for name, learner in learners.items():
        told = (
            {"seconds": 0.0, "curve": []}
            if name == "random"
            else trained(learner, name, iterations, runs)
        )
        found[name] = {**told, "at": [scores(learner)]}
        if name != "maml":
            found[name]["at"].append(scores(at_its_best(learner)))
    tasks = WORLD.tasks(GOALS, split="test")
    known = play(
        WORLD, tasks, lambda seen: WORLD.oracle(tasks, seen), 1, generator("oracle")
    ).returns
    found["oracle"] = {"returns": [list(mean_ci95(np.asarray(known)))]}
    return found, learners["maml"]


def trained(learner: PolicyLearner, name: str, iterations: int, runs: Path) -> dict[str, Any]:
    """How its training went, now or before."""
    file = runs / f"{name}-{iterations}.pt"
    if not file.exists():
        began = time.perf_counter()
        happened = train_policy(
            learner, WORLD, TRPO(), iterations=iterations, on_iteration=said(name)
        )
        curve = [[round(t["before"], 2), round(t["after"], 2)] for t in happened]
        runs.mkdir(parents=True, exist_ok=True)
        torch.save(
            {
                "weights": learner.state_dict(),
                "seconds": round(time.perf_counter() - began, 1),
                "curve": curve,
            },
            file,
        )
    kept = torch.load(file, weights_only=True)
    learner.load_state_dict(kept["weights"])
    return {"seconds": kept["seconds"], "curve": kept["curve"]}


def scores(learner: PolicyLearner) -> dict[str, Any]:
    """Its returns on goals that were never met, along the adaptation."""
    along = returns_along(learner, WORLD, n_tasks=GOALS, steps=STEPS)
    return {
        "rate": learner.loop.rule.lr,
        "returns": [list(mean_ci95(np.asarray(row))) for row in along],
    }  # type: ignore[union-attr]


def at_its_best(learner: PolicyLearner) -> PolicyLearner:
    """With the rate of adaptation, halved behind the first step, that suits it best on training
    goals.
    """
    tasks, found = WORLD.tasks(GOALS, first=10_000_000), {}
    for rate in RATES:
        found[rate] = (
            rated(learner, rate)
            .eval()
            .adapt(WORLD, tasks, generator("rl", "rates"), steps=STEPS)
            .returns[-1]
            .mean()
        )
    return rated(learner, max(found, key=lambda rate: float(found[rate])))


def rated(learner: PolicyLearner, rate: float) -> PolicyLearner:
    """The same policy with another rate."""
    return PolicyLearner(learner.policy, InnerLoop(FixedRate(rate, later=rate / 2), steps=1))


def said(name: str) -> Any:
    """Tells every tenth iteration."""
    return lambda i, happened: (
        print(name, i, {k: round(v, 3) for k, v in happened.items()}, flush=True)
        if i % 10 == 9
        else None
    )


def picture(learner: PolicyLearner, found: dict[str, Any], file: Path) -> None:
    """Ways to four goals before adaptation and after one and three steps, and the returns of
    all.
    """
    tasks = WORLD.tasks(4, split="test")
    happened = learner.eval().adapt(WORLD, tasks, generator("rl", "picture"), steps=STEPS)
    figure = new_figure(13.0, 3.6)
    axes = figure.subplots(1, 4)
    colours = ("#0969da", "#1a7f37", "#9a6700", "#cf222e")
    for ax, at, title in zip(
        axes, (0, 1, 3), ("before adaptation", "after one step", "after three steps"), strict=False
    ):
        t = happened.evidence[at].trajectories
        for goal, seen, mask, colour in zip(tasks, t.observed, t.mask, colours, strict=True):
            for way, lasted in zip(seen[:3], mask[:3], strict=True):
                ax.plot(*way[lasted].T.numpy(), color=colour, linewidth=0.8, alpha=0.8)
            ax.plot(
                *goal.numpy(),
                marker="*",
                markersize=12,
                color=colour,
                markeredgecolor="black",
                linestyle="",
            )
        ax.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal", title=title)
    for name, label in NAMES.items():
        mean, half = zip(*found[name]["at"][-1]["returns"], strict=True)
        axes[3].errorbar(
            range(len(mean)), mean, yerr=half, marker="o", markersize=4, capsize=2, label=label
        )
    axes[3].axhline(
        found["oracle"]["returns"][0][0], color="#8c959f", linestyle="--", label="knows the goal"
    )
    axes[3].set(
        xlabel="steps of adaptation",
        ylabel="return",
        title=f"{GOALS} goals never met",
        ylim=(-110, 5),
    )
    axes[3].legend(fontsize=8, frameon=False, loc="lower right")
    save_figure(figure, file)


def bandits(iterations: int) -> dict[str, Any]:
    """Ten pulls, by all."""
    world = Bandits()
    seed_everything("weights", "bandits")
    policy = RecurrentPolicy(world.n_observed, world.n_actions, width=48)
    began = time.perf_counter()
    train_recurrent(
        policy, world, iterations=iterations, n_tasks=200, n_episodes=PULLS, ppo=TrialPPO(lr=1e-2)
    )
    seconds = time.perf_counter() - began
    arms = world.tasks(1000, split="test")
    ours = live(policy, world, arms, PULLS, generator("bandits", "test")).returns(PULLS).sum(0)
    pays, draws = arms.numpy().astype(np.float64), np.random.default_rng(0)
    # Thompson: Beta(1, 1) for every arm
    total, won = (
        np.ones((2, len(pays), world.n_actions)),
        np.zeros(len(pays)),
    )
    rows = np.arange(len(pays))
    for _ in range(PULLS):
        pull = draws.beta(total[0], total[1]).argmax(1)
        paid = draws.random(len(pays)) < pays[rows, pull]
        won += paid
        total[0, rows, pull] += paid
        total[1, rows, pull] += ~paid
    values = {
        "rl2": ours.numpy(),
        "thompson": won,
        "chance": PULLS * pays.mean(1),
        "best_arm": PULLS * pays.max(1),
    }
    return {
        "seconds": round(seconds, 1),
        **{name: list(mean_ci95(np.asarray(v, dtype=np.float64))) for name, v in values.items()},
    }


def rows() -> list[str]:
    """The table, from the file."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    made = [
        "| policy | before | after one step | after two | after three | rate | trained in |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, label in NAMES.items():
        of = found["navigation"][name]
        for at in of["at"]:
            cells = " | ".join(f"{m:.1f} ± {c:.1f}" for m, c in at["returns"])
            made.append(f"| {label} | {cells} | {at['rate']:g} | {of['seconds'] / 60:.1f} min |")
    known, b = found["navigation"]["oracle"]["returns"][0], found["bandits"]
    told = [
        f"{what} {b[key][0]:.2f} ± {b[key][1]:.2f}"
        for key, what in (
            ("rl2", "RL²"),
            ("thompson", "Thompson sampling"),
            ("chance", "chance"),
            ("best_arm", "whoever knows the best arm"),
        )
    ]
    return [
        *made,
        "",
        f"Mean return over {GOALS} goals that were never met, with the 95 % interval over goals; "
        f"{found['iterations']} iterations; who knows the goal gets "
        f"{known[0]:.1f}. On {found['threads']} thread(s) of a 2-core machine; commit "
        f"{found['commit']}.",
        "",
        f"Bandits, the sum of {PULLS} pulls at 5 arms, 1,000 bandits: {', '.join(told)}; trained "
        f"in {b['seconds']:.0f} s.",
    ]


def main() -> None:
    """Measure, draw and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=250, help="of each meta-training")
    parser.add_argument(
        "--bandits", type=int, default=600, help="iterations of the training on bandits"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=RUNS,
        help="where the trained policies lie; what is there is not trained again",
    )
    parser.add_argument("--out", type=Path, default=FILE, help="where the numbers go")
    parser.add_argument("--plot", type=Path, default=PICTURE, help="where the picture goes")
    args = parser.parse_args()
    found: dict[str, Any] = {
        "iterations": args.iterations,
        "threads": torch.get_num_threads(),
        "commit": commit(),
    }
    found["bandits"] = bandits(args.bandits)
    found["navigation"], learner = navigation(args.iterations, args.runs)
    picture(learner, found["navigation"], args.plot)
    args.out.write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(
        {k: v for k, v in found.items() if k != "navigation"},
        {n: v.get("at") for n, v in found["navigation"].items()},
    )


if __name__ == "__main__":
    main()
