"""What comes of a search."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from quickstudy.core.errors import TrainingError
from quickstudy.recipes import Recipe


@dataclass(frozen=True)
class Trial:
    """One training with values of the search space.

    Args:
        number: of the trial in its study.
        values: of the fields that are searched, as ``--set`` takes them.
        state: complete; pruned, as its scores were low; failed, as its values do not work or its
            training diverged; stopped, by Ctrl-C or because its process died (it does not count,
            another takes its place); running, here or in another process.
        score: best mean score on the validation tasks; of a pruned trial the last one.
        reason: why it failed.
    """

    number: int
    values: Mapping[str, str]
    state: str
    score: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class TuneResult:
    """What a search found.

    Args:
        base: the recipe that was searched around.
        trials: all trials of the study, those of other processes included.
        finished: False if it was stopped by Ctrl-C.
    """

    base: Recipe
    trials: tuple[Trial, ...]
    finished: bool

    @property
    def best(self) -> Trial:
        """The complete trial with the highest score, the earliest of equals.

        Raises:
            TrainingError: when no trial is complete.
        """
        complete = [t for t in self.trials if t.state == "complete" and t.score is not None]
        if not complete:
            failed = [t for t in self.trials if t.reason]
            last = f" Trial {failed[-1].number} failed: {failed[-1].reason}" if failed else ""
            states = (
                ", ".join(f"{n} {state}" for state, n in self.counts.items()) or "none was begun"
            )
            raise TrainingError(
                f"No trial of {self.base.name} is complete ({states}), so there is no best "
                f"one.{last}"
            )
        return max(complete, key=lambda t: (t.score, -t.number))

    @property
    def recipe(self) -> Recipe:
        """The recipe with the best trial's values.

        Raises:
            TrainingError: when no trial is complete.
        """
        return self.base.with_changes(self.best.values)

    @property
    def counts(self) -> dict[str, int]:
        """The number of trials in each state."""
        return dict(Counter(t.state for t in self.trials))
