"""Gradient descent by gradient descent: an optimiser that is learned."""

from quickstudy.core.encoder import AbstractEncoder, require_encoder
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.recurrent_rules import CoordinateLSTM
from quickstudy.inner.select import Selection, everything
from quickstudy.inner.start import LinearHead


def learned_optimiser(
    encoder: AbstractEncoder,
    *,
    n_out: int,
    inner_steps: int = 20,
    hidden: int = 20,
    scale: float = 0.1,
    window: int = 0,
    head_only: bool = False,
) -> GradientLearner:
    """An inner loop whose updates an LSTM makes of the gradients, coordinate by coordinate.

    θ_{t+1} = θ_t + u_t,  (u_t, s_{t+1}) = LSTM_φ(∇ L_S(θ_t), s_t), with φ shared by all numbers and
    a state s for each.

    Train it with the objective ``trajectory`` to be low after every step, or with ``query_loss``.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q n_out]``

    Args:
        encoder: the body.
        n_out: outputs of the head.
        inner_steps: updates.
        hidden: units of each of the LSTM's two layers.
        scale: of the updates; the authors' code has 0.01.
        window: steps of truncated back-propagation (the paper: 20); 0 = none.
        head_only: adapt the last layer's weight alone.

    Example:
        >>> from quickstudy.encoders import MLP
        >>> sum(p.numel() for p in learned_optimiser(MLP(2), n_out=3).loop.parameters())
        5301

    Paper: Andrychowicz et al. 2016, arXiv:1606.04474, sections 2 and 2.1, appendix A.
    Differs: where the optimised weights begin is learned too, as in MAML, unless their gradients
        are switched off; the weights of the optimiser change once per run, by the sum of the
        windows' gradients, where the paper changes them after each window.
    """
    loop = InnerLoop(
        CoordinateLSTM(hidden=hidden, scale=scale),
        steps=inner_steps,
        first_order=True,
        window=window,
    )
    adapts = Selection(("head.weight",)) if head_only else everything()
    return GradientLearner(
        encoder,
        LinearHead(
            require_encoder(encoder).out_dim, n_out, init="zeros" if head_only else "uniform"
        ),
        loop=loop,
        adapts=adapts,
    )
