"""Zero-shot prototypes: a class is known by a description alone."""

from typing import TypeAlias

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError, EpisodeError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import negative_squared_euclidean

ZeroShotState: TypeAlias = tuple[Float[Tensor, "T C D"]]


class ZeroShot(AbstractLearner[ZeroShotState]):
    """The support of a class is a vector that describes it (attributes, its name's embedding);
    queries are examples, and belong to the nearest description.

    μ_c = mean of g(v) over the vectors v of class c, brought to length 1;  score(c | x) = −|h(f(x))
    − μ_c|²

    g and h are linear maps to one space. The query is not brought to length 1.

    Shapes:
        support ``[T N A]``, semantic vectors, one or several per class; queries ``[T Q *S] -> [T Q
        C]``; any number of classes works.

    Args:
        encoder: f; for features that were computed beforehand `Identity`.
        semantic_dim: A.
        dim: of the common space.

    Example:
        >>> import torch
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> _ = torch.manual_seed(0)
        >>> described = Examples.single(
        ...     torch.eye(3), torch.arange(3)
        ... )  # three classes nobody has seen an example of
        >>> ZeroShot(Identity(8), semantic_dim=3).fit(described, Classes(3))(
        ...     torch.zeros(2, 8)
        ... ).shape
        torch.Size([2, 3])

    Raises:
        ConfigError: for dimensions below 1, or an encoder that normalises by its support, which
            here holds no examples.
        EpisodeError: for semantic vectors of another length.

    Paper: Snell, Swersky, Zemel 2017, arXiv:1703.05175, sections 2.7 and 3.3.
    Differs: several vectors of a class are averaged; the paper has one.
    """

    def __init__(self, encoder: AbstractEncoder, *, semantic_dim: int, dim: int = 128) -> None:
        super().__init__()
        if semantic_dim < 1 or dim < 1:
            raise ConfigError(
                f"semantic_dim and dim must be at least 1, got {semantic_dim} and {dim}."
            )
        if encoder.remembers:
            raise ConfigError(
                "The support of zero-shot prototypes holds no examples to normalise by; use an "
                f"encoder with norm=running, group or none, not {encoder.norm}."
            )
        self.encoder, self.semantic_dim = encoder, semantic_dim
        self.of_class = nn.Linear(semantic_dim, dim)
        self.of_example = nn.Linear(encoder.out_dim, dim)
        self.traits = Traits(transductive=encoder.transductive)

    def adapt(
        self, support: Examples, target: Target, query_x: Tensor | None = None
    ) -> ZeroShotState:
        if support.x.ndim != 3 or support.x.shape[-1] != self.semantic_dim:
            raise EpisodeError(
                f"The support must hold semantic vectors [T N {self.semantic_dim}], but has shape "
                f"{tuple(support.x.shape)}. Give class vectors there, and examples "
                "as queries (quickstudy.data.SemanticEpisodes draws such tasks), or build the "
                "learner with another semantic_dim."
            )
        return (
            F.normalize(class_means(self.of_class(support.x), support.y, target.width), dim=-1),
        )

    def predict(self, state: ZeroShotState, x: Tensor) -> Tensor:
        return negative_squared_euclidean(self.of_example(self.encoder(x)), state[0])  # [T Q C]
