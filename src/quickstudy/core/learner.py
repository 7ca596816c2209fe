"""The one interface: a learner eats a support set and returns a predictor for query points."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.algorithm import AbstractAlgorithm, State
from quickstudy.core.arguments import (
    as_learned,
    can_look,
    check_finite,
    in_words,
    returned,
    returned_state,
)
from quickstudy.core.batching import threads_for
from quickstudy.core.encoder import AbstractEncoder, check_image_range
from quickstudy.core.errors import (
    ConfigError,
    ContractError,
    EpisodeError,
    LoadError,
    TargetError,
    TransductiveError,
)
from quickstudy.core.modes import in_mode
from quickstudy.core.predictor import Predictor
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Classes, Episode, Examples, Target


@dataclass(frozen=True)
class Traits:
    """What a learner promises. `quickstudy.testing.check_learner` runs the checks that the promises
    call for.

    Args:
        transductive: predictions for one query may depend on the other queries.
        order_free: the order of the support does not matter.
        class_equivariant: renaming the classes renames the outputs and changes nothing else.
        any_way: serves any number of classes without retraining.
        targets: the kinds of target it serves.
        exportable: its predictor passes torch.export.
        exact_gradient: the gradient of the query loss is the true one (first-order methods say
            False).
        semi_supervised: learns also from the support's unlabelled examples. Others pass them over.
        encodes_alone: sees examples through its one encoder only, whose weights no task changes;
            features that were computed beforehand then serve as well, where the encoder looks at
            each example by itself.
        black_box: how it learns a task is itself learned, from nothing: it needs many training
            tasks before it learns any.
    """

    transductive: bool = False
    order_free: bool = True
    class_equivariant: bool = True
    any_way: bool = True
    targets: frozenset[type] = field(default_factory=lambda: frozenset({Classes}))
    exportable: bool = True
    exact_gradient: bool = True
    semi_supervised: bool = False
    encodes_alone: bool = False
    black_box: bool = False


class _Unsaid:
    """Stands for the traits of a learner that does not say them, and asks for them."""

    def __get__(self, learner: Any, kind: type) -> "_Unsaid":
        if learner is None:
            return self
        raise ContractError(
            f"{kind.__name__} does not say what it promises. Add the line `traits = Traits()` to "
            "the class (from quickstudy import Traits), and put into it what holds of it and is "
            "not the usual, such as Traits(targets=frozenset({Reals}))."
        )


class AbstractLearner(AbstractAlgorithm[State]):
    """Learns tasks. Subclasses give `adapt` and `predict`, both batched over tasks, and say what
    they promise in `traits`.

    `adapt` must not change the learner, and the state it returns is a tree (tensors in tuples,
    lists and dicts) whose tensors all begin with the task axis. Neither method ever sees padding.
    """

    if TYPE_CHECKING:
        traits: Traits
    else:
        traits = _Unsaid()

    @final
    def forward(self, episode: Episode) -> Float[Tensor, "T Q O"]:
        """Learn every task of the episode and answer its queries; rows of padded queries are zero.

        Raises:
            ContractError: when this learner has no `traits`.
            EpisodeError: when the tensors do not fit together, or those of its state do not begin
                with the task axis.
            TargetError: when this learner does not serve this kind of target.
        """
        if not isinstance(episode, Episode):
            raise EpisodeError(
                f"A learner takes an Episode, got {type(episode).__qualname__}. Queries of a task "
                "that was learned go to its predictor: learner.fit(support, target)(x)."
            )
        self.check_target(episode.target)
        episode = _in_precision_of(self, episode)
        if not episode.padded:
            return _answer(self, episode)
        out = [_answer(self, episode.task(t))[0] for t in range(episode.n_tasks)]
        if episode.query.mask is None:
            return torch.stack(out)
        return torch.stack(
            [_spread(rows, mask) for rows, mask in zip(out, episode.query.mask, strict=True)]
        )

    @final
    def fit(self, support: Examples, target: Target) -> Predictor:
        """Learn one task and return what answers its queries.

        Args:
            support: the labelled examples of one task (``T = 1``; see `Examples.single`).
            target: ``Classes(n)`` or ``Reals(dim)``.

        Raises:
            EpisodeError: more than one task, or a class index outside 0 … n−1, or a class without
                an example.
            TargetError: when this learner does not serve this kind of target.
            TransductiveError: when this learner needs all its queries at once.
        """
        if not isinstance(support, Examples):
            raise EpisodeError(
                f"fit takes Examples.single(x, y), got {type(support).__qualname__}."
            )
        self.check_target(target)
        if self.traits.transductive:
            raise TransductiveError(
                f"{type(self).__name__} is transductive: its answer to one query depends on the "
                "other queries, so it gives no predictor "
                "for queries that come one at a time. Call learner(episode) on a batch, or use an "
                "inductive variant (for batch "
                'statistics: the encoder with norm="support", for a saved run load(path, '
                'norm="support")).'
            )
        if support.x.shape[0] != 1:
            raise EpisodeError(
                f"fit learns one task but got {support.x.shape[0]}. Call adapt for a batch of "
                "tasks."
            )
        if support.mask is not None:
            support = support.task(0)
        support = _with_precision(support.fitting(target, "support"), precision_of(self))
        if isinstance(target, Classes):
            if support.y.is_floating_point():
                raise EpisodeError(
                    f"Class labels must be integers 0 … {target.n - 1}, but y has dtype "
                    f"{support.y.dtype}. Convert it with y.long()."
                )
            _check_labels(support.y, target.n)
        else:
            check_finite(support.y, "y")
        check_finite(support.x, "x")
        check_image_range(self, support.x, "x")
        if support.unlabelled is not None:
            check_finite(support.unlabelled, "unlabelled")
        with in_mode(self, training=False), torch.no_grad(), in_words(type(self).__name__):
            state = returned(self.adapt(support, target), self, "adapt")
            return Predictor(self, state, target)

    def start_from(self, trained: "AbstractLearner[Any]", tasks: AbstractTasks) -> tuple[str, ...]:
        """Begin with what a trained learner has in common with this one: every tensor of the same
        name and shape.

        Args:
            trained: the other learner.
            tasks: the tasks that this one will be trained on, for learners that prepare themselves
                on some of them.

        Returns:
            the names of what was taken.

        Raises:
            LoadError: when there is nothing in common.
        """
        own = self.state_dict()
        taken = {
            n: t for n, t in trained.state_dict().items() if n in own and own[n].shape == t.shape
        }
        if not taken:
            raise LoadError(
                f"{type(trained).__name__} has no tensor in common with {type(self).__name__}, by "
                "name and shape. Start from a run with the same encoder."
            )
        self.load_state_dict(taken, strict=False)
        return tuple(taken)

    def prepare(self, tasks: Callable[[], AbstractTasks]) -> None:
        """Take from the training classes what the learner needs to know of them besides its weights
        (a mean feature, say); nothing, unless overridden.

        Called when a training is over, and before a learner is scored on the encoder of another
        one.

        Args:
            tasks: opens the stream of training tasks.
        """

    @final
    def check_target(self, target: Target) -> None:
        """Raise `TargetError` unless this learner serves this kind of target."""
        if type(target) not in self.traits.targets:
            served = " or ".join(sorted(t.__name__ for t in self.traits.targets))
            raise TargetError(
                f"{type(self).__name__} serves {served} but the task's target is {target}. Choose "
                "a learner that serves it."
            )


def _answer(learner: AbstractLearner[Any], episode: Episode) -> Tensor:
    y = episode.support.y
    if isinstance(episode.target, Classes) and not y.is_floating_point() and can_look(y):
        _check_labels(y, episode.target.n)
    seen = episode.query.x if learner.traits.transductive else None
    threads = threads_for(learner, episode.support.x, episode.query.x)
    with in_words(type(learner).__name__), threads:
        state = learner.adapt(episode.support, episode.target, seen)
        returned_state(state, learner, episode.n_tasks)
        return returned(learner.predict(state, episode.query.x), learner, "predict", Tensor)


def _spread(rows: Tensor, mask: Tensor) -> Tensor:
    """Put rows back to where the mask is true, zeros elsewhere."""
    return rows.new_zeros(len(mask), rows.shape[-1]).index_copy(0, mask.nonzero()[:, 0], rows)


def precision_of(module: nn.Module) -> torch.dtype | None:
    """The floating-point type that a module computes in; None if it has no weights."""
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype
    return None


def _with_precision(examples: Examples, dtype: torch.dtype | None) -> Examples:
    x, y, unlabelled = examples.x, examples.y, examples.unlabelled
    x = as_learned(x, dtype)
    y = y.to(x.dtype) if y.is_floating_point() else y
    unlabelled = None if unlabelled is None else as_learned(unlabelled, dtype)
    if x is examples.x and y is examples.y and unlabelled is examples.unlabelled:
        return examples
    return Examples(x, y, examples.mask, unlabelled)


def _in_precision_of(learner: nn.Module, episode: Episode) -> Episode:
    dtype = precision_of(learner)
    support = _with_precision(episode.support, dtype)
    query = _with_precision(episode.query, dtype)
    if support is episode.support and query is episode.query:
        return episode
    return Episode(support, query, episode.target, episode.classes)


def _check_labels(y: Tensor, n: int) -> None:
    """Refuse labels outside 0 … n−1, and a class that a task has no example of."""
    labels = y.numpy(force=True)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n:
        raise EpisodeError(
            f"Class labels must lie in 0 … {n - 1} for Classes({n}), but y holds {low} … {high}. "
            f"Renumber them, or use Classes({high + 1})."
        )
    n_tasks = len(labels)
    of_task = labels + n * np.arange(n_tasks)[:, None]
    counts = np.bincount(of_task.ravel(), minlength=n * n_tasks).reshape(n_tasks, n)
    if not counts.all():
        task = int((counts == 0).any(1).argmax())
        empty = (counts[task] == 0).nonzero()[0].tolist()
        where = f" in task {task}" if n_tasks > 1 else ""
        raise EpisodeError(
            f"Classes({n}) needs at least one example of each class, but there is none of {empty}"
            f"{where}. Add examples or lower n."
        )


def single_encoder(learner: nn.Module) -> AbstractEncoder | None:
    """The one encoder of a learner; None when it has none of its own, or several."""
    encoders = [m for m in learner.children() if isinstance(m, AbstractEncoder)]
    return encoders[0] if len(encoders) == 1 else None


def encoder_of(learner: nn.Module) -> AbstractEncoder:
    """The one encoder of a learner.

    Raises:
        ConfigError: when it has none of its own, or several.
    """
    encoder = single_encoder(learner)
    if encoder is None:
        n = sum(isinstance(m, AbstractEncoder) for m in learner.children())
        raise ConfigError(
            f"{type(learner).__name__} has {n or 'no'} encoders of its own where one is needed. "
            "Use a learner that compares features, e.g. protonet."
        )
    return encoder


def check_is_learner(learner: object, verb: str) -> None:
    """Refuse what is no learner, for a function called ``verb``.

    Raises:
        ConfigError: saying what came.
    """
    if not isinstance(learner, AbstractLearner):
        came = (
            f"the class {learner.__name__} itself: make one of it, as in ProtoNet(encoder)."
            if isinstance(learner, type)
            else f"a {type(learner).__name__}. Make one, for instance ProtoNet(encoder)."
        )
        raise ConfigError(f"{verb} needs a learner, but got {came}")


def parameter_count(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(p.numel() for p in module.parameters())


def norm_policy(learner: nn.Module) -> str:
    """The normalisation policies of a learner's encoders, as printed with every result.

    >>> norm_policy(torch.nn.Identity())
    'none'
    """
    policies: set[Any] = {m.norm for m in learner.modules() if isinstance(m, AbstractEncoder)} - {
        "none"
    }
    return "+".join(sorted(policies)) or "none"
