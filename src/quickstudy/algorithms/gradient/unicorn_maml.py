"""MAML that does not know one class position from another."""

from quickstudy.core.encoder import AbstractEncoder, require_encoder
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.inner.select import everything
from quickstudy.inner.start import RepeatedHead


def unicorn_maml(
    encoder: AbstractEncoder,
    *,
    inner_lr: float = 0.5,
    inner_steps: int = 5,
    first_order: bool = True,
) -> GradientLearner:
    """MAML whose last layer starts with one and the same vector for every class: renaming the
    classes changes nothing, and any number of them is served.

    w_c⁰ = w, b_c⁰ = b for all classes c; then MAML's inner loop.

    The common vector w is zero here. The outer gradient for it, the sum over the classes, vanishes
    under cross entropy, whatever the order:
    what all classes have in common cancels in the softmax and in its gradients. So every w gives
    the same answers, and none is learned.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: the body; as in `maml`.
        inner_lr: for the mean support loss.
        inner_steps: at least 2: with equal class vectors the first step moves the last layer only.
        first_order: as published.

    Example:
        >>> import torch
        >>> from quickstudy.encoders import MLP
        >>> from quickstudy.core.types import Classes, Examples
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <...>
        >>> learner = unicorn_maml(MLP(2, widths=(16,)))
        >>> for n in (2, 7):
        ...     support = Examples.single(torch.randn(n, 2), torch.arange(n))
        ...     print(learner.fit(support, Classes(n))(torch.zeros(1, 2)).shape)
        torch.Size([1, 2])
        torch.Size([1, 7])

    Paper: Ye, Chao 2022, arXiv:2106.16245, section 5.
    Differs: the class vector is zero instead of learned, to no effect (see above; the "zeroing
        trick" of Kao et al. 2022, arXiv:2106.15367, comes from the same). The normalisation policy
        is the encoder's, the same for support and queries (the authors' code runs the queries in
        eval mode); no temperature in the outer loss.
    """
    loop = InnerLoop(FixedRate(inner_lr), steps=inner_steps, first_order=first_order)
    return GradientLearner(
        encoder, RepeatedHead(require_encoder(encoder).out_dim), loop=loop, adapts=everything()
    )
