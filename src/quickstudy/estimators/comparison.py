"""Which head the examples prefer: each is asked about the examples that it was fitted without."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from quickstudy.core.arrays import NDArray
from quickstudy.core.rng import uniform
from quickstudy.core.words import percent
from quickstudy.estimators.heads import AbstractHead, PrototypeHead
from quickstudy.estimators.in_context_head import InContextHead
from quickstudy.estimators.linear_heads import (
    GaussianHead,
    LogisticHead,
    RidgeHead,
    losses_at_best_temperature,
)
from quickstudy.estimators.scaling import Array, balanced

_RESAMPLES = 200
_ENOUGH = 6  # judged examples, below which they say too little to prefer anything
# Of the heads that are tried, the first of these is taken then.
_WITHOUT_JUDGEMENT = ("in-context", "logistic")


@dataclass(frozen=True)
class HeadChoice:
    """A head with how vectors are made comparable before it.

    Args:
        head: "prototype", "ridge", "logistic", "gaussian" or "in-context".
        scaling, metric: see `quickstudy.estimators.scaling.fit_scaling`; "in-context" takes vectors
            as they are.
        penalty: the penalty, inverse penalty or shrinkage that the head chose; None where it has
            none, or has yet to choose.
    """

    head: str
    scaling: str
    metric: str
    penalty: float | None = None

    def make(self) -> AbstractHead:
        """The head, not fitted."""
        options = {"scaling": self.scaling, "metric": self.metric}
        match self.head:
            case "prototype":
                return PrototypeHead(**options)
            case "ridge":
                return RidgeHead(alpha=self.penalty, **options)
            case "logistic":
                return LogisticHead(c=self.penalty, **options)
            case "in-context":
                return InContextHead()
            case _:
                return GaussianHead(
                    shrinkage=self.penalty, scaling=self.scaling, metric=self.metric
                )

    def __str__(self) -> str:
        if self.head == IN_CONTEXT.head:
            return self.head
        shown = {
            ("none", "cosine"): "",
            ("none", "euclidean"): ", Euclidean",
            ("centre", "cosine"): ", centred",
            ("centre", "euclidean"): ", centred, Euclidean",
            ("standardise", "cosine"): ", standardised, cosine",
            ("standardise", "euclidean"): ", standardised",
        }
        return self.head + shown[self.scaling, self.metric]


# For vectors of any kind; the first is kept unless another is surely better.
CHOICES = (
    HeadChoice("logistic", "centre", "cosine"),
    HeadChoice("gaussian", "centre", "cosine"),
    HeadChoice("ridge", "centre", "cosine"),
    HeadChoice("prototype", "none", "cosine"),
    HeadChoice("logistic", "standardise", "euclidean"),
    HeadChoice("gaussian", "standardise", "euclidean"),
    HeadChoice("prototype", "standardise", "euclidean"),
)


# For vectors of an encoder, none of whose numbers has a unit of its own, so that standardised heads
# rarely pay. The Gaussian is the best most often (chosen on steel, glyphs and faces by `symbols`
# and `photographs`, confirmed on sign digits and Omniglot).
OF_ENCODERS = (CHOICES[1], CHOICES[0], CHOICES[2], CHOICES[3])
# For the columns of a table, and there the first.
IN_CONTEXT = HeadChoice("in-context", "none", "euclidean")
# Rows up to which it is tried: reading takes time with the square of their number.
_MOST_READ = 500


def choices_for(scaling: str, n: int) -> tuple[HeadChoice, ...]:
    """What head "auto" tries on ``n`` examples, the one that is usual for this scaling first."""
    if scaling == "centre":
        return OF_ENCODERS
    ordered = tuple(sorted(CHOICES, key=lambda c: scaling not in ("auto", c.scaling)))
    is_table = scaling == "standardise" and n <= _MOST_READ
    return (IN_CONTEXT, *ordered) if is_table else ordered


@dataclass(frozen=True)
class HeadScore:
    """How a head fared on the examples.

    Args:
        choice: the head, with the penalty that it chose on all examples.
        accuracy: share of the judged examples that it recognised when fitted without them, every
            class counting alike, or of a table every row; NaN where none was judged.
        loss: their mean log loss, at the temperature that suits it best; NaN likewise.
        preferred: share of 200 bootstrap resamples of the examples in which it has the smallest
            loss.
    """

    choice: HeadChoice
    accuracy: float
    loss: float
    preferred: float


@dataclass(frozen=True)
class HeadComparison:
    """The heads that were compared, and the one that was taken.

    Args:
        scores: of each head, in the order in which they were tried.
        chosen: which of them was taken.
        n_judged: how many examples had another of their class, so that they could be left out.
    """

    scores: tuple[HeadScore, ...]
    chosen: int
    n_judged: int

    @property
    def choice(self) -> HeadChoice:
        """The head that was taken."""
        return self.scores[self.chosen].choice

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `from_json`; numbers that are not known are None."""
        return {
            "chosen": self.chosen,
            "n_judged": self.n_judged,
            "scores": [
                {
                    **asdict(s.choice),
                    **{k: _plain(getattr(s, k)) for k in ("accuracy", "loss", "preferred")},
                }
                for s in self.scores
            ],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "HeadComparison":
        """The comparison that `to_json` wrote.

        Raises:
            ValueError, LookupError, TypeError: when it is none.
        """
        scores = []
        for row in values["scores"]:
            choice = HeadChoice(row["head"], row["scaling"], row["metric"], row["penalty"])
            if choice.head not in {known.head for known in (*CHOICES, IN_CONTEXT)}:
                raise ValueError(f"there is no head {choice.head!r} to choose")
            numbers = (
                float("nan") if row[k] is None else float(row[k])
                for k in ("accuracy", "loss", "preferred")
            )
            scores.append(HeadScore(choice, *numbers))
        if not 0 <= values["chosen"] < len(scores):
            raise ValueError(f"head {values['chosen']} of {len(scores)} cannot have been chosen")
        return cls(tuple(scores), int(values["chosen"]), int(values["n_judged"]))

    def __str__(self) -> str:
        if not self.n_judged:
            return f"{self.choice} (too few examples to compare heads by)"
        chosen, n = self.scores[self.chosen], len(self.scores)
        if chosen.preferred < max(score.preferred for score in self.scores):
            return f"{chosen.choice} (of {n} heads none is surely better)"
        share = percent(chosen.preferred, 0)
        return f"{chosen.choice} (the best of {n} heads in {share} of resamples)"


def compare_heads(
    x: Float[Array, "N D"],
    y: Int[NDArray[np.int64], " N"],
    n: int,
    weight: Float[Array, " N"],
    choices: Sequence[HeadChoice] = CHOICES,
    *,
    alike: bool = True,
) -> tuple[HeadComparison, AbstractHead, Array]:
    """Fit each head, score each example by the head fitted without it, and take the head with the
    smallest log loss, unless the difference from the first is within its standard error. Where
    fewer than six examples can be left out, it is "in-context" if that takes part, else the first
    "logistic".

    With ``alike`` every class counts the same, however many examples it has: of pictures that
    somebody chose, their numbers say nothing about what will come. Rows of a table are mostly a
    sample of what comes, so without it every example counts the same (*measured*:
    ``benchmarks/frequencies.json``).

    Accuracy of so few examples is a coarse measure; the log loss orders heads by how much they
    prefer the right class. The penalty that a head chose on all examples is kept while examples
    are left out.

    Returns:
        The comparison, the chosen head, fitted to all examples, and the scores of each example
        from that head without it.
    """
    heads = [choice.make() for choice in choices]
    scores = [head.fit_and_leave_out(x, y, n, weight) for head in heads]
    fitted = [
        HeadChoice(c.head, c.scaling, c.metric, _penalty(h))
        for c, h in zip(choices, heads, strict=True)
    ]
    known = np.isfinite(scores[0]).all(1)
    if n < 2 or known.sum() < _ENOUGH:
        rows = tuple(HeadScore(c, float("nan"), float("nan"), float("nan")) for c in fitted)
        usual = next((i for i, c in enumerate(choices) if c.head in _WITHOUT_JUDGEMENT), 0)
        return HeadComparison(rows, usual, 0), heads[usual], scores[usual]
    share = (balanced(weight, y, n) if alike else weight)[known]
    share = share / share.sum()
    losses = np.stack([losses_at_best_temperature(s[known], y[known]) for s in scores])  # [H N]
    right = np.stack([s[known].argmax(1) == y[known] for s in scores])
    mean = losses @ share
    chosen = int(mean.argmin())
    gap = losses[0] - losses[chosen]
    error = float(np.sqrt((share**2) @ (gap - share @ gap) ** 2))
    if mean[0] - mean[chosen] <= error:
        chosen = 0
    drawn = uniform(_RESAMPLES * len(share), "head comparison").reshape(_RESAMPLES, -1)
    rows_drawn = np.searchsorted(np.cumsum(share)[:-1], drawn)  # [B N]
    means = losses[:, rows_drawn].mean(2)  # [H B]
    wins = np.bincount(means.argmin(0), minlength=len(heads)) / _RESAMPLES
    rows = tuple(
        HeadScore(c, float(share @ r), float(m), float(w))
        for c, r, m, w in zip(fitted, right, mean, wins, strict=True)
    )
    return HeadComparison(rows, chosen, int(known.sum())), heads[chosen], scores[chosen]


def _plain(number: float) -> float | None:
    return number if np.isfinite(number) else None


def _penalty(head: AbstractHead) -> float | None:
    options = head.options()
    return next((options[k] for k in ("alpha", "c", "shrinkage") if k in options), None)
