"""What was measured of an encoder, so that a gallery knows a threshold before it has data."""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from quickstudy.core.errors import ConfigError


@dataclass(frozen=True)
class MeasuredThresholds:
    """Above which similarity so many comparisons of two different identities lie.

    Args:
        data: what it was measured on, in words, with the numbers of identities and of pictures.
        comparisons: of different identities.
        false_match_rates: shares of these comparisons, falling.
        thresholds: for each rate the cosine that this share exceeds; rising.

    Raises:
        ConfigError: for values that make no sense.

    >>> measured = MeasuredThresholds("100 faces", 4950, (0.01, 0.001), (0.4, 0.5))
    >>> measured.threshold(0.001), measured.threshold(0.0001)
    (0.5, None)
    >>> round(measured.threshold(10**-2.5), 3)
    0.45
    """

    data: str
    comparisons: int
    false_match_rates: tuple[float, ...]
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        rates, thresholds = self.false_match_rates, self.thresholds
        if len(rates) != len(thresholds) or not rates:
            raise ConfigError(
                f"There must be one threshold for each false-match rate, got {len(thresholds)} "
                f"and {len(rates)}."
            )
        falling = all(a > b for a, b in pairwise(rates))
        rising = all(a <= b for a, b in pairwise(thresholds))
        in_range = all(0 < r < 1 for r in rates) and all(-1 <= t <= 1 for t in thresholds)
        if not (falling and rising and in_range):
            raise ConfigError(
                "False-match rates must lie between 0 and 1 and fall, and their thresholds must be "
                f"cosines that rise, got {rates} and {thresholds}."
            )

    def threshold(self, false_match_rate: float) -> float | None:
        """The similarity that this share of comparisons exceeds, between two measured rates on a
        logarithmic scale; None below the smallest measured one.
        """
        rates, thresholds = self.false_match_rates, self.thresholds
        if false_match_rate < rates[-1] * (1 - 1e-9):
            return None
        for rate, threshold, below, above in zip(
            rates, thresholds, rates[1:], thresholds[1:], strict=False
        ):
            if below <= false_match_rate < rate:
                share = math.log(rate / false_match_rate) / math.log(rate / below)
                return threshold + share * (above - threshold)
        return thresholds[0] if false_match_rate >= rates[0] else thresholds[-1]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "MeasuredThresholds":
        """Back from `to_json`."""
        rates, thresholds = values["false_match_rates"], values["thresholds"]
        return cls(values["data"], values["comparisons"], tuple(rates), tuple(thresholds))
