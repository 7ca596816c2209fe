import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.core.clock import set_clocks
from quickstudy.core.errors import ConfigError
from quickstudy.encoders.drop_block import DropBlock


@given(
    block=st.integers(1, 5),
    side=st.integers(5, 12),
    rate=st.floats(0.02, 0.3),
    seed=st.integers(0, 100),
)
def test_what_is_dropped_is_squares_and_the_rest_keeps_the_sum(
    block: int, side: int, rate: float, seed: int
) -> None:
    torch.manual_seed(seed)
    out = DropBlock(rate, block=block)(torch.ones(3, 4, side, side))
    dropped = out == 0
    # Each dropped place lies in a square of dropped places:
    # by its upper left corner
    squares = torch.nn.functional.avg_pool2d(dropped.float(), block, stride=1) == 1
    covered = (
        torch.nn.functional.max_pool2d(
            torch.nn.functional.pad(squares.float(), [block - 1] * 4), block, stride=1
        )
        == 1
    )
    assert torch.equal(covered, dropped)
    if not dropped.all():
        assert float(out.mean()) == pytest.approx(1.0, rel=1e-4)
        assert len(out[~dropped].unique()) == 1


def test_about_the_rate_is_dropped() -> None:
    torch.manual_seed(0)
    for block in (1, 3, 5):
        share = float(
            (DropBlock(0.1, block=block)(torch.ones(200, 20, 10, 10)) == 0).float().mean()
        )
        assert 0.09 < share < 0.101
    # the square is as large as the map allows
    small = DropBlock(0.1, block=5)(torch.ones(500, 20, 2, 3))
    assert 0.08 < float((small == 0).float().mean()) < 0.11


def test_nothing_is_dropped_in_evaluation_nor_before_the_first_step() -> None:
    x = torch.randn(2, 3, 6, 6)
    assert DropBlock(0.5).eval()(x) is x
    growing = DropBlock(0.4, block=1, warm_up=10)
    assert growing(x) is x
    torch.manual_seed(0)
    set_clocks(growing, 5)
    half = float((growing(torch.ones(100, 10, 10, 10)) == 0).float().mean())
    set_clocks(growing, 50)
    full = float((growing(torch.ones(100, 10, 10, 10)) == 0).float().mean())
    assert half == pytest.approx(0.2, abs=0.02)
    assert full == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize(
    "options",
    [{"rate": 1.0}, {"rate": -0.1}, {"rate": 0.1, "block": 0}, {"rate": 0.1, "warm_up": -1}],
)
def test_mistakes(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="rate lies in"):
        DropBlock(**options)
