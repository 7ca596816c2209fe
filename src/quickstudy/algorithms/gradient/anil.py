"""Rapid learning or feature reuse? Inner loops of the last layer alone, of everything but the last
layer, and none.
"""

from quickstudy.core.encoder import AbstractEncoder, require_encoder
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.inner.select import Selection, head_only
from quickstudy.inner.start import LinearHead


def anil(
    encoder: AbstractEncoder,
    *,
    n_out: int,
    inner_lr: float = 0.4,
    inner_steps: int = 5,
    first_order: bool = False,
) -> GradientLearner:
    """MAML whose inner loop changes only the last layer; features are computed once per task.

    w_{j+1} = w_j − α ∇_w L_S(w_j; φ), with the body φ learned by the outer loop alone.

    Shapes, Args: as `maml`.

    Example:
        >>> from quickstudy.encoders import MLP
        >>> anil(MLP(2), n_out=3).fast_names
        ('head.weight', 'head.bias')

    Paper: Raghu, Raghu, Bengio, Vinyals 2020, arXiv:1909.09157, section 4.1.
    Differs: the loss is a mean, so published rates are multiplied by the way, as for `maml`.
    """
    loop = InnerLoop(FixedRate(inner_lr), steps=inner_steps, first_order=first_order)
    return GradientLearner(
        encoder, LinearHead(require_encoder(encoder).out_dim, n_out), loop=loop, adapts=head_only()
    )


def boil(
    encoder: AbstractEncoder,
    *,
    n_out: int,
    inner_lr: float = 0.5,
    inner_steps: int = 1,
    first_order: bool = False,
) -> GradientLearner:
    """MAML whose inner loop changes everything but the last layer: the opposite of `anil`.

    φ_{j+1} = φ_j − α ∇_φ L_S(φ_j; w), with the last layer w learned by the outer loop alone.

    Shapes, Args: as `maml`.

    Example:
        >>> from quickstudy.encoders import MLP
        >>> boil(MLP(2, widths=(16,)), n_out=3).fast_names
        ('encoder.layers.0.weight', 'encoder.layers.0.bias')

    Paper: Oh, Yoo, Kim, Yun 2021, arXiv:2008.08882, section 3.
    Differs: rates are multiplied by the way, as for `maml`.
    """
    loop = InnerLoop(FixedRate(inner_lr), steps=inner_steps, first_order=first_order)
    body = Selection(("encoder.*",), ("*.norm.*",))
    return GradientLearner(
        encoder, LinearHead(require_encoder(encoder).out_dim, n_out), loop=loop, adapts=body
    )
