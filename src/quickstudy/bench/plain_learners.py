"""Training steps of some learners as a researcher writes them from the papers: stock layers, one
task after another, `torch.autograd.grad` and torch's optimisers. What quickstudy's own are measured
beside; the sizes are the defaults of its learners.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.bench.entry import Job, Step
from quickstudy.bench.textbook import Textbook, features, scores
from quickstudy.bench.workloads import Task
from quickstudy.core.rng import seed_everything

Weights: TypeAlias = Mapping[str, Tensor]
TaskLoss: TypeAlias = Callable[[Weights, Task], Tensor]

_WAYS = 5


def plain_learner(name: str, job: Job) -> Step | None:
    """A step of the plain loop of a learner, on the tasks of a job of 5 ways; None where there is
    no such loop.
    """
    if name not in PLAIN_LOSSES:
        return None
    seed_everything("bench plain", name)
    loss, own = PLAIN_LOSSES[name](job.model)
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
    weight, bias = _uniform(z.shape[1]).to(z), z.new_zeros(_WAYS)
    _trained([weight, bias], lambda x: F.linear(x, weight, bias), z, task.support_y)
    out = F.linear(features(p, task.query_x), weight.detach(), bias.detach())
    return F.cross_entropy(out, task.query_y)


def _baseline_pp(p: Weights, task: Task) -> Tensor:
    z = F.normalize(features(p, task.support_x).detach(), dim=1)
    direction = _uniform(z.shape[1]).to(z)
    length = direction.norm(dim=1, keepdim=True)

    def answers(x: Tensor) -> Tensor:
        return 2.0 * F.linear(x, length * F.normalize(direction, dim=1))

    _trained([direction, length], answers, z, task.support_y)
    direction, length = direction.detach(), length.detach()
    return F.cross_entropy(answers(F.normalize(features(p, task.query_x), dim=1)), task.query_y)


def _uniform(n_features: int) -> Tensor:
    """The weights of a linear layer, as `torch.nn.Linear` draws them."""
    return (2 * torch.rand(_WAYS, n_features) - 1) / n_features**0.5


def _trained(head: list[Tensor], answers: Callable[[Tensor], Tensor], z: Tensor, y: Tensor) -> None:
    sgd = torch.optim.SGD(
        [w.requires_grad_() for w in head], lr=0.01, momentum=0.9, dampening=0.9, weight_decay=1e-3
    )
    for _ in range(100):
        for rows in torch.randperm(len(z)).split(4):
            sgd.zero_grad()
            F.cross_entropy(answers(z[rows]), y[rows]).backward()
            sgd.step()


def _cosine_tuning(p: Weights, task: Task) -> Tensor:
    z = F.normalize(features(p, task.support_x).detach(), dim=1)
    weight = F.normalize(_means(z), dim=1).requires_grad_()
    bias = z.new_zeros(_WAYS, requires_grad=True)
    sgd = torch.optim.SGD([weight, bias], lr=0.01, momentum=0.9)
    for _ in range(50):
        sgd.zero_grad()
        out = 10 * F.linear(z, F.normalize(weight, dim=1), bias / 10)
        F.cross_entropy(out, task.support_y).backward()
        sgd.step()
    queries = F.normalize(features(p, task.query_x), dim=1)
    out = 10 * F.linear(queries, F.normalize(weight.detach(), dim=1), bias.detach() / 10)
    return F.cross_entropy(out, task.query_y)


def _means(z: Tensor) -> Tensor:
    """Of each class; the support comes class by class."""
    return z.unflatten(0, (_WAYS, -1)).mean(1)


def _nil(p: Weights, task: Task) -> Tensor:
    means = _means(F.normalize(features(p, task.support_x), dim=1))
    out = 10 * F.normalize(features(p, task.query_x), dim=1) @ means.T
    return F.cross_entropy(out, task.query_y)


def _soft_kmeans(p: Weights, task: Task) -> Tensor:
    z = F.normalize(features(p, task.support_x), dim=1)
    queries = F.normalize(features(p, task.query_x), dim=1)
    labels = F.one_hot(task.support_y, _WAYS).to(z.dtype)
    means = _means(z)
    for _ in range(5):
        member = torch.cat((labels, (-10 * _squares(queries, means)).softmax(1)))
        means = member.T @ torch.cat((z, queries)) / member.sum(0)[:, None]
    return F.cross_entropy(-10 * _squares(queries, means), task.query_y)


def _squares(a: Tensor, b: Tensor) -> Tensor:
    return (a[:, None] - b).square().sum(-1)


class _Matching(nn.Module):
    """Each query reads the labels of the support, by cosines."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, p: Weights, task: Task) -> Tensor:
        support = F.normalize(features(p, task.support_x), dim=1)
        queries = F.normalize(features(p, task.query_x), dim=1)
        attention = (self.log_scale.exp() * queries @ support.T).softmax(1)
        known = attention @ F.one_hot(task.support_y, _WAYS).to(attention.dtype)
        return F.nll_loss(known.log(), task.query_y)


