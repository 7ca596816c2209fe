import math

import pytest
import torch

from quickstudy.algorithms import MetaBaseline
from quickstudy.core.errors import ConfigError
from quickstudy.encoders import MLP
from quickstudy.testing import toy_episode


def test_scaled_cosines_by_a_loop() -> None:
    torch.manual_seed(0)
    learner = MetaBaseline(MLP(6, widths=(5,)), scale=7.0).eval()
    e = toy_episode(n_shot=(1, 2, 3, 2))
    out = learner(e)
    for t in range(3):
        z, query = (learner.encoder(p.x[t : t + 1])[0].tolist() for p in (e.support, e.query))
        for c in range(4):
            mine = [v for v, y in zip(z, e.support.y[t].tolist(), strict=True) if y == c]
            mean = [sum(column) / len(mine) for column in zip(*mine, strict=True)]
            for q, vector in enumerate(query):
                expected = (
                    7
                    * sum(a * b for a, b in zip(vector, mean, strict=True))
                    / math.hypot(*vector)
                    / math.hypot(*mean)
                )
                assert float(out[t, q, c].detach()) == pytest.approx(expected, abs=1e-4)


def test_the_scale_is_learned_and_above_zero() -> None:
    learner = MetaBaseline(MLP(6, widths=(5,)))
    learner(toy_episode()).sum().backward()
    assert learner.log_scale.grad is not None
    with pytest.raises(ConfigError, match="scale must be above 0"):
        MetaBaseline(MLP(6), scale=0)
