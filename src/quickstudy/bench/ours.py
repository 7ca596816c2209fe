"""quickstudy as its users get it, and variants that show what a part of it is worth."""

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from quickstudy.algorithms import ProtoNet
from quickstudy.bench.entry import Entry, Job, Step
from quickstudy.bench.workloads import Workload
from quickstudy.core.batching import strategy_for, threads_per_operation
from quickstudy.core.compiled import CompiledGradient
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.objective import MetaStep
from quickstudy.core.types import Episode
from quickstudy.core.workers import Workers
from quickstudy.encoders import MLP, Conv4
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.inner.select import Selection, head_only
from quickstudy.inner.start import LinearHead
from quickstudy.kernels import backend
from quickstudy.objectives import QueryLoss


def learner_of(workload: Workload, *, recompute: bool = False) -> AbstractLearner[Any]:
    """The learner that does the work of the textbook network: batch statistics, and, in MAML, an
    inner loop that adapts the normalisation too, as other libraries' loops over all parameters do.
    """
    encoder = (
        MLP(1, widths=(workload.width, workload.width))
        if workload.regression
        else Conv4(
            in_channels=workload.channels, width=workload.width, size=workload.size, norm="batch"
        )
    )
    if workload.algorithm == "protonet":
        return ProtoNet(encoder)
    loop = InnerLoop(
        FixedRate(workload.inner_lr),
        steps=workload.inner_steps,
        first_order=workload.algorithm == "fomaml",
        recompute=recompute,
    )
    adapts = head_only() if workload.algorithm == "anil" else Selection(("*",))
    return GradientLearner(
        encoder, LinearHead(encoder.out_dim, workload.target.width), loop=loop, adapts=adapts
    )


def make(
    job: Job,
    *,
    form: str = "auto",
    recompute: bool = False,
    how: str = "",
    kind: str = "threads",
) -> Step:
    """A step as the training loop does it, or an answer as an evaluation does it.

    Args:
        job: what is done.
        form: the backend of the fused blocks.
        recompute: whether the graph of each inner step is built anew.
        how: the step is recorded: played back ("trace"), or compiled ("inductor"); "" for neither.
        kind: what the workers are.
    """
    learner = learner_of(job.workload, recompute=recompute).to(job.tasks.support_x)
    theirs = dict(job.model.named_parameters())
    with torch.no_grad():
        for name, p in learner.named_parameters():
            p.copy_(theirs[name])
    episode = job.workload.episode(job.tasks)
    return (
        _training(job, learner, episode, form, how, kind)
        if job.workload.trains
        else _answering(learner, episode, form)
    )


@dataclass(frozen=True)
class PieceGradient:
    """A piece's share of the gradient, which worker processes can be asked for too.

    Args:
        n_tasks: of the whole step.
        form: the backend of the fused blocks.
        recorded: the step as it was recorded.
    """

    n_tasks: int
    form: str
    recorded: CompiledGradient | None

    def __call__(self, step: nn.Module, piece: Episode) -> tuple[float, tuple[Tensor, ...]]:
        share = piece.n_tasks / self.n_tasks
        # The caller has chosen it for all threads, but not in other processes.
        with backend(self.form):
            if self.recorded is not None:
                loss, gradients = self.recorded(step, piece)
                return loss.item() * share, tuple(g * share for g in gradients if g is not None)
            loss = step(piece) * share
            return loss.item(), torch.autograd.grad(loss, list(step.parameters()))


