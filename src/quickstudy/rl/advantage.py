"""How much better an action was than expected."""

import torch
from jaxtyping import Float
from torch import Tensor

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
    Differs: the ridge is multiplied by 1 + the largest diagonal entry, so that it means the same
        whatever the units; pytorch-maml-rl adds 1e-5 as it is (values 9 % away, equal to 1e-8 with
        the same number added).
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
    w = torch.linalg.solve(
        gram + ridge * (1 + gram.diagonal(dim1=1, dim2=2).amax(1))[:, None, None] * eye,
        phi.transpose(1, 2) @ y,
    )
    return (features @ w)[..., 0].unflatten(1, returns.shape[1:]).to(returns.dtype)


def advantages(
    trajectories: Trajectories, *, gamma: float = 0.99, smoothing: float = 1.0
) -> Float[Tensor, "T E H"]:
    """Generalised advantage estimates over the linear baseline, of mean 0 and deviation 1 within
    each task; 0 where an episode was over.

    Args:
        trajectories: episodes.
        gamma: discount.
        smoothing: λ; 1 = returns less the baseline.

    Paper: Schulman et al. 2016, arXiv:1506.02438.
    Differs: mean and deviation are taken over all steps; pytorch-maml-rl takes them of each episode
        and then over episodes, which is the same where all are of one length.
    """
    mask, reward = trajectories.mask, trajectories.reward
    value = linear_baseline(trajectories, discounted(reward, gamma)) * mask
    later = torch.cat((value[..., 1:], torch.zeros_like(value[..., :1])), 2)
    a = discounted((reward + gamma * later - value) * mask, gamma * smoothing) * mask
    n = mask.sum((1, 2), keepdim=True)
    mean = a.sum((1, 2), keepdim=True) / n
    spread = (((a - mean) * mask).square().sum((1, 2), keepdim=True) / n).sqrt()
    return (a - mean) * mask / (spread + 1e-8)
