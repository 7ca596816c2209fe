import json

import pytest

from quickstudy.core.errors import ConfigError
from quickstudy.pretrained import MeasuredThresholds

MEASURED = MeasuredThresholds("made up", 10_000, (0.1, 0.01, 0.001), (0.2, 0.5, 0.6))


@pytest.mark.parametrize(
    ("rate", "threshold"),
    [(0.5, 0.2), (0.1, 0.2), (0.01, 0.5), (0.001, 0.6), (10**-1.5, 0.35), (0.0009, None)],
)
def test_thresholds_lie_between_the_measured_ones(rate: float, threshold: float | None) -> None:
    assert MEASURED.threshold(rate) == (None if threshold is None else pytest.approx(threshold))


def test_json_brings_it_back() -> None:
    assert MeasuredThresholds.from_json(json.loads(json.dumps(MEASURED.to_json()))) == MEASURED


@pytest.mark.parametrize(
    ("rates", "thresholds"),
    [
        ((), ()),
        ((0.1,), (0.1, 0.2)),
        ((0.01, 0.1), (0.1, 0.2)),
        ((0.1, 0.01), (0.2, 0.1)),
        ((1.0,), (0.1,)),
        ((0.1,), (float("nan"),)),
        ((0.1,), (1.5,)),
    ],
)
def test_what_makes_no_sense_is_refused(
    rates: tuple[float, ...], thresholds: tuple[float, ...]
) -> None:
    with pytest.raises(ConfigError):
        MeasuredThresholds("made up", 10, rates, thresholds)
