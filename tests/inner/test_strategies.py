"""Every way of computing a gradient-based learner's outer gradient against one slow loop in
float64, written from the equations.
"""

import functools
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.algorithms import maml
from quickstudy.core.compiled import CompiledGradient
from quickstudy.core.errors import ConfigError, TrainingError
from quickstudy.core.objective import MetaStep
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.core.workers import Workers
from quickstudy.encoders import Conv4, Wrapped
from quickstudy.encoders.norm import EPS
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.inner.select import Selection, everything, head_only
from quickstudy.inner.start import LinearHead
from quickstudy.kernels import backend
from quickstudy.objectives import QueryLoss
from quickstudy.testing import toy_episode

WAY, WIDTH, SIZE, STEPS, LR, TASKS = 3, 5, 16, 2, 0.01, 3


def tasks(channels=1):
    g = torch.Generator().manual_seed(1)
    centres = torch.randn(TASKS, WAY, 1, channels, SIZE, SIZE, generator=g, dtype=torch.float64)

    def draw(n):
        x = centres + 0.5 * torch.randn(
            TASKS, WAY, n, channels, SIZE, SIZE, generator=g, dtype=torch.float64
        )
        return Examples(
            x.flatten(1, 2), torch.arange(WAY).repeat_interleave(n).expand(TASKS, -1).contiguous()
        )

    return Episode(draw(2), draw(3), Classes(WAY))


def in_precision(episode, dtype):
    def cast(e):
        return Examples(e.x.to(dtype), e.y)

    return Episode(cast(episode.support), cast(episode.query), episode.target)


def learner_of(
    norm,
    *,
    first_order=False,
    recompute=False,
    adapts=None,
    channels=1,
    downsample="pool",
    width=WIDTH,
):
    torch.manual_seed(0)
    encoder = Conv4(in_channels=channels, width=width, size=SIZE, norm=norm, downsample=downsample)
    loop = InnerLoop(FixedRate(LR), steps=STEPS, first_order=first_order, recompute=recompute)
    learner = GradientLearner(
        encoder, LinearHead(encoder.out_dim, WAY), loop=loop, adapts=adapts or Selection(("*",))
    ).double()
    with torch.no_grad():
        for name, p in learner.named_parameters():
            if ".norm." in name:  # scales of both signs, other shifts
                p.copy_(torch.randn(p.shape, dtype=torch.float64))
        if norm == "running":
            blocks: Any = encoder.blocks
            for block in blocks:
                block.norm.norm.running_mean.normal_()
                block.norm.norm.running_var.uniform_(0.5, 2)
            learner.eval()
    return learner


def reference(learner, episode, *, first_order=False):
    """Mean query loss and its gradient: one task after another, stock operations, nothing shared
    with the library but the numbers.
    """
    encoder = learner.encoder
    every = {n: p.detach().clone().requires_grad_() for n, p in learner.named_parameters()}
    buffers = (
        [(b.norm.norm.running_mean, b.norm.norm.running_var) for b in encoder.blocks]
        if encoder.norm == "running"
        else None
    )

    def forward(p, x, remembered=None):
        seen = []
        for i in range(4):
            x = F.conv2d(
                x,
                p[f"encoder.blocks.{i}.conv.weight"],
                stride=1 if encoder.downsample == "pool" else 2,
                padding=1,
            )
            seen.append((x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)))
            gamma = p.get(f"encoder.blocks.{i}.norm.weight")
            beta = p.get(f"encoder.blocks.{i}.norm.bias")
            if encoder.norm == "group":
                x = F.group_norm(x, 1, gamma, beta, EPS)  # gcd(8, 5) = 1 group
            elif encoder.norm == "none":
                x = x + beta.view(-1, 1, 1)
            else:
                mean, var = buffers[i] if buffers else remembered[i] if remembered else seen[i]
                x = (x - mean.view(-1, 1, 1)) / (var.view(-1, 1, 1) + EPS).sqrt() * gamma.view(
                    -1, 1, 1
                ) + beta.view(-1, 1, 1)
            x = F.relu(x)
            x = F.max_pool2d(x, 2) if encoder.downsample == "pool" else x
        return F.linear(
            x.flatten(1) if encoder.downsample == "pool" else x.mean((2, 3)),
            p["head.weight"],
            p["head.bias"],
        ), seen

    total = torch.zeros((), dtype=torch.float64)
    for t in range(TASKS):
        fast = {n: every[n] for n in learner.fast_names}
        for _ in range(STEPS):
            loss = F.cross_entropy(
                forward({**every, **fast}, episode.support.x[t])[0], episode.support.y[t]
            )
            gradients = torch.autograd.grad(loss, list(fast.values()), create_graph=not first_order)
            fast = {n: p - LR * g for (n, p), g in zip(fast.items(), gradients, strict=True)}
        adapted = {**every, **fast}
        remembered = (
            forward(adapted, episode.support.x[t])[1] if encoder.norm == "support" else None
        )
        total = (
            total
            + F.cross_entropy(
                forward(adapted, episode.query.x[t], remembered)[0], episode.query.y[t]
            )
            / TASKS
        )
    return total.item(), torch.autograd.grad(total, list(every.values()), allow_unused=True)


