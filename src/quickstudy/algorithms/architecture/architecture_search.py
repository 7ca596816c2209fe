"""Meta-learning a network's wiring together with its weights."""

from quickstudy.core.encoder import AbstractEncoder, require_encoder
from quickstudy.encoders.cell import LOGITS
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import Adam, ByName, FixedRate
from quickstudy.inner.select import Selection, everything
from quickstudy.inner.start import LinearHead


def t_nas(
    encoder: AbstractEncoder,
    *,
    n_out: int,
    inner_lr: float = 0.1,
    logits_lr: float = 30.0,
    inner_steps: int = 5,
    adapts_logits: bool = True,
) -> GradientLearner:
    """Learn where weights *and* architecture logits begin, so that a few steps on both fit a task.

    [w; θ]_{j+1} = [w; θ]_j − [α; α_θ] ⊙ sg(∇ L_S(w_j, θ_j));  the outer gradient is ∇ L_Q at (w_J,
    θ_J), for both.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q n_out]``

    Args:
        encoder: ``mixed_cell``; one without logits is adapted as by `fomaml`.
        n_out: outputs of the head: the way.
        inner_lr, logits_lr: α and α_θ, for the mean support loss.
        inner_steps: J.
        adapts_logits: without, the wiring is learned by the outer loop alone, the same for all
            tasks (the paper's Auto-MAML).

    Example:
        >>> from quickstudy.encoders import MixedCellNet
        >>> learner = t_nas(MixedCellNet(channels=4), n_out=5)
        >>> "encoder.logits" in learner.fast_names
        True

    Paper: Lian et al. 2020, ICLR, "Towards fast adaptation of neural architectures with meta
        learning", equations 5 and 6.
    Differs: one cell, which keeps its image's size, where the paper has a normal and a reduction
        cell.
    """
    rule = ByName(FixedRate(inner_lr), {LOGITS: FixedRate(logits_lr)})
    adapts = everything() if adapts_logits else Selection(("*",), ("*.norm.*", LOGITS))
    loop = InnerLoop(rule, steps=inner_steps, first_order=True)
    return GradientLearner(
        encoder, LinearHead(require_encoder(encoder).out_dim, n_out), loop=loop, adapts=adapts
    )


def meta_nas(
    encoder: AbstractEncoder,
    *,
    n_out: int,
    inner_lr: float = 2e-3,
    logits_lr: float = 1e-2,
    inner_steps: int = 5,
    test_steps: int = 50,
) -> GradientLearner:
    """Reptile on weights and architecture logits: move both to where learning leads.

    (w, θ)′ = Adam^k(w, θ; task), each with its rate;  (w, θ) ← (w, θ) + ε mean over tasks ((w, θ)′
    − (w, θ))

    Train it with the objective ``pull`` and the optimiser sgd with momentum=0 and
    schedule="linear". With ``cool_steps`` of ``mixed_cell`` the mixture becomes a choice by itself.

    Shapes, Args: as `t_nas`, but for
        inner_lr, logits_lr: Adam's rates.
        inner_steps, test_steps: k, in training and in evaluation.

    Example:
        >>> from quickstudy.encoders import MixedCellNet
        >>> meta_nas(MixedCellNet(channels=4), n_out=5).loop.rule.patterns
        ('encoder.logits',)

    Paper: Elsken, Staffler, Metzen, Hutter 2020, arXiv:1911.11090, algorithm 1 and equations 4 and
        5.
    Differs: weights and logits learn from the whole of a task at every step, where the paper gives
        each a half in turn; mixtures are cooled over the outer steps and nothing is pruned.
    """
    rule = ByName(Adam(inner_lr, betas=(0.0, 0.999)), {LOGITS: Adam(logits_lr, betas=(0.0, 0.999))})
    loop = InnerLoop(rule, steps=inner_steps, test_steps=test_steps, first_order=True)
    return GradientLearner(
        encoder,
        LinearHead(require_encoder(encoder).out_dim, n_out),
        loop=loop,
        adapts=Selection(("*",)),
    )
