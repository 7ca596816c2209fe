"""A linear classifier on a given encoder: what every table must have beside the methods."""

from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target

ProbeState: TypeAlias = tuple[Float[Tensor, "T C D"], Float[Tensor, "T C"], Context]


class LinearProbe(AbstractLearner[ProbeState]):
    """Logistic regression on the features of the support, by scikit-learn; the encoder stays as it
    is.

    min over W, b of ½|W|² + C Σ_i CE(W f(x_i) + b, y_i)

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        inverse_penalty: C, as scikit-learn counts it: smaller = stronger regularisation. Of two
            classes it penalises the difference w₁ − w₀, so that C counts half of what the formula
            says.
        normalise: bring features to length 1 first, as Tian et al. do.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]))
        >>> LinearProbe(Identity(1)).fit(support, Classes(2))(torch.tensor([[3.0]])).softmax(
        ...     -1
        ... ).round(decimals=2)
        tensor([[0.1200, 0.8800]])

    Paper: Tian et al. 2020, arXiv:2003.11539, section 3.2 (with normalise); Chen et al. 2019,
        arXiv:1904.04232, section 3.2.
    Differs: from the latter by an exact solver instead of 100 epochs of SGD, see `Baseline`.
    """

    def __init__(
        self, encoder: AbstractEncoder, *, inverse_penalty: float = 1.0, normalise: bool = False
    ) -> None:
        super().__init__()
        if not inverse_penalty > 0:
            raise ConfigError(f"inverse_penalty must be above 0, got {inverse_penalty}.")
        self.encoder, self.inverse_penalty, self.normalise = encoder, inverse_penalty, normalise
        self.traits = Traits(
            encodes_alone=True, transductive=encoder.transductive, exact_gradient=False
        )

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> ProbeState:
        z, context = self.encoder.read(support.x)
        z = self._direction(z)
        solved = [
            self._solve(zt, yt, target.width)
            for zt, yt in zip(z.detach().cpu().numpy(), support.y.cpu().numpy(), strict=True)
        ]
        weight, bias = (torch.as_tensor(np.stack(part)).to(z) for part in zip(*solved, strict=True))
        return weight, bias, context

    def predict(self, state: ProbeState, x: Tensor) -> Tensor:
        weight, bias, context = state
        return (
            torch.einsum("tqd,tcd->tqc", self._direction(self.encoder(x, context)), weight)
            + bias[:, None]
        )

    def _direction(self, z: Tensor) -> Tensor:
        return F.normalize(z, dim=-1) if self.normalise else z

    def _solve(self, z: np.ndarray, y: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights and biases of all ``n`` classes; a class without examples is never chosen."""
        from sklearn.linear_model import LogisticRegression

        weight, bias = np.zeros((n, z.shape[1])), np.full(n, -np.inf)
        seen = np.unique(y)
        if len(seen) == 1:
            bias[seen] = 0.0
            return weight, bias
        model = LogisticRegression(C=self.inverse_penalty, max_iter=1000).fit(
            z.astype(np.float64), y
        )
        if (
            len(seen) == 2
            # scikit-learn keeps one difference vector; half of it each, with opposite sign, is the
            # same
            # softmax
        ):
            weight[seen] = np.concatenate((-model.coef_, model.coef_)) / 2
            bias[seen] = np.concatenate((-model.intercept_, model.intercept_)) / 2
        else:
            weight[seen], bias[seen] = model.coef_, model.intercept_
        return weight, bias