@functools.cache
def expected(norm, *, first_order=False, adapts=None):
    """What `reference` says of `tasks`, looped over once for all that is compared with it."""
    learner = learner_of(norm, first_order=first_order, adapts=adapts)
    return reference(learner, tasks(), first_order=first_order)


def pieces_of(episode, chunk):
    def cut(e, a):
        return Examples(e.x[a : a + chunk], e.y[a : a + chunk])

    return [
        Episode(cut(episode.support, a), cut(episode.query, a), episode.target)
        for a in range(0, TASKS, chunk)
    ]


def ours(learner, episode, *, chunk, workers=1, compiled=""):
    step = MetaStep(learner, QueryLoss())
    parameters = list(step.parameters())
    graph = CompiledGradient(step, how=compiled) if compiled else None

    def gradient(step, piece):
        if graph is not None:
            loss, found = graph(step, piece)
            share = piece.n_tasks / TASKS
            return loss.item() * share, [None if g is None else g * share for g in found]
        loss = step(piece) * (piece.n_tasks / TASKS)
        return loss.item(), torch.autograd.grad(loss, parameters, allow_unused=True)

    with Workers(step, workers) as pool:
        parts = pool.map(gradient, pieces_of(episode, chunk))
    return sum(loss for loss, _ in parts), [
        None if g[0] is None else sum(g[1:], g[0]) for g in zip(*(g for _, g in parts), strict=True)
    ]


def distance(found, wanted):
    assert [g is None for g in found] == [g is None for g in wanted]
    pairs = [(a.double(), b) for a, b in zip(found, wanted, strict=True) if b is not None]
    off = sum(float((a - b).square().sum()) for a, b in pairs)
    return (off / sum(float(b.square().sum()) for _, b in pairs)) ** 0.5


STRATEGIES: dict[str, dict[str, Any]] = {
    "a loop over tasks": {"chunk": 1},
    "one graph over all tasks": {"chunk": TASKS},
    "graphs of two tasks": {"chunk": 2},
    "a loop on two workers": {"chunk": 1, "workers": 2},
}


@pytest.mark.parametrize("form", ["plain", "torch", "numba"])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("norm", ["batch", "support", "group", "none", "running"])
def test_the_outer_gradient(norm, first_order, strategy, form):
    learner, episode = learner_of(norm, first_order=first_order), tasks()
    # refused, see tests/core/test_batching.py
    workers = {"workers": 1} if norm == "running" else {}
    loss, wanted = expected(norm, first_order=first_order)
    with backend(form):
        found_loss, found = ours(learner, episode, **{**STRATEGIES[strategy], **workers})
    assert found_loss == pytest.approx(loss, rel=1e-12)
    assert distance(found, wanted) < 1e-10


@pytest.mark.parametrize("form", ["plain", "torch", "numba"])
@pytest.mark.parametrize("chunk", [1, TASKS])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("norm", ["batch", "support", "group", "none", "running"])
def test_the_outer_gradient_in_single_precision(norm, first_order, chunk, form):
    learner = learner_of(norm, first_order=first_order).float()
    with backend(form):
        _, found = ours(learner, in_precision(tasks(), torch.float32), chunk=chunk)
    assert distance(found, expected(norm, first_order=first_order)[1]) < 1e-4


