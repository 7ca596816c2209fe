"""Checks of what is saved and exported."""

import tempfile

import torch
from torch import nn

from quickstudy.core.describe import Described
from quickstudy.core.predictor import Predictor
from quickstudy.testing.checks.requirements import contract_check, require_equal
from quickstudy.testing.checks.subject import Subject


@contract_check(
    "something learned that is kept outside the state, or a part whose constructor arguments are "
    "not plain values."
)
def check_predictor_round_trip(subject: Subject) -> None:
    """What fit returns answers as the learner does, also after it was saved and loaded."""
    for target in subject.targets:
        e = subject.episode(n_tasks=1, target=target)
        predictor, x = subject.learner.fit(e.support, target), e.query.x[0]
        require_equal(
            predictor(x),
            subject.learner(e)[0],
            f"for {target}, the answers of fit(support)(x) and of the learner itself",
        )
        with tempfile.TemporaryDirectory() as name:
            folder = predictor.save(name)
            loaded = Predictor.load(folder, modules=_given_modules(predictor)).to(x.device)
        require_equal(
            loaded(x),
            predictor(x),
            f"for {target}, the answers of the loaded predictor and of the saved one",
            tolerance=0.0,
        )


@contract_check(
    "a branch on values, .item(), a size taken as a constant, or numpy in predict; set "
    "exportable=False if the method needs it."
)
def check_exports(subject: Subject) -> None:
    """torch.export takes the predictor, for any number of queries."""
    e = subject.episode(n_tasks=1)
    predictor = subject.learner.fit(e.support, e.target)
    x = e.query.x[0]
    program = torch.export.export(
        predictor, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False
    ).module()
    for some in (x, x[:2], torch.cat((x, x, x))):
        require_equal(
            program(some),
            predictor(some),
            f"the answers of the exported program to {len(some)} queries and the predictor's",
        )


def _given_modules(part: nn.Module) -> dict[str, nn.Module]:
    """The networks that are given again when the part is loaded, by name."""
    described = (module for module in part.modules() if isinstance(module, Described))
    return {name: module for one in described for name, module in one.given_modules().items()}
