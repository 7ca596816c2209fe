"""MAML with an inner loss that is learned and depends on the task and the step."""

from quickstudy.core.encoder import AbstractEncoder, require_encoder
from quickstudy.inner.learned_losses import TaskAdaptiveLoss
from quickstudy.inner.learner import GradientLearner, fast_names
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.inner.select import everything
from quickstudy.inner.start import LinearHead


def metal(
    encoder: AbstractEncoder,
    *,
    n_out: int,
    inner_lr: float = 0.05,
    inner_steps: int = 5,
    use_queries: bool = True,
    first_order: bool = False,
) -> GradientLearner:
    """MAML that descends, besides the support loss, what two small networks say of the state of
    learning; one of them looks at the queries.

    L_j = L_S(θ_j) + mean_i m^s_j(u_i) + mean_q m^q_j(v_q), with networks m for each step j,
    modulated by the task.

    Shapes, Args: as `maml`, and
        use_queries: whether the unlabelled queries enter the inner loss. The learner is
            transductive then, whatever its normalisation.

    Example:
        >>> from quickstudy.encoders import MLP
        >>> (
        ...     metal(MLP(2, widths=(16,)), n_out=3).traits.transductive,
        ...     metal(MLP(2), n_out=3, use_queries=False).traits.transductive,
        ... )
        (True, False)

    Paper: Baik, Choi, Kim, Cho, Min, Lee 2021, arXiv:2110.03909, equations 4 to 8.
    Differs: the outer loss is that of the queries, as in the paper (the authors' code adds
        the support); the networks are evaluated at second order only where first_order is
        False; rates are multiplied by the way, as for `maml`. Numbers as targets take the
        label's place.
    """
    loss = TaskAdaptiveLoss(
        len(fast_names(encoder, everything())), n_out, steps=inner_steps, use_queries=use_queries
    )
    loop = InnerLoop(FixedRate(inner_lr), steps=inner_steps, first_order=first_order)
    return GradientLearner(
        encoder,
        LinearHead(require_encoder(encoder).out_dim, n_out),
        loop=loop,
        adapts=everything(),
        loss=loss,
    )