@pytest.mark.parametrize("form", ["torch", "numba"])
@pytest.mark.parametrize("chunk", [1, TASKS])
@pytest.mark.parametrize("norm", ["batch", "support", "group", "none", "running"])
def test_recomputed_steps_give_the_same_gradient(norm, chunk, form):
    # the norm's own weights are slow: they are `given`
    learner = learner_of(norm, recompute=True, adapts=everything())
    _, wanted = expected(norm, adapts=everything())
    with backend(form):
        assert distance(ours(learner, tasks(), chunk=chunk)[1], wanted) < 1e-10


def test_recomputed_steps_of_the_head_alone():
    learner, episode = learner_of("batch", recompute=True, adapts=head_only()), tasks()
    assert distance(ours(learner, episode, chunk=1)[1], reference(learner, episode)[1]) < 1e-10


@pytest.mark.parametrize("form", ["plain", "torch", "numba"])
@pytest.mark.parametrize(("channels", "downsample"), [(3, "pool"), (1, "stride"), (3, "stride")])
@pytest.mark.parametrize("chunk", [1, TASKS])
def test_colour_and_strides(channels, downsample, chunk, form):
    learner = learner_of("batch", channels=channels, downsample=downsample)
    episode = tasks(channels)
    with backend(form):
        assert (
            distance(ours(learner, episode, chunk=chunk)[1], reference(learner, episode)[1]) < 1e-10
        )


@pytest.mark.parametrize(("norm", "first_order"), [("batch", True), ("support", False)])
def test_a_recorded_graph_gives_the_same_gradient(norm, first_order):
    learner, episode = learner_of(norm, first_order=first_order), tasks()
    _, wanted = expected(norm, first_order=first_order)
    assert distance(ours(learner, episode, chunk=1, workers=1, compiled="trace")[1], wanted) < 1e-10


def test_a_recorded_graph_gives_the_same_gradient_and_sees_new_weights_and_new_tasks():
    learner, episode = learner_of("batch"), tasks()
    step = MetaStep(learner, QueryLoss())
    graph = CompiledGradient(step, how="trace")
    assert distance(graph(step, episode)[1], expected("batch")[1]) < 1e-10
    with torch.no_grad():
        for p in step.parameters():
            p.mul_(0.9)
    other = Episode(
        Examples(episode.support.x.flip(3), episode.support.y), episode.query, episode.target
    )
    loss, found = graph(step, other)
    wanted_loss, wanted = reference(learner, other)
    assert loss.item() == pytest.approx(wanted_loss, rel=1e-12)
    assert distance(found, wanted) < 1e-10


def gradients_of_other_tasks(step, graph, *, channels):
    """Those of a recorded step, and of the step itself, after the weights have changed."""
    graph(step, in_precision(tasks(channels), torch.float32))
    with torch.no_grad():
        for p in step.parameters():
            p.mul_(0.9)
    first = in_precision(tasks(channels), torch.float32)
    other = Episode(
        Examples(first.support.x.flip(3), first.support.y),
        Examples(first.query.x.flip(4), first.query.y),
        first.target,
    )
    loss = step(other)
    found = torch.autograd.grad(loss, [p for p in step.parameters() if p.requires_grad])
    recorded_loss, recorded = graph(step, other)
    return (loss, *found), (recorded_loss, *recorded)


@pytest.mark.parametrize("form", ["torch", "numba"])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize(
    ("norm", "channels", "width"),
    [
        ("batch", 1, WIDTH),
        ("batch", 3, WIDTH),
        ("support", 1, WIDTH),
        ("batch", 1, 32),
        ("batch", 3, 32),
    ],
)
def test_a_recorded_graph_has_the_fused_operations(norm, channels, width, first_order, form):
    """To the bit, which the operations that they replace would not be."""
    learner = learner_of(norm, channels=channels, first_order=first_order, width=width).float()
    step = MetaStep(learner, QueryLoss())
    with backend(form):
        graph = CompiledGradient(step, how="trace")
        found, recorded = gradients_of_other_tasks(step, graph, channels=channels)
    assert all(torch.equal(a, b) for a, b in zip(found, recorded, strict=True))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("chunk", [1, TASKS])
def test_channels_that_fill_vectors(chunk, channels):
    learner, episode = learner_of("batch", width=32, channels=channels), tasks(channels)
    _, wanted = reference(learner, episode)
    found = ours(learner.float(), in_precision(episode, torch.float32), chunk=chunk)[1]
    assert distance(found, wanted) < 1e-4