def _training(
    job: Job, learner: AbstractLearner[Any], episode: Episode, form: str, how: str, kind: str
) -> Step:
    """What `quickstudy.training` does between drawing the tasks and stepping the optimiser."""
    step, n = MetaStep(learner, QueryLoss()).train(), episode.n_tasks
    with backend(form):  # which the strategy goes by, too
        strategy = strategy_for(step, job.device, n_tasks=n, task_numel=job.workload.task_numel)
    job.opened(threads_per_operation(strategy.threads, strategy.kernels))
    names = [name for name, _ in learner.named_parameters()]
    gradient = PieceGradient(n, form, CompiledGradient(step, how=how) if how else None)
    workers = job.opened(Workers(step, strategy.workers, kind=kind, usual=gradient))

    def again() -> dict[str, Tensor]:
        pieces = [
            pytree.tree_map(lambda leaf, at=at: leaf[at : at + strategy.chunk], episode)
            for at in range(0, n, strategy.chunk)
        ]
        with backend(form):
            parts = [gradients for _, gradients in workers.map(gradient, pieces)]
        return {
            name: functools.reduce(torch.add, of_all)
            for name, of_all in zip(names, zip(*parts, strict=True), strict=True)
        }

    return again


def _answering(learner: AbstractLearner[Any], episode: Episode, form: str) -> Step:
    learner.eval()

    def again() -> dict[str, Tensor]:
        with torch.no_grad(), backend(form):
            return {"answers": learner(episode)}

    return again


def _is_exact_maml(workload: Workload) -> bool:
    return workload.trains and workload.algorithm == "maml" and not workload.regression


def _has_workers(workload: Workload, device: torch.device) -> bool:
    """Whether its tasks are shared out."""
    return (
        workload.trains
        and not workload.regression
        and device.type == "cpu"
        and workload.n_tasks > 1
    )


def _has_inner_gradient(workload: Workload, device: torch.device) -> bool:
    """Whether a step takes gradients of gradients, in many calls, or those of single tasks."""
    return _is_small(workload) or (
        workload.trains and workload.has_inner_loop and device.type == "cpu"
    )


def _is_small(workload: Workload) -> bool:
    """Whether the calls cost more than the arithmetic."""
    return workload.trains and workload.regression


QUICKSTUDY = Entry(
    "quickstudy",
    "quickstudy, with the extra `fast` if it is installed",
    make,
    lambda workload, device: True,
    keeps_memory=True,
)
OURS: dict[str, Entry] = {
    e.name: e
    for e in (
        QUICKSTUDY,
        Entry(
            "quickstudy-torch",
            "quickstudy without any extra",
            functools.partial(make, form="torch"),
            lambda workload, device: not workload.regression,
            keeps_memory=True,
        ),
        Entry(
            "quickstudy-processes",
            "quickstudy, workers as processes instead of threads",
            functools.partial(make, kind="processes"),
            _has_workers,
            keeps_memory=True,
        ),
        Entry(
            "quickstudy-recompute",
            "quickstudy, each inner step's graph built anew for its second derivatives",
            functools.partial(make, recompute=True),
            lambda workload, device: _is_exact_maml(workload) and workload.name in ("W1", "W5"),
            keeps_memory=True,
        ),
        Entry(
            "quickstudy-default-malloc",
            "quickstudy, freed memory given back to the system as in any other program",
            make,
            lambda workload, device: workload.name == "W5" and device.type == "cpu",
        ),
        Entry(
            "quickstudy-recorded",
            "quickstudy, the step recorded once and played back",
            functools.partial(make, how="trace"),
            lambda workload, device: _has_inner_gradient(workload, device),
            keeps_memory=True,
        ),
        Entry(
            "quickstudy-recorded-processes",
            "quickstudy, the step recorded by each worker process and played back",
            functools.partial(make, how="trace", kind="processes"),
            lambda workload, device: (
                _has_workers(workload, device) and _has_inner_gradient(workload, device)
            ),
            keeps_memory=True,
        ),
        Entry(
            "quickstudy-compiled",
            "quickstudy, the recorded step compiled by torch",
            functools.partial(make, how="inductor"),
            lambda workload, device: _is_small(workload),
            program="g++",
            compiled=True,
            keeps_memory=True,
        ),
    )
}
"""The first is the one whose ratios are drawn."""