class _MetaBaseline(nn.Module):
    """Cosines to the class means."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, p: Weights, task: Task) -> Tensor:
        means = F.normalize(_means(features(p, task.support_x)), dim=1)
        queries = F.normalize(features(p, task.query_x), dim=1)
        return F.cross_entropy(self.log_scale.exp() * queries @ means.T, task.query_y)


class _R2D2(nn.Module):
    """Ridge regression on the labels, solved over the examples."""

    def __init__(self) -> None:
        super().__init__()
        self.log_penalty = nn.Parameter(torch.tensor(0.0))
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, p: Weights, task: Task) -> Tensor:
        x = F.pad(features(p, task.support_x), (0, 1), value=1.0)
        queries = F.pad(features(p, task.query_x), (0, 1), value=1.0)
        labels = F.one_hot(task.support_y, _WAYS).to(x.dtype)
        gram = x @ x.T / len(x) + self.log_penalty.exp() * torch.eye(len(x)).to(x)
        weight = x.T @ torch.linalg.solve(gram, labels) / len(x)
        return F.cross_entropy(self.scale * queries @ weight, task.query_y)


def _descended(
    fast: dict[str, Tensor],
    task: Task,
    *,
    steps: int,
    rates: Callable[[str], Tensor | float],
    frozen: str = "norm",
    second_order: bool = True,
) -> Tensor:
    """MAML's loop over all parameters but those of the normalisation and those with the word
    ``frozen`` in their names, and the loss of the queries.
    """
    names = [name for name in fast if not any(word in name for word in ("norm", frozen))]
    for _ in range(steps):
        value = F.cross_entropy(scores(fast, features(fast, task.support_x)), task.support_y)
        slopes = torch.autograd.grad(value, [fast[n] for n in names], create_graph=second_order)
        stepped = {n: fast[n] - rates(n) * g for n, g in zip(names, slopes, strict=True)}
        fast = {**fast, **stepped}
    return F.cross_entropy(scores(fast, features(fast, task.query_x)), task.query_y)


def _boil(p: Weights, task: Task) -> Tensor:
    return _descended(dict(p), task, steps=1, rates=lambda _: 0.5, frozen="head")


def _proto_maml(p: Weights, task: Task) -> Tensor:
    means = _means(features(p, task.support_x))
    # the inner gradient of the body does not go through the start of the head
    fast = {name: v.view_as(v) for name, v in p.items()}
    fast |= {"head.weight": 2 * means, "head.bias": -means.square().sum(1)}
    return _descended(fast, task, steps=5, rates=lambda _: 0.1)


def _unicorn_maml(p: Weights, task: Task) -> Tensor:
    head = {n: torch.zeros_like(p[n], requires_grad=True) for n in ("head.weight", "head.bias")}
    return _descended({**p, **head}, task, steps=5, rates=lambda _: 0.5, second_order=False)


class _MetaSGD(nn.Module):
    """A rate for every number."""

    def __init__(self, model: Textbook) -> None:
        super().__init__()
        self.rates = nn.ParameterDict(
            {
                n.replace(".", "-"): torch.empty_like(v).uniform_(0.025, 0.5)
                for n, v in model.named_parameters()
                if "norm" not in n and "conv.bias" not in n
            }
        )

    def forward(self, p: Weights, task: Task) -> Tensor:
        def rates(name: str) -> Tensor:
            return self.rates[name.replace(".", "-")]

        return _descended(dict(p), task, steps=1, rates=rates, frozen="conv.bias")


def _imaml(p: Weights, task: Task, *, strength: float = 4.0) -> Tensor:
    moving = _moving(p)
    others = [v for n, v in p.items() if n not in moving]
    home = [v.detach() for v in moving.values()]

    def loss(at: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        fast = {**p, **dict(zip(moving, at, strict=True))}
        return F.cross_entropy(scores(fast, features(fast, x)), y)

    def support_loss(at: list[Tensor]) -> Tensor:
        return loss(at, task.support_x, task.support_y)

    at = [v.clone().requires_grad_() for v in home]
    for _ in range(32):
        away = torch.stack([(a - h).square().sum() for a, h in zip(at, home, strict=True)]).sum()
        slopes = torch.autograd.grad(support_loss(at) + strength / 2 * away, at)
        at = [(a - 0.05 * g).detach().requires_grad_() for a, g in zip(at, slopes, strict=True)]
    found = torch.autograd.grad(loss(at, task.query_x, task.query_y), [*at, *others])
    b, direct = found[: len(at)], found[len(at) :]
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
    through = torch.autograd.grad(slopes, others, [-v / strength for v in x])
    gradient = [*x, *(d + t for d, t in zip(direct, through, strict=True))]
    # a loss whose gradient is the one that was found
    wanted = [*moving.values(), *others]
    return torch.stack(
        [(v.detach() * q).sum() for v, q in zip(gradient, wanted, strict=True)]
    ).sum()


class _MetaLSTM(nn.Module):
    """A memory cell for every weight, with the weights of the network as its state."""

    def __init__(self, hidden: int = 20) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(4, hidden)
        self.forget, self.input = nn.Linear(hidden + 2, 1), nn.Linear(hidden + 2, 1)
        # at first: keep nearly all, go slowly
        nn.init.uniform_(self.forget.bias, 4.0, 6.0)
        nn.init.uniform_(self.input.bias, -5.0, -4.0)

    def forward(self, p: Weights, task: Task) -> Tensor:
        flat = torch.cat([v.reshape(-1) for v in _moving(p).values()])
        n = len(flat)
        h, c = (flat.new_zeros(n, self.cell.hidden_size) for _ in range(2))
        f, i = flat.new_zeros(n, 1), flat.new_zeros(n, 1)
        for _ in range(12):
            value, g = _slope(p, flat, task)
            seen = torch.cat((_read(g), _read(value.reshape(1)).expand(n, 2)), 1)
            h, c = self.cell(seen, (h, c))
            f = self.forget(torch.cat((h, flat[:, None], f), 1))
            i = self.input(torch.cat((h, flat[:, None], i), 1))
            flat = f[:, 0].sigmoid() * flat - i[:, 0].sigmoid() * g
        return _asked(p, flat, task)


class _LearnedOptimiser(nn.Module):
    """Two memory cells for every weight, which make its updates."""

    def __init__(self, hidden: int = 20) -> None:
        super().__init__()
        self.first, self.second = nn.LSTMCell(2, hidden), nn.LSTMCell(hidden, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, p: Weights, task: Task) -> Tensor:
        flat = torch.cat([v.reshape(-1) for v in _moving(p).values()])
        one = two = None
        for _ in range(20):
            g = _slope(p, flat, task)[1]
            one = self.first(_read(g), one)
            two = self.second(one[0], two)
            flat = flat + 0.1 * self.out(two[0])[:, 0]
        return _asked(p, flat, task)


def _read(x: Tensor) -> Tensor:
    """Size and sign, as both papers read gradients."""
    smallest = math.exp(-10)
    large = x.abs() >= smallest
    size = torch.where(large, x.abs().clamp_min(smallest).log() / 10, -torch.ones_like(x))
    return torch.stack((size, torch.where(large, x.sign(), x / smallest)), 1)


def _moving(p: Weights) -> dict[str, Tensor]:
    """All parameters but those of the normalisation."""
    return {n: v for n, v in p.items() if "norm" not in n}


def _named(p: Weights, flat: Tensor) -> dict[str, Tensor]:
    moving = _moving(p)
    parts = flat.split([v.numel() for v in moving.values()])
    moved = {n: part.view(v.shape) for (n, v), part in zip(moving.items(), parts, strict=True)}
    return {**p, **moved}


def _slope(p: Weights, flat: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    at = flat.detach().requires_grad_()
    fast = _named(p, at)
    value = F.cross_entropy(scores(fast, features(fast, task.support_x)), task.support_y)
    return value.detach(), torch.autograd.grad(value, [at])[0]


def _asked(p: Weights, flat: Tensor, task: Task) -> Tensor:
    fast = _named(p, flat)
    return F.cross_entropy(scores(fast, features(fast, task.query_x)), task.query_y)


class _LSTM(nn.Module):
    """One memory cell along one sequence of all examples."""

    def __init__(self, features: int, width: int = 200) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(features + _WAYS, width)
        self.head = nn.Linear(width, _WAYS)

    def forward(self, p: Weights, task: Task) -> Tensor:
        z, late, y = _sequence(p, task)
        state, out = None, []
        for token in torch.cat((z, late), 1):
            state = self.cell(token[None], state)
            out.append(self.head(state[0][0]))
        return F.cross_entropy(torch.stack(out), y)


def _sequence(p: Weights, task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Features of all examples, the label before each, and their labels."""
    x, y = torch.cat((task.support_x, task.query_x)), torch.cat((task.support_y, task.query_y))
    z = features(p, x)
    z = F.layer_norm(z, z.shape[1:])
    labels = F.one_hot(y, _WAYS).to(z.dtype)
    return z, torch.cat((torch.zeros_like(labels[:1]), labels[:-1])), y