def test_a_recorded_graph_sees_new_images_where_the_first_block_is_frozen():
    learner = learner_of("none").float()
    learner.encoder.blocks[0].requires_grad_(False)
    frozen = GradientLearner(
        learner.encoder, learner.head, loop=learner.loop, adapts=Selection(("*",))
    )
    step = MetaStep(frozen, QueryLoss())
    graph = CompiledGradient(step, how="trace")
    found, recorded = gradients_of_other_tasks(step, graph, channels=1)
    assert all(torch.equal(a, b) for a, b in zip(found, recorded, strict=True))


def test_what_changes_at_each_call_is_not_recorded():
    with pytest.raises(TrainingError, match="cannot hold BatchNorm2d"):
        CompiledGradient(MetaStep(learner_of("running").train(), QueryLoss()))
    with pytest.raises(ConfigError, match="Did you mean 'inductor'"):
        CompiledGradient(MetaStep(learner_of("batch"), QueryLoss()), how="induktor")


def test_a_forgotten_parameter_is_refused_when_steps_are_recomputed():
    scale = torch.ones(1, requires_grad=True)
    loop = InnerLoop(FixedRate(0.1), steps=2, recompute=True)
    start = {"w": torch.ones(3, requires_grad=True)}

    def loss_at(p, _):
        return (p["w"] * scale).square().sum()

    with pytest.raises(
        ConfigError, match=r"1 parameters that are not among `given` \(shapes \[\(1,\)\]\)"
    ):
        loop.run(start, loss_at)
    kept = InnerLoop(FixedRate(0.1), steps=2).run(start, loss_at)["w"].sum()
    again = loop.run(start, loss_at, given=[scale])["w"].sum()
    for a, b in zip(
        torch.autograd.grad(kept, [scale, start["w"]]),
        torch.autograd.grad(again, [scale, start["w"]]),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_recomputed_steps_draw_the_same_dropout():
    start = {"w": torch.ones(64, requires_grad=True)}
    loop = InnerLoop(FixedRate(0.5), steps=3, recompute=True)

    def loss_at(p, _):
        return F.dropout(p["w"], 0.5).pow(3).sum()

    found = []
    for form in (loop, InnerLoop(FixedRate(0.5), steps=3)):
        torch.manual_seed(0)
        end = form.run(start, loss_at)["w"]
        found.append((end.detach(), *torch.autograd.grad(end.sum(), start["w"])))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_half_precision_is_refused_with_its_reason():
    learner, episode = learner_of("batch").float(), in_precision(tasks(), torch.float32)
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(ConfigError, match="does not run in half precision: its second derivatives"),
    ):
        learner(episode)


def test_memory_grows_with_the_steps_unless_they_are_recomputed():
    """Counted, not measured: the tensors that the graph keeps for the backward pass."""

    def kept(steps, recompute):
        learner, episode = learner_of("batch", recompute=recompute), pieces_of(tasks(), 1)[0]
        learner.loop, held = InnerLoop(FixedRate(LR), steps=steps, recompute=recompute), []

        def pack(t):
            held.append(weakref.ref(t))
            return t

        with backend("torch"), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = MetaStep(learner, QueryLoss())(episode)
        alive = {
            t.data_ptr(): t.numel() * t.element_size() for ref in held if (t := ref()) is not None
        }
        assert loss.requires_grad
        return sum(alive.values())

    assert kept(6, False) - kept(2, False) > 8 * (kept(6, True) - kept(2, True))


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


def test_a_weight_of_two_layers_is_adapted_in_both() -> None:
    torch.manual_seed(0)
    network = Tied().double()
    learner = maml(Wrapped(network, out_dim=4), n_out=3, inner_steps=1, inner_lr=0.5).double()
    e = in_precision(toy_episode(n_tasks=1, shape=(4,), n_way=3), torch.float64)
    head = dict(learner.head.named_parameters())

    def scores(p: Sequence[Tensor], x: Tensor) -> Tensor:
        w, first, second, *above = p
        return F.linear(F.linear(F.linear(x, w, first).relu(), w, second), *above)

    start = [
        network.first.weight,
        network.first.bias,
        network.second.bias,
        head["weight"],
        head["bias"],
    ]
    loss = F.cross_entropy(scores(start, e.support.x[0]), e.support.y[0])
    slopes = torch.autograd.grad(loss, start)
    after = [p - 0.5 * g for p, g in zip(start, slopes, strict=True)]
    torch.testing.assert_close(learner(e)[0], scores(after, e.query.x[0]))
