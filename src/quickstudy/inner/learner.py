"""The one learner behind the gradient-based family."""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.core.batching import per_task
from quickstudy.core.encoder import AbstractEncoder, Context, require_encoder
from quickstudy.core.errors import ConfigError, TransductiveError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Episode, Examples, Target
from quickstudy.functional.linear import linear
from quickstudy.inner.loop import AbstractLoop
from quickstudy.inner.losses import AbstractInnerLoss, Attempt, TargetLoss
from quickstudy.inner.per_step import PerStep
from quickstudy.inner.rules import Params
from quickstudy.inner.select import Selection
from quickstudy.inner.start import AbstractHead

# adapted parameters [T ...], what the encoder read of the support
GradientState: TypeAlias = tuple[dict[str, Tensor], Context]
_HEAD = ("head.weight", "head.bias")


class GradientLearner(AbstractLearner[GradientState]):
    """Adapts the weights of an encoder and a linear head by gradient steps on the support.

    MAML and its relatives are this learner with other parts; see `quickstudy.algorithms`.

    Args:
        encoder: the body.
        head: the last layer, and what it starts from on a new task.
        loop: how the weights change.
        adapts: which of them do.
        loss: what the inner loop descends; None is the task's own loss.
        per_step: parameters and running statistics of the encoder, not adapted, of which every
            inner step has its own.

    Raises:
        ConfigError: for parts that do not fit together.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        head: AbstractHead,
        *,
        loop: AbstractLoop,
        adapts: Selection,
        loss: AbstractInnerLoss | None = None,
        per_step: Selection | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.loop = encoder, head, loop
        self.loss = TargetLoss() if loss is None else loss
        self.fast_names = fast_names(encoder, adapts)
        self._body_is_fast = any(n.startswith("encoder.") for n in self.fast_names)
        self._has_ties = _has_ties(encoder)
        adapts_head = [n for n in _HEAD if n in self.fast_names]
        if len(adapts_head) < 2 and head.any_way:
            raise ConfigError(
                f"A {type(head).__name__} is made anew for every task, so it must be adapted: "
                "include 'head.*'."
            )
        if per_step and not self._body_is_fast:
            raise ConfigError(
                "Parameters per inner step need an encoder that runs at every step; here only the "
                "head is adapted."
            )
        self.per_step = (
            PerStep(encoder, per_step, steps=loop.steps, fast=self.fast_names) if per_step else None
        )
        self.traits = Traits(
            transductive=encoder.transductive or self.loss.needs_queries,
            class_equivariant=head.class_equivariant,
            any_way=head.any_way,
            targets=head.targets,
            exact_gradient=loop.exact,
        )

    def adapt(
        self,
        support: Examples,
        target: Target,
        query_x: Tensor | None = None,
        *,
        start: Mapping[str, Tensor] | None = None,
    ) -> GradientState:
        """As of every learner; ``start`` gives each task the adapted parameters to begin with, ``[T
        ...]``, in place of the learned ones.
        """
        task = self._task(support, target, query_x)
        begin = task.start
        if start is not None:
            begin = {n: start[n] if task.n_tasks > 1 else start[n][0] for n in begin}
        fast = self.loop.run(begin, task.loss_at, given=task.given)
        return self._state(task, fast, self.loop.steps)

    def predict(self, state: GradientState, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q O"]:
        return self._predict(state, x, self.loop.steps)

    def answers_along(
        self, episode: Episode, *, steps: int | None = None, first: int = 0
    ) -> list[Float[Tensor, "T Q O"]]:
        """The answers to the queries after ``first``, ``first`` + 1, … inner steps: as many as
        `adapt` takes, unless ``steps`` says otherwise.
        """
        e, query_x = episode, episode.query.x if self.traits.transductive else None
        task = self._task(e.support, e.target, query_x)
        path = self.loop.path(task.start, task.loss_at, steps=steps)
        return [
            self._predict(self._state(task, fast, j), e.query.x, j)
            for j, fast in enumerate(path)
            if j >= first
        ]

    def adapting(self, names: Sequence[str]) -> "GradientLearner":
        """A copy whose inner loop changes only these of the parameters; the others stay as they
        start.

        Raises:
            ConfigError: for a parameter that the inner loop does not adapt, or none at all, or a
                head that is made anew for every task left out.
        """
        wrong = [n for n in names if n not in self.fast_names]
        if wrong or not names:
            asked = ", ".join(wrong) or "nothing"
            raise ConfigError(
                f"The inner loop adapts {', '.join(self.fast_names)}; it cannot be narrowed to "
                f"{asked}."
            )
        if self.head.any_way and not set(_HEAD) <= set(names):
            raise ConfigError(
                f"A {type(self.head).__name__} is made anew for every task, so it must be adapted: "
                f"include both of {', '.join(_HEAD)}."
            )
        other = copy.deepcopy(self)
        other.fast_names = tuple(n for n in self.fast_names if n in names)
        other._body_is_fast = any(n.startswith("encoder.") for n in names)
        return other

    def start(self, support: Examples, target: Target) -> dict[str, Tensor]:
        """The parameters that are adapted, as they are before the first step, ``[T ...]``; of a
        single task without the task axis.
        """
        return self._task(support, target, None).start

    def _task(self, support: Examples, target: Target, query_x: Tensor | None) -> "_Task":
        n_tasks, every = support.n_tasks, dict(self.named_parameters())
        if self.loss.needs_queries and query_x is None:
            raise TransductiveError(
                "The inner loss of this learner looks at the queries. Pass them: adapt(support, "
                "target, query_x)."
            )
        self._refuse_frozen(every)
        # Several tasks each need their own copy; one task can begin with the parameters themselves.
        start = {
            n: every[n] if n_tasks == 1 else every[n].expand(n_tasks, *every[n].shape)
            for n in self.fast_names
            if n not in _HEAD
        }
        x = self.encoder.prepare(support.x)
        z, context = (None, ())
        if not self._body_is_fast or self.head.reads:
            z, context = self._with_weights(_Read(self.encoder), {}, 0, x)
        if (
            self.head.reads and n_tasks == 1
        ):  # so that the inner gradient of the body does not run through the head's start
            start = {n: p.view_as(p) for n, p in start.items()}
        head = {f"head.{n}": p for n, p in self.head.begin(support, target, z).items()}
        start |= {n: p for n, p in head.items() if n in self.fast_names}
        kept = {n: p for n, p in head.items() if n not in self.fast_names}
        loss = self.loss
        queries = query_x if loss.needs_queries else None
        if not self._body_is_fast:
            assert z is not None
            of_queries = None if queries is None else self.encoder(queries, context)

            def on_features(fast: Params, j: int) -> Tensor:
                asked = None if of_queries is None else self._head(fast, of_queries, kept)
                return loss(Attempt(j, fast, self._head(fast, z, kept), support, asked), target)

            # The body's share of the outer gradient goes through the features.
            given = [
                z,
                *(
                    p
                    for n, p in every.items()
                    if n not in self.fast_names and not n.startswith(("loop.", "encoder."))
                ),
            ]
            return _Task(n_tasks, start, on_features, given, kept, x, context)
        n_support = support.x.shape[1]
        # one batch, as the statistics are
        both = x if queries is None else self.encoder.prepare(torch.cat((support.x, queries), 1))

        def on_images(fast: Params, j: int) -> Tensor:
            out = self._head(
                fast, self._with_weights(_Encode(self.encoder), fast, j, both, ()), kept
            )
            asked = None if queries is None else out[:, n_support:]
            return loss(Attempt(j, fast, out[:, :n_support], support, asked), target)

        slow: list[Tensor] = [
            p for n, p in every.items() if n not in self.fast_names and not n.startswith("loop.")
        ]
        return _Task(n_tasks, start, on_images, slow, kept, x, ())

    def _refuse_frozen(self, every: Mapping[str, Tensor]) -> None:
        """What was frozen after the learner was built can be left out by building it again; a
        learner that is frozen as a whole is in use, not in training.
        """
        adapted = [n for n in self.fast_names if n in every]
        frozen = [n for n in adapted if not every[n].requires_grad]
        if frozen and any(p.requires_grad for p in every.values()):
            raise ConfigError(
                f"The inner loop adapts {', '.join(frozen)}, frozen since the learner was built "
                "(requires_grad is False). Freeze parameters before the learner is built, or "
                "narrow the inner loop with learner.adapting(names)."
            )

    def _state(self, task: "_Task", fast: dict[str, Tensor], step: int) -> GradientState:
        context = task.context
        if self._body_is_fast and self.encoder.remembers:
            context = self._with_weights(_Read(self.encoder), fast, step - 1, task.x)[1]
        return (fast if task.n_tasks > 1 else {n: p[None] for n, p in fast.items()}), context

    def _predict(self, state: GradientState, x: Tensor, step: int) -> Tensor:
        fast, context = state
        if len(x) == 1:
            fast = {n: p[0] for n, p in fast.items()}
        if not self._body_is_fast:
            return self._head(fast, self.encoder(x, context))
        return self._head(
            fast, self._with_weights(_Encode(self.encoder), fast, step - 1, x, context)
        )

    def _with_weights(self, module: nn.Module, fast: Params, step: int, *inputs: Any) -> Any:
        """The module's answer with each task's own weights: all tasks in one call if there is one
        or the encoder stacks, else one by one.
        """
        body = {n: p for n, p in fast.items() if n.startswith("encoder.")}
        of_step = self.per_step.at(step) if self.per_step else {}
        # Looking for ties takes a walk through the encoder at every step.
        call = functools.partial(functional_call, module, tie_weights=self._has_ties)
        if self.encoder.stacks or inputs[0].shape[0] == 1:
            return call(body | of_step, inputs)
        return per_task(
            lambda one, *inputs: call({n: p[0] for n, p in one.items()} | of_step, inputs),
            body,
            *inputs,
        )

    def _head(
        self, fast: Params, z: Float[Tensor, "T N D"], kept: Params | None = None
    ) -> Float[Tensor, "T N O"]:
        if not kept and not all(n in fast for n in _HEAD):
            kept = {f"head.{n}": p for n, p in self.head.named_parameters()}
        have = {**(kept or {}), **fast}
        weight, bias = have["head.weight"], have["head.bias"]
        if weight.ndim != bias.ndim + 1:  # only one of them is adapted
            weight, bias = (
                p if p.ndim == d else p.expand(len(z), *p.shape)
                for p, d in ((weight, 3), (bias, 2))
            )
        return linear(z, weight, bias)


@dataclass(frozen=True)
class _Task:
    """A batch of tasks, ready for the inner loop."""

    n_tasks: int
    start: dict[str, Tensor]
    loss_at: Callable[[Params, int], Tensor]
    given: list[Tensor]
    kept: Params
    x: Any
    context: Context


def fast_names(encoder: AbstractEncoder, adapts: Selection) -> tuple[str, ...]:
    """The names of the adapted parameters, the head's last. Those that are frozen (do not require a
    gradient) are not adapted.

    Raises:
        ConfigError: when all that would be adapted is frozen.
    """
    parameters = dict(require_encoder(encoder).named_parameters())
    names = adapts.of([*(f"encoder.{n}" for n in parameters), *_HEAD])
    free = tuple(
        n for n in names if n in _HEAD or parameters[n.removeprefix("encoder.")].requires_grad
    )
    if names and not free:
        raise ConfigError(
            "All parameters that the inner loop would adapt are frozen (requires_grad is False). "
            "Unfreeze some, or adapt others."
        )
    return free


def fast_shapes(
    encoder: AbstractEncoder, n_out: int, adapts: Selection
) -> dict[str, tuple[int, ...]]:
    """The shapes of the adapted parameters of one task, for rules that learn something for each of
    them.
    """
    named = require_encoder(encoder).named_parameters()
    shapes = {f"encoder.{n}": tuple(p.shape) for n, p in named}
    shapes |= {"head.weight": (n_out, encoder.out_dim), "head.bias": (n_out,)}
    return {n: shapes[n] for n in fast_names(encoder, adapts)}


def _has_ties(encoder: AbstractEncoder) -> bool:
    """Whether one parameter or buffer has several names."""
    tensors = [
        *encoder.named_parameters(remove_duplicate=False),
        *encoder.named_buffers(remove_duplicate=False),
    ]
    return len({id(t) for _, t in tensors}) < len(tensors)


class _Encode(nn.Module):
    """`encoder` under its name in the learner, for functional_call."""

    def __init__(self, encoder: AbstractEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Any, context: Context) -> Tensor:
        return self.encoder(x, context)


class _Read(nn.Module):
    """`encoder.read` likewise."""

    def __init__(self, encoder: AbstractEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Any) -> tuple[Tensor, Context]:
        return self.encoder.read(x)