class _MANN(nn.Module):
    """The equations of the paper along one sequence of all examples."""

    def __init__(
        self, features: int, width: int = 200, rows: int = 128, row: int = 40, heads: int = 4
    ) -> None:
        super().__init__()
        self.rows, self.row, self.heads = rows, row, heads
        self.cell = nn.LSTMCell(features + _WAYS + heads * row, width)
        self.key = nn.Linear(width, heads * row)
        self.gate = nn.Parameter(torch.zeros(heads))
        self.head = nn.Linear(width + heads * row, _WAYS)

    def forward(self, p: Weights, task: Task) -> Tensor:
        z, late, y = _sequence(p, task)
        state = None
        read = z.new_zeros(self.heads * self.row)
        memory = z.new_zeros(self.rows, self.row)
        usage = z.new_zeros(self.rows)
        attention = z.new_full((self.heads, self.rows), 1 / self.rows)
        out = []
        for t in range(len(z)):
            state = self.cell(torch.cat((z[t], late[t], read))[None], state)
            h = state[0][0]
            keys = self.key(h).tanh().view(self.heads, self.row)
            least = usage.detach().argsort(stable=True)[: self.heads]
            free = torch.zeros_like(usage).index_fill(0, least, 1.0)
            gate = self.gate.sigmoid()[:, None]
            write = gate * attention + (1 - gate) * free
            kept = torch.ones_like(usage).index_fill(0, least[:1], 0.0)
            memory = memory * kept[:, None] + write.T @ keys
            unit = F.normalize(memory, dim=1, eps=1e-3)
            attention = (10 * F.normalize(keys, dim=1) @ unit.T).softmax(1)
            read = (attention @ memory).flatten()
            usage = 0.95 * usage + (attention + write).sum(0)
            out.append(self.head(torch.cat((h, read))))
        return F.cross_entropy(torch.stack(out), y)


