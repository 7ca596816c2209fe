"""Losses whose gradients are those of the expected return."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from quickstudy.core.types import tensor_dataclass
from quickstudy.rl.advantage import mean_by
from quickstudy.rl.policy import AbstractPolicy, Params
from quickstudy.rl.rollout import Trajectories


@tensor_dataclass()
class Evidence:
    """What a policy learns from: episodes, how much better each action was than expected, and how
    likely it was to those who took it.
    """

    trajectories: Trajectories
    advantage: Float[Tensor, "T E H"]
    log_prob: Float[Tensor, "T E H"]


def log_prob(policy: AbstractPolicy, params: Params, t: Trajectories) -> Float[Tensor, "T E H"]:
    """Log π(action | observation)."""
    return (
        acting(policy, params, t).log_prob(t.action.flatten(1, 2)).unflatten(1, t.reward.shape[1:])
    )


def acting(policy: AbstractPolicy, params: Params, t: Trajectories) -> Distribution:
    """What the policy would do at each step that was observed, ``[T E·H]``."""
    return policy(params, t.observed.flatten(1, 2))


def reinforce(
    policy: AbstractPolicy,
    params: Params,
    e: Evidence,
    *,
    correction: bool = False,
    average: str = "steps",
) -> Float[Tensor, " T"]:
    """−Σ log π(a_t | s_t) A_t over the number of steps, for each task; or the mean over episodes of
    each of them, see `quickstudy.rl.advantage.mean_by`.

    Its gradient is an unbiased estimate, but the gradient of its gradient is not: it does not know
    that other weights would have met other states. With ``correction`` the loss is −Σ (exp(w_t −
    ⊥w_t) − exp(v_t − ⊥v_t)) A_t, where w_t sums log π up to and with step t, v_t up to the step
    before, and ⊥ stops gradients: the same value of the gradient, and an unbiased second
    derivative too.

    Papers: Williams 1992; Foerster et al. 2018, arXiv:1802.05098 (DiCE); Farquhar et al. 2019,
    arXiv:1909.10549 (Loaded DiCE, equation 9); on what the correction is for, Rothfuss et al. 2019,
    arXiv:1810.06784 (ProMP).
    """
    mask = e.trajectories.mask
    logp = log_prob(policy, params, e.trajectories) * mask
    if not correction:
        return -mean_by(average, logp * e.advantage, mask)
    upto = logp.cumsum(2)
    before = upto - logp
    gain = (upto - upto.detach()).exp() - (before - before.detach()).exp()
    return -mean_by(average, gain * e.advantage, mask)


def importance(
    policy: AbstractPolicy,
    params: Params,
    e: Evidence,
    *,
    clip: float = 0.0,
    average: str = "steps",
) -> Float[Tensor, " T"]:
    """−mean of ratio · A, the ratio of likelihoods now and then; with ``clip`` the smaller of it
    and of the ratio clipped to 1 ± clip (PPO).

    Papers: Schulman et al. 2015, arXiv:1502.05477; Schulman et al. 2017, arXiv:1707.06347.
    """
    mask = e.trajectories.mask
    ratio = (log_prob(policy, params, e.trajectories) - e.log_prob).exp()
    gain = ratio * e.advantage
    if clip:
        gain = torch.minimum(gain, ratio.clamp(1 - clip, 1 + clip) * e.advantage)
    return -mean_by(average, gain, mask)


def divergence(
    old: Distribution, new: Distribution, t: Trajectories, *, average: str = "steps"
) -> Float[Tensor, " T"]:
    """The mean over steps (see `quickstudy.rl.advantage.mean_by`) of KL(old ‖ new), for each
    task.
    """
    return mean_by(average, kl_divergence(old, new).unflatten(1, t.mask.shape[1:]), t.mask)
