"""When a gallery says a name: thresholds as values that are kept, with a version."""

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from quickstudy.core.errors import GalleryError, did_you_mean

SCORES = ("nearest", "mean")
NOT_CALIBRATED = "not calibrated"
BY_HAND = "by hand"
COHORT = "cohort"
LEAVE_ONE_OUT = "leave one identity out"
LEAVE_ONE_OUT_SAMPLE = "leave one identity out, of a sample"
MEASURED = "measured with the encoder"
RULES = (NOT_CALIBRATED, BY_HAND, COHORT, LEAVE_ONE_OUT, LEAVE_ONE_OUT_SAMPLE, MEASURED)
_COSINES = ("threshold", "review_from", "review", "duplicate")


@dataclass(frozen=True)
class Policy:
    """What similarity it takes. Similarities are cosines, between −1 and 1.

    Args:
        threshold: a probe is somebody when its similarity is above; None = not calibrated: no name
            is given.
        review_from, review: the band around ``threshold`` in which a person should look: at or
            below ``review_from`` a probe is certainly unknown, above ``review`` it is certainly
            somebody. None = no band on that side.
        duplicate: similarity above which a new template looks like another identity; None = the
            same photo only.
        score: an identity's similarity: that of its "nearest" template, or the one to the "mean" of
            them.
        rate: the false-accept rate that is wanted. The thresholds then follow when identities come
            and go; None = they stay as they are.
        promised: the false-accept rate that ``threshold`` keeps; larger than ``rate`` where too few
            impostors are known for that, None where nothing is promised.
        rule: where the threshold comes from, one of ``RULES``; empty = "by hand", or "not
            calibrated" without a threshold.

    Raises:
        GalleryError: for values of another type or out of range.
    """

    threshold: float | None = None
    review_from: float | None = None
    review: float | None = None
    duplicate: float | None = None
    score: str = "nearest"
    rate: float | None = None
    promised: float | None = None
    rule: str = ""

    def __post_init__(self) -> None:
        for name in (*_COSINES, "rate", "promised"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _number(name, value))
        for name in _COSINES:
            value = getattr(self, name)
            if value is not None and not -1 <= value <= 1:
                raise GalleryError(
                    f"{name} is a cosine, between -1 and 1, but got {value:g}. Per cent and "
                    "distances are other scales."
                )
        for name in ("rate", "promised"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise GalleryError(
                    f"{name} is a false-accept rate, between 0 and 1, but got {value:g}."
                )
        if self.score not in SCORES:
            raise GalleryError(
                f"An identity has no similarity '{self.score}'. {did_you_mean(self.score, SCORES)}"
            )
        self._check_order()
        if not self.rule:
            object.__setattr__(self, "rule", NOT_CALIBRATED if self.threshold is None else BY_HAND)
        if self.rule not in RULES:
            raise GalleryError(f"No rule is called '{self.rule}'. {did_you_mean(self.rule, RULES)}")
        if (self.rule == NOT_CALIBRATED) != (self.threshold is None):
            raise GalleryError(
                f"A policy is '{NOT_CALIBRATED}' where it has no threshold, and only there; got "
                f"the rule '{self.rule}' and threshold={self.threshold}."
            )

    def _check_order(self) -> None:
        if self.threshold is None and (self.review, self.review_from) != (None, None):
            raise GalleryError("A band for review lies around a threshold, but none was given.")
        names = ("review_from", "threshold", "review", "duplicate")
        given = [(name, getattr(self, name)) for name in names if getattr(self, name) is not None]
        for (low_name, low), (high_name, high) in pairwise(given):
            if low > high:
                raise GalleryError(
                    f"{low_name} cannot lie above {high_name}: got {low_name}={low:g} and "
                    f"{high_name}={high:g}."
                )

    def to_json(self) -> str:
        """As kept in the gallery."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Policy":
        """Read back what `to_json` gave.

        Raises:
            GalleryError: when it is something else.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise GalleryError(
                f"The gallery holds a policy that this version cannot read: {error}."
            ) from error

    def decide(
        self, candidates: Sequence[tuple[str, float]], version: int, *, top_k: int = 1
    ) -> "Decision":
        """What to say of a probe whose nearest identities and similarities are these, nearest
        first; as many are named as ``top_k``.
        """
        similarity = candidates[0][1] if candidates else None
        is_known, is_certain = False, False
        if self.threshold is not None:
            s = -math.inf if similarity is None else similarity
            is_known = s > self.threshold
            upper = self.threshold if self.review is None else self.review
            lower = self.threshold if self.review_from is None else self.review_from
            is_certain = s > upper if is_known else s <= lower
        return Decision(
            identity=candidates[0][0] if is_known else None,
            certain=is_certain,
            similarity=similarity,
            threshold=self.threshold,
            promised=self.promised,
            rule=self.rule,
            policy=version,
            candidates=tuple(candidates[:top_k]),
        )


@dataclass(frozen=True)
class Decision:
    """What a gallery says of one probe.

    Args:
        identity: the name; None for somebody unknown, and always where the gallery is not
            calibrated.
        certain: False in the band in which a person should look, and where the gallery is not
            calibrated.
        similarity: to the nearest identity; None where nobody is enrolled.
        threshold: what it had to exceed; None where the gallery is not calibrated.
        promised: the false-accept rate that the threshold keeps; None where nothing is promised.
        rule: where the threshold comes from, see `Policy`.
        policy: the version of the policy.
        candidates: the nearest identities with their similarities, nearest first, whether near
            enough or not.
    """

    identity: str | None
    certain: bool
    similarity: float | None
    threshold: float | None
    promised: float | None
    rule: str
    policy: int
    candidates: tuple[tuple[str, float], ...]

    @property
    def answer(self) -> str:
        """In a word: the name, "unknown" or "not calibrated"."""
        if self.threshold is None:
            return NOT_CALIBRATED
        return "unknown" if self.identity is None else self.identity


@dataclass(frozen=True)
class Enrolment:
    """What came of enrolling.

    Args:
        identity: the name, as it is kept.
        templates: the ids of the new templates.
        warnings: what looks wrong, in plain sentences.
        known: how many of the photos were enrolled already and changed nothing.
        retain_until: when `Gallery.expire` will remove the identity, in ISO 8601 with the zone, or
            None.
        skipped: files that were left out, each with the reason.
    """

    identity: str
    templates: tuple[int, ...]
    warnings: tuple[str, ...]
    known: int = 0
    retain_until: str | None = None
    skipped: tuple[tuple[Path, str], ...] = ()


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise GalleryError(f"{name} must be a number or None, got {value!r}.")
    if not abs(value) <= sys.float_info.max:
        raise GalleryError(f"{name} must be a finite number, got {value}.")
    return float(value)
