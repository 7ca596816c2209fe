"""P > M > F: pre-train, meta-train, fine-tune."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.transfer.encoder_tuner import EncoderTuner
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import generator
from quickstudy.core.types import Examples
from quickstudy.functional.descent import mean_cross_entropy
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import cosine
from quickstudy.functional.views import photo_views


class PMF(EncoderTuner):
    """Cosine prototypes on a pre-trained encoder, meta-trained; at test a copy of the encoder is
    fine-tuned on the support for every task.

    score(c | x) = s · cos(f(x), μ_c).  Fine-tuning: min over θ of the mean of CE(s · cos(f(x̃_i),
    μ_c)) over new views x̃_i of the support, with the class means of the support itself

    P is the run it starts from (``--from``), M is training, in which nothing is fine-tuned, F
    happens in eval mode. Worth its time where the test classes come from another domain.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``; new views of pictures are parts of
        them, mirrored and in another light; of other examples they are the examples with noise.

    Args:
        encoder: f.
        steps: of fine-tuning; 0 = only P > M.
        lr: its rate; the paper chooses it for each domain, on validation tasks, 0 among them.
        scale: s.
        crop, mirror, light: of the views, see `quickstudy.functional.views.photo_views`.
        noise: of vectors: its length, as a part of theirs.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> PMF(Identity(2), steps=2).fit(support, Classes(2))(torch.tensor([[3.0, 0.0]]))
        tensor([[10.,  0.]])

    Raises:
        ConfigError: for numbers out of range.

    Paper: Hu, Li, Stühmer, Kim, Hospedales 2022, arXiv:2204.07305, section 3.
    Differs: any encoder in the place of the vision transformer; Adam; weaker augmentation.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        steps: int = 20,
        lr: float = 1e-4,
        scale: float = 10.0,
        crop: float = 0.7,
        mirror: float = 0.5,
        light: float = 0.2,
        noise: float = 0.2,
    ) -> None:
        # which view an example gets depends on its position
        super().__init__(encoder, steps=steps, lr=lr, order_free=False)
        if not scale > 0 or not 0 < crop <= 1 or not 0 <= mirror <= 1 or light < 0 or noise < 0:
            raise ConfigError(
                "scale is above 0, crop in (0, 1], mirror in [0, 1], light and noise are not "
                f"negative, got {scale}, {crop}, {mirror}, {light} and {noise}."
            )
        self.scale = scale
        self.crop = crop
        self.mirror = mirror
        self.light = light
        self.noise = noise

    def start(self, z: Tensor, y: Tensor, n: int) -> tuple[Tensor, ...]:
        return (class_means(z, y, n),)

    def loss(
        self,
        encode: AbstractEncoder,
        head: tuple[Tensor, ...],
        support: Examples,
        n: int,
        queries: Tensor | None,
        step: int,
    ) -> Tensor:
        means = class_means(encode(support.x), support.y, n)
        return mean_cross_entropy(
            self.scores((means,), encode(self._views(support.x, step))), support.y
        ).sum()

    def keep(
        self, encode: AbstractEncoder, head: tuple[Tensor, ...], support: Examples, n: int
    ) -> tuple[Tensor, ...]:
        return self.start(encode(support.x), support.y, n)

    def scores(self, head: tuple[Tensor, ...], z: Tensor) -> Float[Tensor, "T Q C"]:
        return self.scale * cosine(z, head[0])

    def _views(self, x: Float[Tensor, "1 N *S"], step: int) -> Tensor:
        g = generator("pmf", step)
        if x.ndim == 5:
            return photo_views(x[0], g, crop=self.crop, mirror=self.mirror, light=self.light)[None]
        drawn = torch.randn(x.shape[1:], generator=g, dtype=torch.float32).to(x).flatten(1)
        size = x.flatten(2).norm(dim=-1)[0, :, None]
        return x + (self.noise * size * F.normalize(drawn, dim=-1)).view_as(x)
