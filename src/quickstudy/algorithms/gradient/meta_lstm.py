"""An LSTM that learns how to train a learner."""

from quickstudy.core.encoder import AbstractEncoder, require_encoder
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.recurrent_rules import GatedUpdate
from quickstudy.inner.select import Selection
from quickstudy.inner.start import LinearHead


def meta_lstm(
    encoder: AbstractEncoder, *, n_out: int, inner_steps: int = 12, hidden: int = 20
) -> GradientLearner:
    """Train the learner's weights on the support by a memory cell whose gates are learned; its
    first state is the learned start.

    θ_t = σ(f_t) ∘ θ_{t−1} − σ(i_t) ∘ ∇_t, with gates f and i from an LSTM that reads gradient and
    loss, shared by all weights.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q n_out]``

    Args:
        encoder: the body; norm="support" is nearest to the paper (see below).
        n_out: outputs of the head.
        inner_steps: updates; the paper has 12 for 1 shot and 5 for 5.
        hidden: units of the LSTM.

    Example:
        >>> from quickstudy.encoders import MLP
        >>> learner = meta_lstm(MLP(2), n_out=3)
        >>> sum(p.numel() for p in learner.loop.parameters())
        2126

    Paper: Ravi, Larochelle 2017, "Optimization as a model for few-shot learning", equations 2 to 5
        and algorithm 1.
    Differs: updates see the whole support (the paper's batches at 1 shot, too). The authors'
        running statistics, which begin anew with each episode, are those of the support at the end
        of the updates when the encoder's norm is "support".
    """
    loop = InnerLoop(GatedUpdate(hidden=hidden), steps=inner_steps, first_order=True)
    return GradientLearner(
        encoder,
        LinearHead(require_encoder(encoder).out_dim, n_out),
        loop=loop,
        adapts=Selection(("*",), ("*.norm.*",)),
    )
