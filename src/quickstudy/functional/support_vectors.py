"""Multi-class support vector machines, solved for many small tasks at once, with gradients through
the solution.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.errors import TrainingError
from quickstudy.kernels.precision import at_least_single

STEPS, GAP, RESIDUAL = 60, 1e-12, 1e-10


@at_least_single
def crammer_singer(
    gram: Float[Tensor, "T N N"],
    y: Float[Tensor, "T N C"],
    *,
    penalty: float = 0.1,
    ridge: float = 0.0,
) -> Float[Tensor, "T N C"]:
    """The dual solution A of the support vector machine of Crammer and Singer: class c scores x by
    Σ_i A_ic k(x, x_i).

    min over A of ½ tr(Aᵀ (K + ridge·I) A) − tr(Yᵀ A)   subject to   A ≤ penalty·Y,   each row of A
    sums to 0

    A primal-dual interior-point method in double precision, all tasks at once. A class's block of
    the Newton system is N×N, and the rows' sums are eliminated by a Schur complement, so a step
    costs C + 1 factorisations of N×N and not one of NC×NC.

    The gradient is that of the implicit function theorem at the solution: one more Newton step
    there, whose matrix is a constant.

    Args:
        gram: K, the inner products of the support's features.
        y: the labels, one-hot.
        penalty: C of the machine, its price of an error.
        ridge: makes the solution unique where K is singular.

    Raises:
        TrainingError: for features that are not finite, or when there is no solution after 60
            steps.

    >>> x = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])
    >>> crammer_singer(
    ...     x @ x.transpose(1, 2), torch.eye(2)[None], penalty=10.0
    ... )  # both examples on the margin
    tensor([[[ 0.1250, -0.1250],
             [-0.1250,  0.1250]]])

    Paper: Lee, Maji, Ravichandran, Soatto 2019, arXiv:1904.03758, equations 5 to 8; Crammer and
        Singer 2001.
    """
    k, labels = gram.double(), y.double()
    if not bool(k.isfinite().all()):
        raise TrainingError(
            "No support vector machine can be made of features that are not finite numbers. Lower "
            "the learning rate."
        )
    # beside it, 1e-12 of it keeps a singular K from failing by rounding
    size = k.detach().diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    k = k + (ridge + 1e-12 * size) * torch.eye(k.shape[1], dtype=k.dtype, device=k.device)
    with torch.no_grad():
        slack, price = _solved(k, labels, penalty)
        dual = penalty * labels - slack
        newton = _Newton(k, price / slack)
    # 0 at the solution; its derivative is what is wanted
    step = newton.projected(k @ dual - labels)
    return (dual - (step - step.detach())).to(gram.dtype)


class _Newton:
    """The matrix of a Newton step in factors: minimise ½ tr(Vᵀ K V) + ½ Σ D V² + tr(Gᵀ V) over V
    whose rows sum to 0.
    """

    def __init__(self, k: Float[Tensor, "T N N"], curvature: Float[Tensor, "T N C"]) -> None:
        blocks = k[:, None] + torch.diag_embed(curvature.transpose(1, 2))  # [T C N N]
        self.factor = torch.linalg.cholesky(blocks)
        inverse = torch.cholesky_inverse(self.factor).sum(1)  # [T N N]
        self.schur = torch.linalg.cholesky(inverse)

    def projected(self, g: Float[Tensor, "T N C"]) -> Float[Tensor, "T N C"]:
        """−V."""
        free = self._solve(g)  # [T N C]
        shared = torch.cholesky_solve(free.sum(2, keepdim=True), self.schur)  # [T N 1]
        return free - self._solve(shared.expand_as(g))

    def _solve(self, g: Float[Tensor, "T N C"]) -> Float[Tensor, "T N C"]:
        return (
            torch.cholesky_solve(g.transpose(1, 2).unsqueeze(3), self.factor)
            .squeeze(3)
            .transpose(1, 2)
        )


def _solved(
    k: Float[Tensor, "T N N"], y: Float[Tensor, "T N C"], penalty: float
) -> tuple[Tensor, Tensor]:
    """Slack S = penalty·Y − A and its price, Z: positive, with S·Z near 0 and the gradient of the
    objective balanced by Z up to a number per row.
    """
    slack = torch.full_like(y, penalty / y.shape[2])
    price = k @ (slack - penalty * y) + y
    price = price - price.amin(2, keepdim=True)
    price = price + 1 + price.mean((1, 2), keepdim=True)  # balanced from the start
    tolerance = RESIDUAL * (1 + penalty * k.abs().amax((1, 2)))
    for _ in range(STEPS):
        # In S the objective's gradient is K S − K·penalty·Y + Y; up to a number per row it equals
        # Z.
        residual = k @ (slack - penalty * y) + y - price
        residual = residual - residual.mean(2, keepdim=True)
        gap = (slack * price).mean((1, 2), keepdim=True)
        if bool((gap < GAP * penalty).all()) and bool(
            (residual.abs().amax((1, 2)) < tolerance).all()
        ):
            return slack, price
        newton = _Newton(k, price / slack)
        d_slack, d_price = _direction(newton, residual, slack, price, torch.zeros_like(gap))
        length = torch.minimum(_room(slack, d_slack), _room(price, d_price))
        predicted = ((slack + length * d_slack) * (price + length * d_price)).mean(
            (1, 2), keepdim=True
        )
        centre = gap * (predicted / gap).pow(3)
        # Mehrotra's corrector, of the length that may be gone: in full it goes in circles
        wanted = centre.clamp(min=0.1 * GAP * penalty) - length.square() * d_slack * d_price
        d_slack, d_price = _direction(newton, residual, slack, price, wanted)
        length = 0.99 * torch.minimum(_room(slack, d_slack), _room(price, d_price))
        slack, price = slack + length * d_slack, price + length * d_price
    raise TrainingError(
        f"The support vector machines of {k.shape[0]} tasks were not solved in {STEPS} steps. "
        "Bring their features nearer to length 1."
    )


def _direction(
    newton: _Newton, residual: Tensor, slack: Tensor, price: Tensor, wanted: Tensor
) -> tuple[Tensor, Tensor]:
    """The Newton step towards S·Z = ``wanted`` without a residual."""
    to_balance = wanted / slack - price
    d_slack = -newton.projected(residual - to_balance)
    return d_slack, to_balance - price / slack * d_slack


def _room(at: Float[Tensor, "T N C"], direction: Float[Tensor, "T N C"]) -> Float[Tensor, "T 1 1"]:
    """How far, at most 1, until a number would be 0."""
    ratio = torch.where(direction < 0, -at / direction, 1.0)
    return ratio.amin((1, 2), keepdim=True).clamp(max=1.0)
