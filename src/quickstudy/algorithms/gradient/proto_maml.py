"""MAML that starts from prototypes."""

from quickstudy.core.encoder import AbstractEncoder
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.inner.select import everything
from quickstudy.inner.start import PrototypeHead


def proto_maml(
    encoder: AbstractEncoder,
    *,
    inner_lr: float = 0.1,
    inner_steps: int = 5,
    first_order: bool = False,
) -> GradientLearner:
    """MAML whose last layer starts as the prototypical network's classifier of the same features:
    any number of classes, all alike.

    w_c⁰ = 2 p_c, b_c⁰ = −|p_c|², p_c the mean feature of class c; then MAML's inner loop. Without
    steps it is ProtoNet.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: the body; as in `maml`.
        inner_lr: for the mean support loss.
        inner_steps: J.
        first_order: drop the second derivatives (fo-Proto-MAML).

    Example:
        >>> import torch
        >>> from quickstudy.encoders import Identity
        >>> from quickstudy.core.types import Classes, Examples
        >>> support = Examples.single(torch.tensor([[0.0], [2.0], [9.0]]), torch.tensor([0, 0, 1]))
        >>> proto_maml(Identity(1), inner_steps=0).fit(support, Classes(2))(torch.tensor([[3.0]]))
        tensor([[  5., -27.]])

    Paper: Triantafillou et al. 2020, arXiv:1903.03096, section 3 ("Proto-MAML").
    Differs: nothing.
    """
    loop = InnerLoop(FixedRate(inner_lr), steps=inner_steps, first_order=first_order)
    return GradientLearner(encoder, PrototypeHead(), loop=loop, adapts=everything())
