"""How much better an action was than expected."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quickstudy.core.errors import ConfigError
from quickstudy.rl.rollout import Trajectories


def discounted(values: Float[Tensor, "T E H"], factor: float) -> Float[Tensor, "T E H"]:
    """Σ_{k ≥ 0} factorᵏ v_{t+k}.

    >>> discounted(torch.tensor([[[1.0, 1.0, 1.0]]]), 0.5)
    tensor([[[1.7500, 1.5000, 1.0000]]])
    """
    total, out = torch.zeros_like(values[..., 0]), []
    for v in reversed(values.unbind(2)):
        total = v + factor * total
        out.append(total)
    return torch.stack(out[::-1], 2)


def linear_baseline(
    trajectories: Trajectories, returns: Float[Tensor, "T E H"], *, ridge: float = 1e-5
) -> Float[Tensor, "T E H"]:
    """What is to be expected, by least squares on [s, s², t, t², t³, 1] (s the observation, t the
    step / 100), for each task by itself.

    Source: Duan et al. 2016, arXiv:1604.06778 (the linear feature baseline of rllab), as MAML uses
        it.
    """
    s = trajectories.observed.double().clamp(-10, 10)
    t = torch.arange(s.shape[2], dtype=torch.float64, device=s.device)[:, None] / 100
    when = torch.cat((t, t**2, t**3, torch.ones_like(t)), 1).expand(*s.shape[:2], -1, -1)
    features = torch.cat((s, s**2, when), 3).flatten(1, 2)  # [T M F]
    counted = trajectories.mask.flatten(1)[..., None].double()
    phi, y = features * counted, returns.double().flatten(1)[..., None] * counted
    gram = phi.transpose(1, 2) @ phi
    n = gram.shape[1]
    eye = torch.eye(n, dtype=gram.dtype, device=gram.device)
    w = torch.linalg.solve(gram + ridge * eye, phi.transpose(1, 2) @ y)
    return (features @ w)[..., 0].unflatten(1, returns.shape[1:]).to(returns.dtype)


def advantages(
    trajectories: Trajectories,
    *,
    gamma: float = 0.99,
    smoothing: float = 1.0,
    average: str = "steps",
) -> Float[Tensor, "T E H"]:
    """Generalised advantage estimates over the linear baseline, of mean 0 and deviation 1 within
    each task; 0 where an episode was over.

    Args:
        trajectories: episodes.
        gamma: discount.
        smoothing: λ; 1 = returns less the baseline.
        average: see `mean_by`.

    Paper: Schulman et al. 2016, arXiv:1506.02438.
    """
    mask, reward = trajectories.mask, trajectories.reward
    value = linear_baseline(trajectories, discounted(reward, gamma)) * mask
    later = torch.cat((value[..., 1:], torch.zeros_like(value[..., :1])), 2)
    a = discounted((reward + gamma * later - value) * mask, gamma * smoothing) * mask
    off = (a - mean_by(average, a, mask)[:, None, None]) * mask
    spread = mean_by(average, off.square(), mask).sqrt()[:, None, None]
    return off / (spread + 1e-8)


def mean_by(
    average: str, values: Float[Tensor, "T E H"], mask: Bool[Tensor, "T E H"]
) -> Float[Tensor, " T"]:
    """The mean of each task over its "steps", or over its "episodes" of the mean over their steps.

    They are the same where all episodes are of one length. Elsewhere the mean over steps is what
    the policy gradient asks for; pytorch-maml-rl takes the other, which gives the steps of short
    episodes more weight.

    >>> v = torch.tensor([[[1.0, 2.0, 3.0], [6.0, 0.0, 0.0]]])
    >>> mask = torch.tensor([[[True, True, True], [True, False, False]]])
    >>> mean_by("steps", v, mask), mean_by("episodes", v, mask)
    (tensor([3.]), tensor([4.]))

    Raises:
        ConfigError: for another word.
    """
    if average == "steps":
        return (values * mask).sum((1, 2)) / mask.sum((1, 2))
    if average == "episodes":
        return ((values * mask).sum(2) / mask.sum(2).clamp_min(1)).mean(1)
    raise ConfigError(f"The average is over 'steps' or 'episodes', not over '{average}'.")
