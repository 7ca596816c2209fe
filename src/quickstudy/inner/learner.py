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
        # Several tasks each need their own copy; one task can begin with the parameters themselves.
        start = {n: every[n] if n_tasks == 1 else every[n].expand(n_tasks, *every[n].shape) for n in self.fast_names}
        if not self._body_is_fast:
            z, context = self.encoder.read(support.x)
            given = [z, *(p for n, p in self.head.named_parameters() if f"head.{n}" not in start)]
            fast = self.loop.run(start, lambda fast, _: target.loss(self._head(fast, z), support.y).sum(), given=given)
            return _with_task_axis(fast, n_tasks), context
        x, slow = self.encoder.prepare(support.x), [p for n, p in every.items() if n not in start and not n.startswith("loop.")]
        fast = self.loop.run(start, lambda fast, _: target.loss(self._answer(fast, x, ()), support.y).sum(), given=slow)
        return _with_task_axis(fast, n_tasks), self._with_weights(_Read(self.encoder), fast, x) if self.encoder.remembers else ()

    def predict(self, state: GradientState, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q O"]:
        fast, context = state
        if len(x) == 1:
            fast = {n: p[0] for n, p in fast.items()}
        return self._answer(fast, x, context) if self._body_is_fast else self._head(fast, self.encoder(x, context))

    def _answer(self, fast: Params, x: Any, context: Context) -> Tensor:
        return self._head(fast, self._with_weights(_Encode(self.encoder), fast, x, context))

    def _with_weights(self, module: nn.Module, fast: Params, *inputs: Any) -> Any:
        """The module's answer with each task's own weights: all tasks in one call if there is one or the encoder stacks, else one by one."""
        body = {n: p for n, p in fast.items() if n.startswith("encoder.")}
        if self.encoder.stacks or inputs[0].shape[0] == 1:
            return functional_call(module, body, inputs)
        return per_task(lambda one, *inputs: functional_call(module, {n: p[0] for n, p in one.items()}, inputs), body, *inputs)

    def _head(self, fast: Params, z: Float[Tensor, "T N D"]) -> Float[Tensor, "T N O"]:
        weight, bias = fast.get("head.weight", self.head.weight), fast.get("head.bias", self.head.bias)
        if weight.ndim != bias.ndim + 1:  # only one of them is adapted
            weight, bias = (p if p.ndim == d else p.expand(len(z), *p.shape) for p, d in ((weight, 3), (bias, 2)))
        return linear(z, weight, bias)


def _with_task_axis(fast: dict[str, Tensor], n_tasks: int) -> dict[str, Tensor]:
    return fast if n_tasks > 1 else {n: p[None] for n, p in fast.items()}


class _Encode(nn.Module):
    """`encoder` under its name in the learner, for functional_call."""

    def __init__(self, encoder: AbstractEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Any, context: Context) -> Tensor:
        return self.encoder(x, context)


class _Read(nn.Module):
    """`encoder.read` likewise, its context alone."""

    def __init__(self, encoder: AbstractEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Any) -> Context:
        return self.encoder.read(x)[1]
