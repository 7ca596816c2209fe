"""The one learner behind the gradient-based family."""

from typing import Any, TypeAlias

from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.core.batching import per_task
from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import TargetError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Classes, Examples, Reals, Target
from quickstudy.functional.linear import linear
from quickstudy.inner.head import LinearHead
from quickstudy.inner.loop import InnerLoop, Params
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
        n_tasks, every = support.x.shape[0], dict(self.named_parameters())
        start = {n: every[n].expand(n_tasks, *every[n].shape) for n in self.fast_names}  # [T ...]
        if not self._body_is_fast:
            z, context = self.encoder.read(support.x)
            return self.loop.run(start, lambda fast, _: target.loss(self._head(fast, z), support.y).sum()), context
        fast = self.loop.run(start, lambda fast, _: target.loss(self._answer(fast, support.x, ()), support.y).sum())
        return fast, self._with_weights(_Read(self.encoder), fast, support.x) if self.encoder.remembers else ()

    def predict(self, state: GradientState, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q O"]:
        fast, context = state
        return self._answer(fast, x, context) if self._body_is_fast else self._head(fast, self.encoder(x, context))

    def _answer(self, fast: Params, x: Tensor, context: Context) -> Tensor:
        return self._head(fast, self._with_weights(_Encode(self.encoder), fast, x, context))

    def _with_weights(self, module: nn.Module, fast: Params, *inputs: Any) -> Any:
        """The module's answer with each task's own weights: all tasks in one call if the encoder stacks, else one by one."""
        body = {n: p for n, p in fast.items() if n.startswith("encoder.")}
        if self.encoder.stacks:
            return functional_call(module, body, inputs)
        return per_task(lambda one, *inputs: functional_call(module, {n: p[0] for n, p in one.items()}, inputs), body, *inputs)

    def _head(self, fast: Params, z: Float[Tensor, "T N D"]) -> Float[Tensor, "T N O"]:
        weight, bias = (
            fast.get(f"head.{n}", p.expand(z.shape[0], *p.shape)) for n, p in (("weight", self.head.weight), ("bias", self.head.bias))
        )
        return linear(z, weight, bias)


class _Encode(nn.Module):
    """`encoder` under its name in the learner, for functional_call."""

    def __init__(self, encoder: AbstractEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.encoder(x, context)


class _Read(nn.Module):
    """`encoder.read` likewise, its context alone."""

    def __init__(self, encoder: AbstractEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Context:
        return self.encoder.read(x)[1]
