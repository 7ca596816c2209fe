import inspect
import json
import math
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.algorithms import ALGORITHMS
from quickstudy.bench import WORKLOADS, LearnersReport, measure_learners
from quickstudy.bench.entry import Job
from quickstudy.bench.plain_learners import PLAIN_LOSSES, plain_learner
from quickstudy.bench.textbook import textbook
from quickstudy.core.online import AbstractOnline
from quickstudy.core.rng import seed_everything
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.encoders import Conv4
from quickstudy.objectives import QueryLoss


def test_learners_are_measured_beside_their_arithmetic() -> None:
    reports: list[LearnersReport] = []
    names = ["protonet", "cnp", "zero_shot", "tsa_maml"]
    report = measure_learners(names, n_tasks=1, width=2, rounds=1, on_report=reports.append)
    assert [len(r.costs) + len(r.skipped) for r in reports] == [1, 2, 3, 4]
    assert set(report.costs) | set(report.skipped) == set(names)
    cost = report.costs["protonet"]
    # five supports and 75 queries: 9 taps, one channel and then three times two, forward; backward
    # twice that, without the images' own
    forward = 2 * 80 * 9 * (28**2 * 2 + (14**2 + 7**2 + 3**2) * 4)
    backward = 2 * forward - 2 * 80 * 9 * 28**2 * 2
    assert forward + backward <= cost.flops < 1.05 * (forward + backward)
    assert cost.calls > 50
    assert cost.of_plain is not None
    assert report.costs["cnp"].of_plain is None
    values = json.loads(json.dumps(report.to_json()))
    assert values["learners"]["protonet"]["of_arithmetic"] == pytest.approx(cost.of_arithmetic)


class Compared(NamedTuple):
    """The losses of one task by a learner of the registry and by its plain loop, from the same
    weights, and their gradients for these, by name.
    """

    losses: tuple[Tensor, Tensor]
    gradients: tuple[dict[str, Tensor], dict[str, Tensor]]


def compared(name: str) -> Compared:
    workload = WORKLOADS["W1"].changed(n_tasks=1, width=4)
    model = textbook(workload).double()
    seed_everything("test of plain learners", name)
    plain, own = PLAIN_LOSSES[name](model)
    own = own.double()
    builder = ALGORITHMS[name]
    options = {"n_out": 5} if "n_out" in inspect.signature(builder).parameters else {}
    learner = builder(Conv4(width=4, norm="batch"), **options).double()
    theirs = dict(model.named_parameters()) | dict(own.named_parameters())
    own_names = {path: path.removeprefix("loop.rule.") for path, _ in learner.named_parameters()}
    with torch.no_grad():
        for path, p in learner.named_parameters():
            p.copy_(theirs[own_names[path]])
    (task,) = workload.tasks(seed=1).to(torch.device("cpu"), torch.float64).each()
    support = Examples(task.support_x[None], task.support_y[None])
    query = Examples(task.query_x[None], task.query_y[None])
    if isinstance(learner, AbstractOnline):
        y = torch.cat((support.y, query.y), 1)
        out = learner.online(torch.cat((support.x, query.x), 1), y, 5)
        ours = F.cross_entropy(out[0], y[0])
    else:
        ours = QueryLoss()(learner, Episode(support, query, Classes(5)))
    loss = plain(dict(model.named_parameters()), task)
    return Compared(
        (ours, loss),
        (
            slopes(ours, {own_names[path]: p for path, p in learner.named_parameters()}),
            slopes(loss, {path: theirs[path] for path in own_names.values()}),
        ),
    )


def slopes(loss: Tensor, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    wanted = list(parameters.values())
    found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


@pytest.mark.filterwarnings("ignore:.*iMAML")
@pytest.mark.parametrize("name", PLAIN_LOSSES)
def test_a_plain_loop_computes_what_the_learner_computes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # heads that begin at random, and take examples in a random order, draw the same
    monkeypatch.setattr(
        torch, "rand", lambda *size, **_: torch.linspace(0, 1, math.prod(size)).view(size)
    )
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n).flip(0))
    losses, (ours, plain) = compared(name)
    if name != "imaml":
        torch.testing.assert_close(*losses)
    assert any(g.abs().max() > 1e-6 for path, g in ours.items() if path.startswith("encoder."))
    for path, g in ours.items():
        size = 1e-6 * float(g.abs().max()) + 1e-12
        assert float((g - plain[path]).abs().max()) <= size, path


def test_a_step_of_a_plain_loop_is_the_mean_of_its_tasks() -> None:
    workload = WORKLOADS["W1"].changed(n_tasks=2, width=4)
    with Job.of(workload, torch.device("cpu"), dtype=torch.float64) as job:
        step = plain_learner("nil", job)
        assert step is not None
        gradient = step()["gradient"]
        loss, _ = PLAIN_LOSSES["nil"](job.model)
        parameters = dict(job.model.named_parameters())
        value = torch.stack([loss(parameters, task) for task in job.tasks.each()]).mean()
        wanted = torch.autograd.grad(value, next(iter(parameters.values())))
        assert plain_learner("feat", job) is None
    torch.testing.assert_close(gradient[0], wanted[0])
