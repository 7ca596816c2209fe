"""Model-agnostic meta-learning and its first-order form."""

from quickstudy.core.encoder import AbstractEncoder, require_encoder
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.inner.select import everything
from quickstudy.inner.start import LinearHead


def maml(
    encoder: AbstractEncoder,
    *,
    n_out: int,
    inner_lr: float = 0.4,
    inner_steps: int = 5,
    test_steps: int = 0,
    first_order: bool = False,
    recompute: bool = False,
) -> GradientLearner:
    """Learn initial weights from which a few gradient steps solve a new task.

    θ_{j+1} = θ_j − α ∇ L_S(θ_j), j = 0 … J−1;  the outer loss is L_Q(θ_J), differentiated through
    all steps.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q n_out]``

    Args:
        encoder: the body; its normalisation policy decides whether the result is transductive (the
            paper's ``batch`` is; ``support`` is not). With ``running`` averages MAML hardly learns:
            each task shifts the statistics away from the average.
        n_out: outputs of the head: the way, or the dimension of a regression target.
        inner_lr: α for the *mean* support loss. Published rates are for the sum divided by K:
            multiply them by the way.
        inner_steps: J.
        test_steps: J in evaluation; 0 = as many as in training (the paper: 3 for 1 on Omniglot, 10
            for 5 on mini-ImageNet).
        first_order: drop the second derivatives (FOMAML).
        recompute: build each inner step's graph twice instead of keeping it: the same gradient in a
            fraction of the memory, a little slower.

    Example:
        >>> import torch
        >>> from quickstudy.encoders import MLP
        >>> learner = maml(MLP(2, widths=(16,)), n_out=3, inner_lr=0.1)
        >>> learner.fast_names
        ('encoder.layers.0.weight', 'encoder.layers.0.bias', 'head.weight', 'head.bias')

    Paper: Finn, Abbeel, Levine 2017, arXiv:1703.03400, equation 1 and algorithm 2.
    Differs: the loss is a mean, so rates are scaled (see ``inner_lr``); normalisation weights are
        learned by the outer loop only, as in the authors' code.
    """
    loop = InnerLoop(
        FixedRate(inner_lr),
        steps=inner_steps,
        test_steps=test_steps,
        first_order=first_order,
        recompute=recompute,
    )
    return GradientLearner(
        encoder, LinearHead(require_encoder(encoder).out_dim, n_out), loop=loop, adapts=everything()
    )


def fomaml(
    encoder: AbstractEncoder, *, n_out: int, inner_lr: float = 0.4, inner_steps: int = 5
) -> GradientLearner:
    """MAML with the inner gradients taken as constants: about a third cheaper, nearly as good.

    θ_{j+1} = θ_j − α sg(∇ L_S(θ_j));  the outer gradient is ∇ L_Q at θ_J.

    Example:
        >>> from quickstudy.encoders import MLP
        >>> fomaml(MLP(2), n_out=3).traits.exact_gradient
        False

    Paper: Finn, Abbeel, Levine 2017, arXiv:1703.03400, section 5.2.
    Differs: as `maml`.
    """
    return maml(encoder, n_out=n_out, inner_lr=inner_lr, inner_steps=inner_steps, first_order=True)