class _Attention(nn.Module):
    """What each position reads of those before it, beside what came in."""

    def __init__(self, width: int, keys: int, values: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, keys)
        self.key = nn.Linear(width, keys)
        self.value = nn.Linear(width, values)

    def forward(self, x: Tensor) -> Tensor:
        read = F.scaled_dot_product_attention(
            self.query(x), self.key(x), self.value(x), is_causal=True
        )
        return torch.cat((x, read), 2)


class _Causal(nn.Module):
    """A gated convolution over this position and an earlier one, beside what came in."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.conv = nn.Conv1d(width, 256, 2, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.conv(F.pad(x.transpose(1, 2), (self.dilation, 0))).chunk(2, 1)
        return torch.cat((x, (value.tanh() * gate.sigmoid()).transpose(1, 2)), 2)


class _SNAIL(nn.Module):
    """A sequence for each query: the support, and the query behind it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        width, parts = features + _WAYS, list[nn.Module]()
        for keys, values in ((64, 32), (256, 128), (512, 256)):
            parts.append(_Attention(width, keys, values))
            width += values
            for dilation in (1, 2, 4, 8, 16) if keys < 512 else ():
                parts.append(_Causal(width, dilation))
                width += 128
        self.net, self.head = nn.Sequential(*parts), nn.Linear(width, _WAYS)

    def forward(self, p: Weights, task: Task) -> Tensor:
        z = features(p, task.support_x)
        support = torch.cat((z, F.one_hot(task.support_y, _WAYS).to(z.dtype)), 1)
        queries = F.pad(features(p, task.query_x), (0, _WAYS))
        tokens = torch.cat((support.expand(len(queries), -1, -1), queries[:, None]), 1)
        return F.cross_entropy(self.head(self.net(tokens)[:, -1]), task.query_y)


