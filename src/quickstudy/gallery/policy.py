"""When a gallery says a name: thresholds as values that are kept, with a version."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

from quickstudy.core.errors import GalleryError, did_you_mean

SCORES = ("nearest", "mean")


@dataclass(frozen=True)
class Policy:
    """What similarity it takes.

    Args:
        threshold: a probe is somebody when its similarity is above; cosines, between −1 and 1.
        review: where certainty begins: between ``threshold`` and this a person should look. Not
            below ``threshold``.
        duplicate: similarity above which a new template looks like another identity, and is
            refused.
        score: an identity's similarity: that of its "nearest" template, or the one to the "mean" of
            them.
        rate: the false-accept rate the threshold is kept at when identities come and go; None = the
            threshold stays as it is.
        rule: where the threshold comes from: by hand, cohort, leave one class out, or leave one
            class out, of a sample.

    Raises:
        GalleryError: for values that make no sense.
    """

    threshold: float = 0.5
    review: float = 0.5
    duplicate: float = 0.9
    score: str = "nearest"
    rate: float | None = None
    rule: str = "by hand"

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise GalleryError(
                f"An identity has no similarity '{self.score}'. {did_you_mean(self.score, SCORES)}"
            )
        if self.review < self.threshold:
            raise GalleryError(
                f"Certainty cannot begin below the threshold: got review={self.review} and "
                f"threshold={self.threshold}."
            )
        if self.rate is not None and not 0 < self.rate < 1:
            raise GalleryError(f"A false-accept rate lies between 0 and 1, got {self.rate}.")

    def to_json(self) -> str:
        """As kept in the gallery."""
        return json.dumps(dataclasses.asdict(self))

    def decide(
        self, candidates: Sequence[tuple[str, float]], version: int, *, top_k: int = 1
    ) -> "Decision":
        """What to say of a probe whose nearest identities and similarities are these, nearest
        first; as many are named as ``top_k``.
        """
        best = candidates[0][1] if candidates else float("-inf")
        known = best > self.threshold
        name = candidates[0][0] if known else None
        return Decision(
            name,
            not known or best > self.review,
            best,
            self.threshold,
            version,
            tuple(candidates[:top_k]),
        )

    @classmethod
    def from_json(cls, text: str) -> "Policy":
        """Read back what `to_json` gave."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise GalleryError(
                f"The gallery holds a policy that this version cannot read: {error}."
            ) from error


@dataclass(frozen=True)
class Decision:
    """What a gallery says of one probe.

    Args:
        identity: the name, or None for a stranger.
        certain: False in the band in which a person should look.
        similarity: to the nearest identity.
        threshold: what it had to exceed.
        policy: the version of the policy.
        candidates: the nearest identities with their similarities, nearest first, whether near
            enough or not.
    """

    identity: str | None
    certain: bool
    similarity: float
    threshold: float
    policy: int
    candidates: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Enrolment:
    """What came of enrolling.

    Args:
        identity: the name.
        templates: the numbers of the new templates.
        warnings: what looks wrong, in plain sentences.
    """

    identity: str
    templates: tuple[int, ...]
    warnings: tuple[str, ...]
