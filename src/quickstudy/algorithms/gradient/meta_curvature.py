"""Gradients bent by learned matrices before they are followed."""

from quickstudy.core.encoder import AbstractEncoder, require_encoder
from quickstudy.inner.learned_rules import MetaCurvature
from quickstudy.inner.learner import GradientLearner, fast_shapes
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.select import everything
from quickstudy.inner.start import LinearHead


def meta_curvature(
    encoder: AbstractEncoder,
    *,
    n_out: int,
    inner_lr: float = 0.4,
    inner_steps: int = 5,
    first_order: bool = False,
) -> GradientLearner:
    """MAML whose inner gradients are multiplied by learned matrices: over the outputs, the inputs
    and the filter taps of each tensor.

    θ_{j+1} = θ_j − α MC(∇ L_S(θ_j)),  MC(G) = G ×₁ M_o ×₂ M_i ×₃ M_f

    Shapes, Args: as `maml`.

    Example:
        >>> from quickstudy.encoders import MLP
        >>> learner = meta_curvature(MLP(2, widths=(16,)), n_out=3)
        >>> sorted(
        ...     (n, tuple(p.shape))
        ...     for n, p in learner.loop.rule.matrices.items()
        ...     if n.startswith("head")
        ... )
        [('head-bias-0', (3, 3)), ('head-weight-0', (3, 3)), ('head-weight-1', (16, 16))]

    Paper: Park, Oliva 2019, arXiv:1902.03356, equations 7 and 8 (its "MC2").
    Differs: biases have a matrix of their own; rates are multiplied by the way, as for `maml`.
    """
    rule = MetaCurvature(fast_shapes(encoder, n_out, everything()), lr=inner_lr)
    loop = InnerLoop(rule, steps=inner_steps, first_order=first_order)
    return GradientLearner(
        encoder, LinearHead(require_encoder(encoder).out_dim, n_out), loop=loop, adapts=everything()
    )
