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
    inner_lr: float = 0.2,
    inner_steps: int = 16,
    strength: float = 2.0,
    cg_steps: int = 5,
) -> GradientLearner:
    """MAML with an inner loop that is held back to its start, and the implicit gradient of its
    minimum.

    φ* = argmin L_S(φ) + λ/2 |φ − θ|²,  dL_Q(φ*)/dθ = (I + ∇²L_S(φ*)/λ)⁻¹ ∇L_Q(φ*), by conjugate
    gradients.

    Shapes, Args: as `maml`, and
        inner_steps: the memory does not grow with them; take enough to be near the minimum.
        strength: λ, for the mean support loss.
        cg_steps: iterations of conjugate gradients.

    Example:
        >>> from quickstudy.encoders import MLP
        >>> learner = imaml(MLP(2), n_out=3)
        >>> learner.loop.strength, learner.loop.steps
        (2.0, 16)

    Paper: Rajeswaran, Finn, Kakade, Levine 2019, arXiv:1909.04630, equations 3 and 6, algorithms 1
        and 2.
    Differs: parameters that the inner loop does not adapt get their implicit gradient too,
        −1/λ ∂/∂ψ of vᵀ∇L_S. Conjugate gradients stop at a direction of negative curvature,
        where the authors' go on, and the matrix is not damped as theirs is by default (1 + 1,
        damping 1): with both put in, outer gradients are theirs to 1e-8, without them several
        times as large or small.
    """
    loop = ImplicitLoop(
        FixedRate(inner_lr), steps=inner_steps, strength=strength, cg_steps=cg_steps
    )
    return GradientLearner(
        encoder, LinearHead(require_encoder(encoder).out_dim, n_out), loop=loop, adapts=everything()
    )
