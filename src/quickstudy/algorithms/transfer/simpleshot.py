"""SimpleShot: the nearest class mean of centred features of unit length."""

from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.transfer.feature_head import FeatureHead
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import negative_squared_euclidean


class SimpleShot(FeatureHead):
    """A class is the mean of its features, after these were centred by the mean feature of the
    training classes and brought to length 1.

    score(c | x) = −|z − μ_c|², μ_c the mean of z over the support of class c; z as in `FeatureHead`

    It needs no training of its own: ``quickstudy eval RUN --as simpleshot``, where RUN was trained
        by ``classify``, say.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        transform: "cl2n", "l2n" or "un".

    Example:
        >>> import torch
        >>> from quickstudy.core.types import Classes, Examples
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.tensor([[3.0, 0.0], [0.0, 5.0]]), torch.tensor([0, 1]))
        >>> SimpleShot(Identity(2)).fit(support, Classes(2))(torch.tensor([[0.0, 0.5]])).abs()
        tensor([[2., 0.]])

    Raises:
        ConfigError: for an unknown transform.

    Paper: Wang, Chao, Weinberger, van der Maaten 2019, arXiv:1911.04623, section 3.2.
    Differs: the mean feature is taken over some thousands of training examples, not over all.
    """

    def __init__(self, encoder: AbstractEncoder, *, transform: str = "cl2n") -> None:
        super().__init__(encoder, transform=transform)

    def learn(
        self, z: Tensor, y: Tensor, n: int, queries: Tensor | None
    ) -> tuple[Float[Tensor, "T C D"]]:
        return (class_means(z, y, n),)

    def answer(self, learned: tuple[Tensor, ...], z: Tensor) -> Tensor:
        return negative_squared_euclidean(z, learned[0])
