"""Architecture search: learn weights and wiring together, decode one cell, and train it beside a
random one.

    python examples/architecture_search.py --steps 3     # a look at it, seconds
    python examples/architecture_search.py               # better numbers, minutes

Nothing is downloaded: the tasks are drawn glyphs. For your own data: any class data set in the
place of Glyphs.
"""

import argparse

import torch

import quickstudy as qs
from quickstudy.algorithms import fomaml, t_nas
from quickstudy.algorithms.architecture.decode import random_cell
from quickstudy.analysis import architecture
from quickstudy.data import Glyphs
from quickstudy.encoders import CellNet, MixedCellNet


def main() -> None:
    """Search, decode, and train what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100, help="outer steps of each training")
    parser.add_argument("--plot", default="cell.png", help="where the picture of the cell goes")
    args = parser.parse_args()

    data, setting = Glyphs(), qs.Setting(n_way=5, n_shot=1, n_query=5)
    train, val, test = (data.tasks(split, setting) for split in ("train", "val", "test"))
    plan = qs.Plan(steps=args.steps, tasks_per_step=4, validate_every=0, clip_norm=10.0)

    torch.manual_seed(0)
    search = t_nas(
        MixedCellNet(channels=8, nodes=2, layers=2, norm="batch"),
        n_out=5,
        inner_lr=0.5,
        inner_steps=2,
    )
    qs.train(
        qs.MetaStep(search, qs.objectives.QueryLoss()),
        train,
        plan=plan,
        optimiser=qs.Optimiser(lr=3e-3),
    )
    found = architecture(search, val, n_tasks=10)
    for edge, what in found.rows():
        print(edge, what)
    print("The cell is drawn in", found.draw(args.plot))

    for name, edges in (
        ("the cell that was found", found.edges),
        ("a random one", random_cell(2, seed=0)),
    ):
        torch.manual_seed(0)
        learner = fomaml(
            CellNet(edges=edges, channels=8, layers=2, norm="batch"),
            n_out=5,
            inner_lr=0.5,
            inner_steps=2,
        )
        qs.train(
            qs.MetaStep(learner, qs.objectives.QueryLoss()),
            train,
            plan=plan,
            optimiser=qs.Optimiser(lr=3e-3),
        )
        print(f"{name}:", qs.evaluate(learner, test, n_tasks=50))


if __name__ == "__main__":
    main()
