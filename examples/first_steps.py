"""First steps: meta-train two learners, compare them on the same tasks, then learn five characters
that neither has seen.

    python examples/first_steps.py --steps 20 --n-tasks 20    # a look at it, well under a minute
    python examples/first_steps.py                            # a few minutes on two cores, and
    better numbers

Nothing is downloaded: the data set, Glyphs, is drawn on the spot.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

import quickstudy as qs
from quickstudy.data import ClassDataset, Glyphs
from quickstudy.evaluation import Origin


def main() -> None:
    """Train, compare, learn five characters, predict, save and load."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300, help="training steps of each learner")
    parser.add_argument(
        "--n-tasks", type=int, default=300, help="tasks that each learner is scored on"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for the fitted model; default: one that is removed at the end",
    )
    args = parser.parse_args()

    data = Glyphs(rotations=True)
    seen, unseen = data.split("train"), data.split("test")
    print(
        f"{len(seen.index)} classes to train on (each character also turned, as new classes), "
        f"{len(unseen.index)} to test on."
    )

    protonet, fomaml = trained_protonet(data, args.steps), trained_fomaml(data, args.steps)

    # The stream is numbered, and task i is the same for every learner: so the two can be compared
    # task by task.
    exam = data.tasks("test", qs.Setting(n_way=5, n_shot=1, n_query=15))
    a = qs.evaluate(fomaml, exam, n_tasks=args.n_tasks, origin=Origin(algorithm="fomaml"))
    b = qs.evaluate(protonet, exam, n_tasks=args.n_tasks, origin=Origin(algorithm="protonet"))
    print(f"a  {a}\nb  {b}\nb − a: {qs.compare(a, b)}")

    with tempfile.TemporaryDirectory() as scratch:
        learn_five_characters(protonet, unseen, args.out or Path(scratch) / "five-characters")


def trained_protonet(data: Glyphs, steps: int) -> qs.AbstractLearner:
    """Prototypical networks. Training with more classes per task than the test has makes the
    features better.
    """
    torch.manual_seed(0)
    learner = qs.algorithms.ProtoNet(qs.encoders.Conv4(size=28))
    plan = qs.Plan(steps=steps, validate_every=0)
    return trained(learner, data, qs.Setting(n_way=20, n_shot=1, n_query=5), plan)


def trained_fomaml(data: Glyphs, steps: int) -> qs.AbstractLearner:
    """First-order MAML, normalised with each task's support: no query is judged with the help of
    another, so it is inductive.
    """
    torch.manual_seed(0)
    learner = qs.algorithms.fomaml(
        qs.encoders.Conv4(size=28, norm="support", norm_scale=False),
        n_out=5,
        inner_lr=0.5,
        inner_steps=3,
    )
    plan = qs.Plan(steps=steps, tasks_per_step=4, chunk=2, workers=2, validate_every=0)
    return trained(learner, data, qs.Setting(n_way=5, n_shot=1, n_query=5), plan)


def trained(
    learner: qs.AbstractLearner, data: Glyphs, size: qs.Setting, plan: qs.Plan
) -> qs.AbstractLearner:
    """The same loop serves both: only the learner and the size of a training task differ."""
    step = qs.MetaStep(learner, qs.objectives.QueryLoss())
    result = qs.train(
        step,
        data.tasks("train", size),
        plan=plan,
        optimiser=qs.Optimiser(lr=3e-3, schedule="one_cycle"),
    )
    print(f"Trained {type(learner).__name__} on {result.tasks} tasks in {result.seconds:.0f} s.")
    return learner


def learn_five_characters(
    learner: qs.AbstractLearner, characters: ClassDataset, folder: Path
) -> None:
    """One drawing each of five characters in, names of new drawings out; then the same from the
    saved files.
    """
    five = range(0, len(characters.index), len(characters.index) // 5)[:5]
    names = tuple(characters.index.names[c] for c in five)
    rows = np.stack([characters.index.rows_of(c)[:4] for c in five])  # [5 4]
    known = characters.gather(rows[:, 0])  # [5 1 28 28]
    new = characters.gather(rows[:, 1:].ravel())  # [15 1 28 28]

    predictor = learner.fit(qs.Examples.single(known, torch.arange(5)), qs.Classes(5)).named(names)
    with torch.no_grad():
        said = predictor(new).argmax(1)
    print("\nFive new characters, one drawing of each seen. New drawings of:")
    for c, answers in enumerate(said.view(5, 3).tolist()):
        print(f"  {names[c]:<32} are called {', '.join(predictor.labels[a] for a in answers)}")
    print(f"{int((said.view(5, 3) == torch.arange(5)[:, None]).sum())} of 15 right.")

    predictor.save(folder)
    with torch.no_grad():
        again = qs.load(folder)(new).argmax(1)
    print(
        "Saved, loaded and asked again: the answers are "
        f"{'the same' if torch.equal(again, said) else 'DIFFERENT'}."
    )


if __name__ == "__main__":
    main()
