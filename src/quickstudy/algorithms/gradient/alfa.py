"""Inner rates and weight decays that depend on the task and on the step."""

from quickstudy.core.encoder import AbstractEncoder, require_encoder
from quickstudy.inner.learned_rules import GeneratedRates
from quickstudy.inner.learner import GradientLearner, fast_shapes
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.select import everything
from quickstudy.inner.start import LinearHead


def alfa(
    encoder: AbstractEncoder,
    *,
    n_out: int,
    inner_lr: float = 0.05,
    inner_steps: int = 5,
    weight_decay: float = 5e-4,
    first_order: bool = False,
    constant_gradients: bool = True,
) -> GradientLearner:
    """MAML whose rates and weight decays a small network reads off the weights and gradients of
    each layer, at every step anew.

    θ_l ← β_l θ_l − α_l ∇_l L_S(θ), with α and β from MLP(mean θ_1, …, mean θ_L, mean ∇_1, …, mean
    ∇_L).

    Shapes, Args: as `maml`, and
        weight_decay: the decay begins at inner_lr · weight_decay.
        constant_gradients: the gradients that the network reads are constants, as in the authors'
            code; False differentiates them too, which is the true outer gradient.

    Example:
        >>> from quickstudy.encoders import MLP
        >>> alfa(
        ...     MLP(2, widths=(16,)), n_out=3, inner_steps=2
        ... ).loop.rule.rates.shape  # a rate per step and tensor
        torch.Size([2, 4])

    Paper: Baik, Choi, Choi, Kim, Lee 2020, arXiv:2011.00209, equations 4 to 6.
    Differs: the generator's last bias begins at 1, so that training begins as gradient
        descent with weight decay; rates are multiplied by the way, as for `maml`.
    """
    rule = GeneratedRates(
        fast_shapes(encoder, n_out, everything()),
        steps=inner_steps,
        lr=inner_lr,
        weight_decay=weight_decay,
        constant_gradients=constant_gradients,
    )
    loop = InnerLoop(rule, steps=inner_steps, first_order=first_order)
    return GradientLearner(
        encoder, LinearHead(require_encoder(encoder).out_dim, n_out), loop=loop, adapts=everything()
    )
