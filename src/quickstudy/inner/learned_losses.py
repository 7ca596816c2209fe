"""Inner losses that the outer loop learns."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.types import Target
from quickstudy.inner.losses import AbstractInnerLoss, Attempt


class TaskAdaptiveLoss(AbstractInnerLoss):
    """The task's loss plus what small networks make of the state of learning, at every step another
    pair of them (MeTAL).

    L_j = L(S; θ_j) + mean_i m^s_j(u_i) + mean_q m^q_j(v_q), where u_i joins the support loss, the
    mean of every adapted tensor, the answer to x_i and its label, and v_q the same means, the
    answer to x_q and its negative entropy, both standardised over all numbers of a task. Each
    network's own weights are first scaled and shifted by an adapter, which reads the loss and the
    means, standardised, or the mean of the rows v_q.

    Args:
        n_fast: adapted parameter tensors.
        n_out: outputs of the learner, classes.
        steps: how many steps have networks of their own; further steps take the last.
        use_queries: whether there is the second part, which makes the learner transductive.
    """

    def __init__(self, n_fast: int, n_out: int, *, steps: int, use_queries: bool = True) -> None:
        super().__init__()
        self.last = max(steps, 1) - 1
        self.needs_queries = use_queries
        self.of_support = nn.ModuleList(
            _AdaptedMLP(n_fast + 1 + 2 * n_out, n_fast + 1) for _ in range(self.last + 1)
        )
        self.of_queries = nn.ModuleList(
            _AdaptedMLP(n_fast + n_out + 1, n_fast + n_out + 1)
            for _ in range(self.last + 1 if use_queries else 0)
        )

    def forward(self, attempt: Attempt, target: Target) -> Float[Tensor, " T"]:
        j, y = min(attempt.step, self.last), attempt.support.y
        own = target.loss(attempt.out, y)  # [T]
        # [T L]
        means = torch.stack([p.reshape(len(own), -1).mean(1) for p in attempt.fast.values()], 1)
        state = torch.cat((own[:, None], means), 1)
        label = F.one_hot(y, target.width).to(attempt.out) if y.ndim == 2 else y
        rows = _standardised(_joined(state, attempt.out, label))
        loss = own + self.of_support[j](rows, _standardised(state))
        if attempt.query_out is None:
            return loss
        log_p = attempt.query_out.log_softmax(-1)
        minus_entropy = (log_p.exp() * log_p).sum(-1, keepdim=True)
        rows = _standardised(_joined(means, attempt.query_out, minus_entropy))
        return loss + self.of_queries[j](rows, rows.mean(1))


class _AdaptedMLP(nn.Module):
    """in → in → 1 with ReLU, the mean over the rows; its four tensors are φ′ = (1 + g G) φ + h H,
    with G and H read off numbers of the task.

    Args:
        width: of a row.
        read: how many numbers the adapter reads.
    """

    def __init__(self, width: int, read: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, 1)
        self.adapter = nn.Sequential(nn.Linear(read, read), nn.ReLU(), nn.Linear(read, 8))
        # so that training begins without adaptation
        self.g, self.h = (
            nn.Parameter(torch.zeros(4)),
            nn.Parameter(torch.zeros(4)),
        )

    def forward(
        self, rows: Float[Tensor, "T N I"], read: Float[Tensor, "T A"]
    ) -> Float[Tensor, " T"]:
        scale, shift = self.adapter(read).split(4, 1)  # [T 4] each
        scale, shift = 1 + self.g * scale, self.h * shift
        w1, b1, w2, b2 = (
            scale[:, k].view(-1, *[1] * p.ndim) * p + shift[:, k].view(-1, *[1] * p.ndim)
            for k, p in enumerate(
                (self.first.weight, self.first.bias, self.second.weight, self.second.bias)
            )
        )
        hidden = F.relu(torch.einsum("tni,toi->tno", rows, w1) + b1[:, None])
        return (torch.einsum("tni,toi->tno", hidden, w2) + b2[:, None]).mean((1, 2))


def _joined(state: Float[Tensor, "T L"], *of_rows: Float[Tensor, "T N _"]) -> Tensor:
    return torch.cat((state[:, None].expand(-1, of_rows[0].shape[1], -1), *of_rows), 2)


def _standardised(rows: Float[Tensor, "T ..."]) -> Tensor:
    """All numbers of each task to mean 0 and deviation 1, by n − 1 as the authors' code."""
    flat = rows.flatten(1)
    var, mean = torch.var_mean(flat, 1, keepdim=True)
    return ((flat - mean) * torch.rsqrt(var + 1e-24)).view_as(rows)
