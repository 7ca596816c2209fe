"""MAML that starts each task from one of several points, the one made for tasks of its kind."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, require_encoder
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Examples, Target
from quickstudy.inner.learner import GradientLearner, GradientState
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.inner.select import everything
from quickstudy.inner.start import LinearHead

_ROUTES = ("all", "body")
_AT_ONCE = 16  # tasks that are adapted together when the groups are made


class TsaMaml(AbstractLearner[GradientState]):
    """Groups of tasks, each with a start of its own. A task belongs to the group whose centre is
    nearest to where θ* ends up on it.

    g(S) = argmin_r |adapt(θ*, S) − c_r|,  the answer is that of adapt(θ_g, S), and only θ_g gets a
    gradient of the task.

    θ* is a trained learner, taken over by `start_from`, which also makes the groups: the centres
    c_r are those of k-means over the adapted parameters of many training tasks, and the starts θ_r
    begin there. Before that all groups are one, and train as plain MAML.

    Shapes:
        as ``base``

    Args:
        base: holds θ*, which stays as it is, and says how to adapt.
        n_groups: how many.
        n_cluster_tasks: training tasks that the groups are made from.
        route_by: distances over "all" adapted parameters, as published, or those of the "body": the
            order of the classes is arbitrary, so the head's rows differ from task to task for no
            reason.

    Raises:
        ConfigError: for a base whose adapted parameters are not learned (a head made anew for every
            task), or other numbers than above 0.
    """

    clustered: Tensor
    centres: Tensor

    def __init__(
        self,
        base: GradientLearner,
        *,
        n_groups: int = 5,
        n_cluster_tasks: int = 2000,
        route_by: str = "all",
    ) -> None:
        super().__init__()
        if base.head.any_way:
            raise ConfigError(
                f"A {type(base.head).__name__} is made anew for every task, so it has no groups. "
                "Use a base with a linear head."
            )
        if n_groups < 1 or n_cluster_tasks < n_groups:
            raise ConfigError(
                f"n_groups must be at least 1 and n_cluster_tasks at least as many, got {n_groups} "
                f"and {n_cluster_tasks}."
            )
        if route_by not in _ROUTES:
            raise ConfigError(f"route_by cannot be '{route_by}'. {did_you_mean(route_by, _ROUTES)}")
        routed = [n for n in base.fast_names if route_by == "all" or n.startswith("encoder.")]
        if not routed:
            raise ConfigError(
                "This base adapts its head only, so tasks cannot be grouped by their body. Use "
                "route_by='all'."
            )
        self.base = base
        self.n_groups = n_groups
        self.n_cluster_tasks = n_cluster_tasks
        self.route_by = route_by
        self.base.requires_grad_(requires_grad=False)
        start = {n: p.detach() for n, p in base.named_parameters() if n in base.fast_names}
        self.groups = nn.ParameterDict(
            {_key(n): nn.Parameter(p.repeat(n_groups, *[1] * p.ndim)) for n, p in start.items()}
        )
        self._routed = routed
        self.register_buffer("clustered", torch.zeros((), dtype=torch.bool))
        self.register_buffer(
            "centres", torch.zeros(n_groups, sum(start[n].numel() for n in routed))
        )
        self.traits = replace(base.traits)

    def adapt(
        self, support: Examples, target: Target, query_x: Tensor | None = None
    ) -> GradientState:
        if self.clustered:
            group = self.route(support, target, query_x)
            start = {n: self.groups[_key(n)][group] for n in self.base.fast_names}
        else:
            start = {
                n: (g := self.groups[_key(n)]).mean(0).expand(support.n_tasks, *g.shape[1:])
                for n in self.base.fast_names
            }
        return self.base.adapt(support, target, query_x, start=start)

    def predict(self, state: GradientState, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q O"]:
        return self.base.predict(state, x)

    def route(
        self, support: Examples, target: Target, query_x: Tensor | None = None
    ) -> Int[Tensor, " T"]:
        """The group of each task."""
        return torch.cdist(self._end(support, target, query_x, self._routed), self.centres).argmin(
            1
        )

    def start_from(self, trained: AbstractLearner[Any], tasks: AbstractTasks) -> tuple[str, ...]:
        """Take θ* from a trained learner and make the groups from ``tasks``; another trained
        `TsaMaml` is taken over with its groups.

        Raises:
            ConfigError: when a group stays empty.
        """
        from sklearn.cluster import KMeans

        if isinstance(trained, TsaMaml):
            return super().start_from(trained, tasks)
        taken = self.base.start_from(trained, tasks)
        names = self.base.fast_names
        shapes = {n: p.shape for n, p in self.base.named_parameters() if n in names}
        of_tasks: dict[str, list[Tensor]] = {n: [] for n in names}
        for first in range(0, self.n_cluster_tasks, _AT_ONCE):
            e = tasks.batch(range(first, min(first + _AT_ONCE, self.n_cluster_tasks)))
            for t in range(e.n_tasks) if e.padded else (slice(None),):
                one = e.task(t) if isinstance(t, int) else e
                seen = one.query.x if self.traits.transductive else None
                for n, p in self._adapted(one.support, one.target, seen).items():
                    of_tasks[n].append(p.flatten(1).cpu())
        ends = {n: torch.cat(of_tasks.pop(n)) for n in names}  # [tasks, numbers] each
        points = torch.cat([ends[n] for n in self._routed], 1)
        means = KMeans(self.n_groups, n_init=4, random_state=0)  # type: ignore[arg-type]
        means.fit(points.float().numpy())
        group = torch.from_numpy(means.labels_).long()
        sizes = group.bincount(minlength=self.n_groups)
        if not sizes.all():
            raise ConfigError(
                f"The {len(points)} tasks fall into fewer than {self.n_groups} groups. Lower "
                f"n_groups, or raise n_cluster_tasks (now {self.n_cluster_tasks})."
            )
        with torch.no_grad():
            for n in names:
                means_of = torch.stack([ends[n][group == r].mean(0) for r in range(self.n_groups)])
                self.groups[_key(n)].copy_(means_of.view(self.n_groups, *shapes[n]))
            self.centres.copy_(
                torch.cat([self.groups[_key(n)].flatten(1) for n in self._routed], 1)
            )
            self.clustered.fill_(value=True)
        return tuple(f"base.{n}" for n in taken)

    def _adapted(
        self, support: Examples, target: Target, query_x: Tensor | None
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            fast, _ = self.base.adapt(support, target, query_x)
        return dict(fast)

    def _end(
        self, support: Examples, target: Target, query_x: Tensor | None, names: list[str]
    ) -> Float[Tensor, "T P"]:
        fast = self._adapted(support, target, query_x)
        return torch.cat([fast[n].flatten(1) for n in names], 1)


def _key(name: str) -> str:
    return name.replace(".", "-")


def tsa_maml(
    encoder: AbstractEncoder,
    *,
    n_out: int,
    n_groups: int = 5,
    n_cluster_tasks: int = 2000,
    route_by: str = "all",
    inner_lr: float = 0.01,
    inner_steps: int = 5,
    first_order: bool = False,
) -> TsaMaml:
    """MAML with a start for every group of tasks. Train it with ``--from`` a run of `maml`, from
    which it makes its groups (see `TsaMaml`).

    Shapes, Args: as `maml` and `TsaMaml`.

    Example:
        >>> from quickstudy.encoders import MLP
        >>> learner = tsa_maml(MLP(2, widths=(8,)), n_out=3, n_groups=2)
        >>> learner.groups["head-weight"].shape
        torch.Size([2, 3, 8])

    Paper: Zhou, Zou, Yuan, Feng, Xiong, Hoi 2021, "Task similarity aware meta learning:
        theory-inspired improvement on MAML", UAI.
    Differs: all tasks of an outer step give their group a gradient at once, where the authors
        collect tasks until a group has four; 2,000 tasks make the groups instead of 10,000.
    """
    loop = InnerLoop(FixedRate(inner_lr), steps=inner_steps, first_order=first_order)
    base = GradientLearner(
        encoder, LinearHead(require_encoder(encoder).out_dim, n_out), loop=loop, adapts=everything()
    )
    return TsaMaml(base, n_groups=n_groups, n_cluster_tasks=n_cluster_tasks, route_by=route_by)
