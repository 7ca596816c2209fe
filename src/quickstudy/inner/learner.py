"""The one learner behind the gradient-based family."""

from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from quickstudy.core.batching import per_task
from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import TargetError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Classes, Examples, Reals, Target
from quickstudy.inner.head import LinearHead
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.select import Selection

GradientState: TypeAlias = tuple[dict[str, Tensor], Context]  # adapted parameters [T ...], what the encoder read of the support


class GradientLearner(AbstractLearner[GradientState]):
    """Adapts the weights of an encoder and a linear head by gradient steps on the support.

    MAML and its relatives are this learner with other parts; see `quickstudy.algorithms`.

    Args:
        encoder: the body.
        head: the last layer, as wide as the target.
        loop: how the weights change.
        adapts: which of them do.
    """

    def __init__(self, encoder: AbstractEncoder, head: LinearHead, *, loop: InnerLoop, adapts: Selection) -> None:
        super().__init__()
        self.encoder, self.head, self.loop = encoder, head, loop
        self.fast_names = adapts.of([n for n, _ in self.named_parameters() if n.startswith(("encoder.", "head."))])
        self._body_is_fast = any(n.startswith("encoder.") for n in self.fast_names)
        self.traits = Traits(
            transductive=encoder.transductive,
            class_equivariant=False,
            any_way=False,
            targets=frozenset({Classes, Reals}),
            exact_gradient=not loop.first_order,
        )

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> GradientState:
        if target.width != self.head.out_dim:
            raise TargetError(
                f"This learner's head has {self.head.out_dim} outputs but the task has {target.width}. Gradient-based learners keep the "
                f"way they were trained at: use {self.head.out_dim}-way tasks, train with n_out={target.width}, or take a metric learner (protonet)."
            )
        states = [self._adapt_one(support.x[t][None], support.y[t][None], target) for t in range(support.x.shape[0])]
        fast = {n: torch.stack([s[0][n] for s in states]) for n in self.fast_names}  # [T ...]
        return fast, tuple(torch.cat(parts) for parts in zip(*(s[1] for s in states), strict=True))

    def predict(self, state: GradientState, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q O"]:
        fast, context = state
        if not self._body_is_fast:
            z = self.encoder(x, context)  # [T Q D]
            return per_task(lambda p, zt: self._head({n: v[0] for n, v in p.items()}, zt), fast, z)
        return per_task(lambda p, c, xt: self._answer({n: v[0] for n, v in p.items()}, xt, c), fast, context, x)

    def _adapt_one(self, x: Float[Tensor, "1 N *S"], y: Tensor, target: Target) -> GradientState:
        start = dict(self.named_parameters())
        start = {n: start[n] for n in self.fast_names}
        if not self._body_is_fast:
            z, context = self.encoder.read(x)
            return self.loop.run(start, lambda p, _: target.loss(self._head(p, z), y)[0]), context
        fast = self.loop.run(start, lambda p, _: target.loss(self._answer(p, x, ()), y)[0])
        if self.encoder.norm != "support":
            return fast, ()
        return fast, functional_call(_Read(self.encoder), _encoder_part(fast, "encoder."), (x,))

    def _answer(self, params: dict[str, Tensor], x: Tensor, context: Context) -> Tensor:
        return self._head(params, functional_call(self.encoder, _encoder_part(params), (x, context)))

    def _head(self, params: dict[str, Tensor], z: Tensor) -> Tensor:
        return F.linear(z, params.get("head.weight", self.head.weight), params.get("head.bias", self.head.bias))


class _Read(torch.nn.Module):
    """`encoder.read` as a module call, for functional_call; gives the context alone."""

    def __init__(self, encoder: AbstractEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Context:
        return self.encoder.read(x)[1]


def _encoder_part(params: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    return {prefix + n.removeprefix("encoder."): p for n, p in params.items() if n.startswith("encoder.")}
