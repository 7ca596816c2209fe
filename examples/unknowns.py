"""Unknowns: enrol fifty characters from two drawings each, recognise new drawings of them, and
refuse all others.

    python examples/unknowns.py --steps 20    # a look at it, under a minute
    python examples/unknowns.py               # a few minutes on two cores, and better numbers

Nothing is downloaded: the data set, Glyphs, is drawn on the spot. The gallery needs ``pip install
'quickstudy[gallery]'``.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

import quickstudy as qs
from quickstudy.data import ClassDataset, Glyphs
from quickstudy.estimators import FewShotClassifier, OpenSetClassifier
from quickstudy.gallery import Gallery

N_KNOWN, N_COHORT = 50, 100


def main() -> None:
    """Train an encoder, encode characters that it has never seen, enrol some of them, and knock at
    the door with all.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300, help="training steps of the encoder")
    parser.add_argument(
        "--rate",
        type=float,
        default=0.05,
        help="the share of unknowns that may be taken for a member",
    )
    args = parser.parse_args()

    data = Glyphs(rotations=True)
    encoder = trained_encoder(data, args.steps)
    characters = data.split("test")
    people = np.random.default_rng(0).permutation(len(characters.index))
    known, cohort, unknown = np.split(people, [N_KNOWN, N_KNOWN + N_COHORT])
    templates = {
        characters.index.names[c]: encoded(encoder, characters, [c], slice(2)) for c in known
    }
    others, intruders = (encoded(encoder, characters, of, slice(1)) for of in (cohort, unknown))
    x, y = np.concatenate(list(templates.values())), np.repeat(list(templates), 2)
    new, truth = encoded(encoder, characters, known, slice(2, 5)), np.repeat(list(templates), 3)

    model = OpenSetClassifier(FewShotClassifier(), false_accept_rate=args.rate).fit(
        x, y, cohort=others
    )
    print(f"Threshold {model.threshold_:.3f} by the rule: {model.rule_}.")
    print_rates(model.predict(new), model.predict(intruders), truth, args.rate)

    with tempfile.TemporaryDirectory() as scratch:
        gallery = Gallery.create(
            Path(scratch) / "door.db", encoder="my encoder 1", dim=encoder.out_dim
        )
        for name, vectors in templates.items():
            # some characters look like others turned; people would be looked at here
            gallery.enrol(name, vectors, force=True)
        gallery.calibrate(args.rate, cohort=others)
        answers = [
            np.asarray([d.identity or "unknown" for d in gallery.identify(probes)])
            for probes in (new, intruders)
        ]
        print_rates(answers[0], answers[1], truth, args.rate)
        print(
            f"The gallery has {len(gallery.identities())} identities; last in its log: "
            f"{gallery.audit(last=1)[0]['action']}."
        )
        gallery.close()


def trained_encoder(data: Glyphs, steps: int) -> qs.AbstractEncoder:
    """The encoder of prototypical networks that were trained on other scripts."""
    torch.manual_seed(0)
    learner = qs.algorithms.ProtoNet(qs.encoders.Conv4(size=28))
    tasks = data.tasks("train", qs.Setting(n_way=20, n_shot=1, n_query=5))
    plan = qs.Plan(steps=steps, validate_every=0)
    qs.train(
        qs.MetaStep(learner, qs.objectives.QueryLoss()),
        tasks,
        plan=plan,
        optimiser=qs.Optimiser(lr=3e-3, schedule="one_cycle"),
    )
    return learner.encoder.eval()


def encoded(
    encoder: qs.AbstractEncoder,
    characters: ClassDataset,
    classes: list[int] | np.ndarray,
    drawings: slice,
) -> np.ndarray:
    """The vectors of some drawings of each class."""
    rows = np.concatenate([characters.index.rows_of(int(c))[drawings] for c in classes])
    with torch.no_grad():
        return encoder(characters.gather(rows)[None])[0].numpy()


def print_rates(members: np.ndarray, unknowns: np.ndarray, truth: np.ndarray, rate: float) -> None:
    """How many of whom got in."""
    right, refused = float((members == truth).mean()), float((members == "unknown").mean())
    got_in = float((unknowns != "unknown").mean())
    print(
        f"Members: {100 * right:.0f} % recognised, {100 * refused:.0f} % refused. Unknowns: "
        f"{100 * got_in:.1f} % got in, {100 * rate:g} % were asked for."
    )


if __name__ == "__main__":
    main()
