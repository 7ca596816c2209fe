"""Reptile: move to where learning leads."""

from quickstudy.core.encoder import AbstractEncoder, require_encoder
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import Adam
from quickstudy.inner.select import Selection
from quickstudy.inner.start import LinearHead


def reptile(
    encoder: AbstractEncoder,
    *,
    n_out: int,
    inner_lr: float = 2e-3,
    inner_steps: int = 5,
    test_steps: int = 50,
) -> GradientLearner:
    """Learn initial weights that are near those at which learning each task ends, without second
    derivatives and without queries.

    θ′ = Adam^k(θ; task);  θ ← θ + ε mean over tasks (θ′ − θ)

    Train it with the objective ``pull`` and the optimiser sgd with momentum=0 and
    schedule="linear": its rate is ε.

    Shapes, Args: as `maml`, but for
        inner_lr: Adam's rate; the paper has 1e-3 on Omniglot.
        inner_steps: k. With one step Reptile learns no more than joint training does.
        test_steps: k in evaluation.

    Example:
        >>> from quickstudy.encoders import MLP
        >>> reptile(MLP(2), n_out=3).loop.rule.betas
        (0.0, 0.999)

    Paper: Nichol, Achiam, Schulman 2018, arXiv:1803.02999, algorithms 1 and 2.
    Differs: every inner step sees the whole support where the authors draw mini-batches of 10; Adam
        begins anew with each task, where theirs keeps its second moments from task to task.
    """
    loop = InnerLoop(
        Adam(inner_lr, betas=(0.0, 0.999)),
        steps=inner_steps,
        test_steps=test_steps,
        first_order=True,
    )
    return GradientLearner(
        encoder,
        LinearHead(require_encoder(encoder).out_dim, n_out),
        loop=loop,
        adapts=Selection(("*",)),
    )
