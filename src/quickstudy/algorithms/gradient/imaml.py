"""MAML whose outer gradient does not depend on the way that the inner loop took."""

from quickstudy.core.encoder import AbstractEncoder, require_encoder
from quickstudy.inner.implicit import ImplicitLoop
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.rules import FixedRate
from quickstudy.inner.select import everything
from quickstudy.inner.start import LinearHead


def imaml(
    encoder: AbstractEncoder,
    *,
    n_out: int,
    inner_lr: float = 0.05,
    inner_steps: int = 32,
    strength: float = 4.0,
    cg_steps: int = 5,
    damping: float = 0.0,
    shift: float = 0.0,
    tolerance: float = 0.4,
) -> GradientLearner:
    """MAML with an inner loop that is held back to its start, and the implicit gradient of its
    minimum.

    φ* = argmin L_S(φ) + λ/2 |φ − θ|²,  dL_Q(φ*)/dθ = (I + ∇²L_S(φ*)/λ)⁻¹ ∇L_Q(φ*), by conjugate
    gradients. Training warns, once, where the inner loop has not come to a minimum.

    Shapes, Args: as `maml`, and
        inner_steps: the memory does not grow with them; take enough to be near the minimum.
        strength: λ, for the mean support loss.
        cg_steps: iterations of conjugate gradients.
        damping, shift: solve with (1 + shift) I + ∇²L_S/(λ + damping) instead; the authors' example
            takes 1 and 1.
        tolerance: the residual of the inner loop above which it warns, between 0 (a minimum) and
            1, see `quickstudy.inner.implicit.ImplicitLoop`.

    Example:
        >>> from quickstudy.encoders import MLP
        >>> learner = imaml(MLP(2), n_out=3)
        >>> learner.loop.strength, learner.loop.steps
        (4.0, 32)

    Paper: Rajeswaran, Finn, Kakade, Levine 2019, arXiv:1909.04630, equations 3 and 6, algorithms 1
        and 2.
    Differs: parameters that the inner loop does not adapt get their implicit gradient too,
        −1/λ ∂/∂ψ of vᵀ∇L_S. The default is the paper's matrix, without the damping of the
        authors' example.
    """
    loop = ImplicitLoop(
        FixedRate(inner_lr),
        steps=inner_steps,
        strength=strength,
        cg_steps=cg_steps,
        damping=damping,
        shift=shift,
        tolerance=tolerance,
    )
    return GradientLearner(
        encoder, LinearHead(require_encoder(encoder).out_dim, n_out), loop=loop, adapts=everything()
    )
