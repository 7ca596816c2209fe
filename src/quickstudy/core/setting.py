"""The size of a task."""

from dataclasses import dataclass

from quickstudy.core.errors import ConfigError, TaskKindError
from quickstudy.core.scalars import finite, whole


@dataclass(frozen=True)
class Setting:
    """The size of a task.

    Args:
        n_way: classes; 0 for regression.
        n_shot, n_query: labelled support examples and queries per class.
        n_unlabelled: support examples per class whose label is not told (y = −1).
        n_distractors: further classes with ``n_unlabelled`` such examples each, which no query is
            of.
        labelled: the share of each class's examples that supports and queries are drawn from, the
            same ones in every task; unlabelled ones come from the rest. 1 = from all, wherever the
            others were not.
        alpha: of a symmetric Dirichlet distribution by which a task's ``n_way · n_query`` queries
            are spread over its classes; 0 = evenly.

    Raises:
        ConfigError: for sizes that make no task.
    """

    n_way: int
    n_shot: int
    n_query: int
    n_unlabelled: int = 0
    n_distractors: int = 0
    labelled: float = 1.0
    alpha: float = 0.0

    def __post_init__(self) -> None:
        for name in ("n_way", "n_shot", "n_query", "n_unlabelled", "n_distractors"):
            object.__setattr__(self, name, whole(getattr(self, name), name))
        for name in ("labelled", "alpha"):
            object.__setattr__(self, name, finite(getattr(self, name), name))
        if self.n_way < 0 or self.n_shot < 1 or self.n_query < 1:
            raise ConfigError(
                "A task needs n_way ≥ 0 (0 = regression), n_shot ≥ 1 and n_query ≥ 1, got "
                f"n_way={self.n_way}, n_shot={self.n_shot}, n_query={self.n_query}."
            )
        if (
            self.n_unlabelled < 0
            or self.n_distractors < 0
            or self.alpha < 0
            or not 0 < self.labelled <= 1
        ):
            raise ConfigError(
                "n_unlabelled, n_distractors and alpha cannot be negative, and 'labelled' is a "
                f"share above 0 and at most 1, got {self!r}."
            )
        if self.n_distractors and not self.n_unlabelled:
            raise ConfigError(
                f"{self.n_distractors} classes of distractors have no example: set n_unlabelled, "
                "which counts for them too."
            )

    def check_regression(self, name: str) -> None:
        """Refuse classes, of which the data called so have none.

        Raises:
            TaskKindError: when n_way is not 0.
        """
        if self.n_way:
            raise TaskKindError(
                f"{name} is a regression problem, so n_way must be 0, got {self.n_way}."
            )

    def check_classes(self, name: str) -> None:
        """Refuse regression, for which the data called so have no numbers.

        Raises:
            TaskKindError: when n_way is 0.
        """
        if not self.n_way:
            raise TaskKindError(f"{name} holds classes, so n_way must be at least 1, got 0.")

    def __str__(self) -> str:
        more = f", {self.n_unlabelled} unlabelled" if self.n_unlabelled else ""
        more += f" and {self.n_distractors} distractor classes" if self.n_distractors else ""
        more += f", Dirichlet({self.alpha:g}) queries" if self.alpha else ""
        return (f"{self.n_way}-way " if self.n_way else "") + f"{self.n_shot}-shot{more}"
