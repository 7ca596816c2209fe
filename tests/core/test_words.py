import re

import numpy as np
import pytest

from quickstudy.core.errors import ConfigError
from quickstudy.core.words import percent, rounded
from quickstudy.metrics.thresholds import conformal_threshold


@pytest.mark.parametrize("n", range(1, 200))
def test_shares_are_rounded_half_up(n: int) -> None:
    for k in range(n + 1):
        tenths = (2000 * k + n) // (2 * n)  # exact, in whole numbers
        assert percent(k / n, 1) == f"{tenths // 10}.{tenths % 10} %"
        assert percent(k / n, 0) == f"{(200 * k + n) // (2 * n)} %"


def test_rounding_up_never_says_less() -> None:
    for n in range(1, 400):
        assert float(rounded(100 / n, 1, up=True)) >= 100 / n - 1e-9
        assert float(percent(1 / n, up=True).removesuffix(" %")) >= 100 / n - 1e-9
    assert percent(0.01, up=True) == "1 %"


@pytest.mark.parametrize("n", [15, 31, 47])
def test_the_rate_that_a_refusal_names_is_taken(n: int) -> None:
    scores = np.arange(float(n))
    with pytest.raises(ConfigError, match="ask for at least") as refused:
        conformal_threshold(scores, 0.5 / n)
    named = re.findall(r"at least ([\d.]+) %", str(refused.value))
    conformal_threshold(scores, float(named[-1]) / 100)
