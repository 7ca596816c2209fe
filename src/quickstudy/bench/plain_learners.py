"""Training steps of some learners as a researcher writes them from the papers: stock layers, one
task after another, `torch.autograd.grad` and torch's optimisers. What quickstudy's own are measured
beside; the sizes are the defaults of its learners.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.bench.entry import Job, Step
from quickstudy.bench.textbook import features, scores
from quickstudy.bench.workloads import Task
from quickstudy.core.rng import seed_everything

Weights: TypeAlias = Mapping[str, Tensor]
TaskLoss: TypeAlias = Callable[[Weights, Task], Tensor]

_WAYS = 5


def plain_learner(name: str, job: Job) -> Step | None:
    """A step of the plain loop of a learner, on the tasks of a job of 5 ways; None where there is
    no such loop.
    """
    if name not in _LOSSES:
        return None
    seed_everything("bench plain", name)
    loss, own = _LOSSES[name](job.workload.width)
    start = {n: p.detach().requires_grad_() for n, p in job.model.named_parameters()}
    tasks = list(job.tasks.each())
    wanted = [*start.values(), *own.parameters()]

    def step() -> dict[str, Any]:
        value = torch.stack([loss(start, task) for task in tasks]).mean()
        return {"gradient": torch.autograd.grad(value, wanted, allow_unused=True)}

    return step


def _tim(entropy: Callable[[Tensor], Tensor], weights: tuple[float, float]) -> TaskLoss:
    of_support, of_answers = weights

    def answers(w: Tensor, z: Tensor) -> Tensor:
        return -7.5 * torch.cdist(z, w).square()

    def loss(p: Weights, task: Task) -> Tensor:
        support = F.normalize(features(p, task.support_x), dim=1)
        queries = F.normalize(features(p, task.query_x), dim=1)
        w = support.detach().unflatten(0, (_WAYS, -1)).mean(1).requires_grad_()
        adam = torch.optim.Adam([w], lr=1e-3)
        for _ in range(100):
            known = answers(w, queries.detach()).softmax(1)
            labelled = F.cross_entropy(answers(w, support.detach()), task.support_y)
            value = (
                of_support * labelled
                - entropy(known.mean(0, keepdim=True))
                + of_answers * entropy(known)
            )
            (w.grad,) = torch.autograd.grad(value, [w])
            adam.step()
        return F.cross_entropy(answers(w.detach(), queries), task.query_y)

    return loss


def _shannon(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-38).log()).sum(1).mean()


def _tsallis(p: Tensor) -> Tensor:
    return (1 - p.square().sum(1)).mean()


def _baseline(p: Weights, task: Task) -> Tensor:
    z = features(p, task.support_x).detach()
    head = nn.Linear(z.shape[1], _WAYS)
    sgd = torch.optim.SGD(
        head.parameters(), lr=0.01, momentum=0.9, dampening=0.9, weight_decay=1e-3
    )
    for _ in range(100):
        for rows in torch.randperm(len(z)).split(4):
            sgd.zero_grad()
            F.cross_entropy(head(z[rows]), task.support_y[rows]).backward()
            sgd.step()
    out = F.linear(features(p, task.query_x), head.weight.detach(), head.bias.detach())
    return F.cross_entropy(out, task.query_y)


def _imaml(p: Weights, task: Task, *, strength: float = 4.0) -> Tensor:
    names = list(p)
    home = [v.detach() for v in p.values()]

    def support_loss(at: list[Tensor]) -> Tensor:
        fast = dict(zip(names, at, strict=True))
        return F.cross_entropy(scores(fast, features(fast, task.support_x)), task.support_y)

    at = [v.clone().requires_grad_() for v in home]
    for _ in range(32):
        away = torch.stack([(a - h).square().sum() for a, h in zip(at, home, strict=True)]).sum()
        slopes = torch.autograd.grad(support_loss(at) + strength / 2 * away, at)
        at = [(a - 0.05 * g).detach().requires_grad_() for a, g in zip(at, slopes, strict=True)]
    fast = dict(zip(names, at, strict=True))
    value = F.cross_entropy(scores(fast, features(fast, task.query_x)), task.query_y)
    b = torch.autograd.grad(value, at)
    slopes = torch.autograd.grad(support_loss(at), at, create_graph=True)
    x = [torch.zeros_like(v) for v in b]
    r, direction = list(b), list(b)
    size = sum(v.square().sum() for v in r)
    for _ in range(5):
        products = torch.autograd.grad(slopes, at, direction, retain_graph=True)
        bent = [v + h / strength for v, h in zip(direction, products, strict=True)]
        rate = size / sum((v * c).sum() for v, c in zip(direction, bent, strict=True))
        x = [v + rate * d for v, d in zip(x, direction, strict=True)]
        r = [v - rate * c for v, c in zip(r, bent, strict=True)]
        new = sum(v.square().sum() for v in r)
        direction = [v + new / size * d for v, d in zip(r, direction, strict=True)]
        size = new
    # a loss whose gradient is the one that was found
    return torch.stack([(v.detach() * q).sum() for v, q in zip(x, p.values(), strict=True)]).sum()


class _MetaLSTM(nn.Module):
    """A memory cell for every weight, with the weights of the network as its state."""

    def __init__(self, hidden: int = 20) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(4, hidden)
        self.forget, self.take = nn.Linear(hidden + 2, 1), nn.Linear(hidden + 2, 1)

    def forward(self, p: Weights, task: Task) -> Tensor:
        flat = torch.cat([v.reshape(-1) for v in p.values()])
        n = len(flat)
        h, c = (flat.new_zeros(n, self.cell.hidden_size) for _ in range(2))
        f, i = flat.new_zeros(n, 1), flat.new_zeros(n, 1)
        for _ in range(12):
            value, g = _slope(p, flat, task)
            seen = torch.cat((_read(g), _read(value.reshape(1)).expand(n, 2)), 1)
            h, c = self.cell(seen, (h, c))
            f = self.forget(torch.cat((h, flat[:, None], f), 1))
            i = self.take(torch.cat((h, flat[:, None], i), 1))
            flat = f[:, 0].sigmoid() * flat - i[:, 0].sigmoid() * g
        return _asked(p, flat, task)


class _LearnedOptimiser(nn.Module):
    """Two memory cells for every weight, which make its updates."""

    def __init__(self, hidden: int = 20) -> None:
        super().__init__()
        self.first, self.second = nn.LSTMCell(2, hidden), nn.LSTMCell(hidden, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, p: Weights, task: Task) -> Tensor:
        flat = torch.cat([v.reshape(-1) for v in p.values()])
        one = two = None
        for _ in range(20):
            g = _slope(p, flat, task)[1]
            one = self.first(_read(g), one)
            two = self.second(one[0], two)
            flat = flat + 0.1 * self.out(two[0])[:, 0]
        return _asked(p, flat, task)


def _read(x: Tensor) -> Tensor:
    """Size and sign, as both papers read gradients."""
    large = x.abs() >= 4.54e-5
    size = torch.where(large, x.abs().clamp_min(4.54e-5).log() / 10, -torch.ones_like(x))
    return torch.stack((size, torch.where(large, x.sign(), x * 22026.5)), 1)


def _named(p: Weights, flat: Tensor) -> dict[str, Tensor]:
    parts = flat.split([v.numel() for v in p.values()])
    return {n: part.view(v.shape) for (n, v), part in zip(p.items(), parts, strict=True)}


def _slope(p: Weights, flat: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    at = flat.detach().requires_grad_()
    fast = _named(p, at)
    value = F.cross_entropy(scores(fast, features(fast, task.support_x)), task.support_y)
    return value.detach(), torch.autograd.grad(value, [at])[0]


def _asked(p: Weights, flat: Tensor, task: Task) -> Tensor:
    fast = _named(p, flat)
    return F.cross_entropy(scores(fast, features(fast, task.query_x)), task.query_y)


class _MANN(nn.Module):
    """The equations of the paper along one sequence of all examples."""

    def __init__(
        self, features: int, width: int = 200, rows: int = 128, row: int = 40, heads: int = 4
    ) -> None:
        super().__init__()
        self.rows, self.row, self.heads = rows, row, heads
        self.cell = nn.LSTMCell(features + _WAYS + heads * row, width)
        self.key = nn.Linear(width, heads * row)
        self.gate = nn.Parameter(torch.zeros(heads, 1))
        self.head = nn.Linear(width + heads * row, _WAYS)

    def forward(self, p: Weights, task: Task) -> Tensor:
        x, y = torch.cat((task.support_x, task.query_x)), torch.cat((task.support_y, task.query_y))
        z = features(p, x)
        z = F.layer_norm(z, z.shape[1:])
        labels = F.one_hot(y, _WAYS).to(z.dtype)
        last = torch.zeros_like(labels[0])
        state = None
        read = z.new_zeros(self.heads * self.row)
        memory = z.new_zeros(self.rows, self.row)
        usage = z.new_zeros(self.rows)
        attention = z.new_full((self.heads, self.rows), 1 / self.rows)
        out = []
        for t in range(len(z)):
            state = self.cell(torch.cat((z[t], last, read))[None], state)
            h = state[0][0]
            keys = self.key(h).tanh().view(self.heads, self.row)
            least = usage.detach().argsort(stable=True)[: self.heads]
            free = torch.zeros_like(usage).index_fill(0, least, 1.0)
            write = self.gate.sigmoid() * attention + (1 - self.gate.sigmoid()) * free
            kept = torch.ones_like(usage).index_fill(0, least[:1], 0.0)
            memory = memory * kept[:, None] + write.T @ keys
            unit = F.normalize(memory, dim=1, eps=1e-3)
            attention = (10 * F.normalize(keys, dim=1) @ unit.T).softmax(1)
            read = (attention @ memory).flatten()
            usage = 0.95 * usage + (attention + write).sum(0)
            out.append(self.head(torch.cat((h, read))))
            last = labels[t]
        return F.cross_entropy(torch.stack(out), y)


def _of(module: nn.Module) -> tuple[TaskLoss, nn.Module]:
    return module, module


_LOSSES: dict[str, Callable[[int], tuple[TaskLoss, nn.Module]]] = {
    "tim": lambda _: (_tim(_shannon, (0.1, 0.1)), nn.Module()),
    "alpha_tim": lambda _: (_tim(_tsallis, (1.0, 1.0)), nn.Module()),
    "baseline": lambda _: (_baseline, nn.Module()),
    "imaml": lambda _: (_imaml, nn.Module()),
    "meta_lstm": lambda _: _of(_MetaLSTM()),
    "learned_optimiser": lambda _: _of(_LearnedOptimiser()),
    "mann": lambda width: _of(_MANN(width)),
}
"""By learner: the loss of a task, made for a width of the encoder, and the module that holds what
it learns beside the network.
"""