def _of(module: nn.Module) -> tuple[TaskLoss, nn.Module]:
    return module, module


PLAIN_LOSSES: dict[str, Callable[[Textbook], tuple[TaskLoss, nn.Module]]] = {
    "tim": lambda _: (_tim(_shannon, (0.1, 0.1)), nn.Module()),
    "alpha_tim": lambda _: (_tim(_tsallis, (1.0, 1.0)), nn.Module()),
    "baseline": lambda _: (_baseline, nn.Module()),
    "baseline_pp": lambda _: (_baseline_pp, nn.Module()),
    "cosine_tuning": lambda _: (_cosine_tuning, nn.Module()),
    "nil": lambda _: (_nil, nn.Module()),
    "soft_kmeans": lambda _: (_soft_kmeans, nn.Module()),
    "matching": lambda _: _of(_Matching()),
    "meta_baseline": lambda _: _of(_MetaBaseline()),
    "r2d2": lambda _: _of(_R2D2()),
    "boil": lambda _: (_boil, nn.Module()),
    "proto_maml": lambda _: (_proto_maml, nn.Module()),
    "unicorn_maml": lambda _: (_unicorn_maml, nn.Module()),
    "meta_sgd": lambda model: _of(_MetaSGD(model)),
    "imaml": lambda _: (_imaml, nn.Module()),
    "meta_lstm": lambda _: _of(_MetaLSTM()),
    "learned_optimiser": lambda _: _of(_LearnedOptimiser()),
    "lstm": lambda model: _of(_LSTM(_width(model))),
    "mann": lambda model: _of(_MANN(_width(model))),
    "snail": lambda model: _of(_SNAIL(_width(model))),
}
"""By learner: the loss of a task, made for a network whose encoder and head are the learner's, and
the module that holds what it learns beside it. The gradient of `imaml` is right, its loss is not.
"""


def _width(model: Textbook) -> int:
    """Of the encoder's features."""
    return model.get_parameter("head.weight").shape[1]
