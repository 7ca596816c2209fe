"""MAML++: MAML with the six repairs of Antoniou et al., each a switch."""

from quickstudy.core.encoder import AbstractEncoder, require_encoder
from quickstudy.inner.learned_rules import PerLayerPerStep
from quickstudy.inner.learner import GradientLearner, fast_shapes
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.inner.select import Selection, everything
from quickstudy.inner.start import LinearHead


def maml_pp(
    encoder: AbstractEncoder,
    *,
    n_out: int,
    inner_lr: float = 0.5,
    inner_steps: int = 5,
    learned_rates: bool = True,
    per_step_norm: bool = True,
    per_step_statistics: bool = True,
    second_order_from: int = 0,
) -> GradientLearner:
    """MAML with learned rates per layer and step, and with its own normalisation at every inner
    step.

    The six parts, and where each is switched:

    - multi-step loss (MSL): objective ``multi_step`` instead of ``query_loss``
    - derivative-order annealing (DA): ``second_order_from``: first order for that many outer steps
    - running statistics per step (BNRS): ``per_step_statistics``; needs an encoder with
      norm="per_task"
    - scale and shift per step (BNWB): ``per_step_norm``
    - learned rates per layer and step (LSLR): ``learned_rates``
    - cosine annealing of the outer rate (CA): the optimiser's schedule ``cosine``

    With all of them off it is `maml`.

    Shapes, Args: as `maml`, and the switches above. The published code always normalises by the
        batch and only collects the statistics; evaluate with norm="batch" for that (transductive),
        or as trained for an inductive learner that uses what was collected.

    Example:
        >>> from quickstudy.encoders import Conv4
        >>> learner = maml_pp(Conv4(norm="batch"), n_out=5, inner_steps=3)
        >>> learner.per_step.at(2)["encoder.blocks.0.norm.bias"].shape
        torch.Size([64])

    Paper: Antoniou, Edwards, Storkey 2019, arXiv:1810.09502, section 4.
    Differs: rates per step and tensor are J, without the unused one of the authors' code;
        derivative-order annealing is off by default, as in their published configurations; no
        ensemble of checkpoints. Running statistics move at every task, but all supports of a batch
        are seen before its queries, where theirs goes task by task (0.11 apart on a variance of
        1.9); with one task they are equal to 1e-6.
    """
    rule = (
        PerLayerPerStep(fast_shapes(encoder, n_out, everything()), steps=inner_steps, lr=inner_lr)
        if learned_rates
        else FixedRate(inner_lr)
    )
    loop = InnerLoop(rule, steps=inner_steps, second_order_from=second_order_from)
    return GradientLearner(
        encoder,
        LinearHead(require_encoder(encoder).out_dim, n_out),
        loop=loop,
        adapts=everything(),
        per_step=_per_step(encoder, weights=per_step_norm, statistics=per_step_statistics),
    )


def _per_step(encoder: AbstractEncoder, *, weights: bool, statistics: bool) -> Selection | None:
    """What of the normalisation has a copy per step, if there is any."""
    ends = (["*.norm.weight", "*.norm.bias"] if weights else []) + (
        ["*.norm.mean", "*.norm.var"] if statistics else []
    )
    names = [f"encoder.{n}" for n, _ in (*encoder.named_parameters(), *encoder.named_buffers())]
    there = tuple(end for end in ends if any(n.endswith(end[1:]) for n in names))
    return Selection(there) if there else None
