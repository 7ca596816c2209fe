"""Gradient descent whose rate is learned for every single number."""

from quickstudy.core.encoder import AbstractEncoder, require_encoder
from quickstudy.inner.learned_rules import PerParameter
from quickstudy.inner.learner import GradientLearner, fast_shapes
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.select import everything
from quickstudy.inner.start import LinearHead


def meta_sgd(
    encoder: AbstractEncoder,
    *,
    n_out: int,
    inner_lr: tuple[float, float] = (0.025, 0.5),
    inner_steps: int = 1,
    first_order: bool = False,
) -> GradientLearner:
    """MAML that learns, beside the initial weights, how far and which way each of them moves.

    θ′ = θ − A ∘ ∇ L_S(θ), with A as large as θ and learned with it; its numbers may become
    negative.

    Shapes, Args: as `maml`, but for
        inner_lr: between which two rates the numbers of A begin. The paper's 0.005 to 0.1, times
            the way (here 5) because our loss is a mean.

    Example:
        >>> from quickstudy.encoders import MLP
        >>> learner = meta_sgd(MLP(2, widths=(16,)), n_out=3)
        >>> sum(p.numel() for p in learner.loop.parameters()) == sum(
        ...     p.numel() for p in (*learner.encoder.parameters(), *learner.head.parameters())
        ... )
        True

    Paper: Li, Zhou, Chen, Li 2017, arXiv:1707.09835, equation 2 and algorithm 1.
    Differs: several steps are allowed, with the same A; normalisation weights are learned by the
        outer loop only, as in `maml`.
    """
    rule = PerParameter(fast_shapes(encoder, n_out, everything()), lr=inner_lr)
    loop = InnerLoop(rule, steps=inner_steps, first_order=first_order)
    return GradientLearner(
        encoder, LinearHead(require_encoder(encoder).out_dim, n_out), loop=loop, adapts=everything()
    )
