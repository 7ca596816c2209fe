import math

import pytest
import torch

from quickstudy.algorithms import FEAT
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Classes
from quickstudy.encoders import MLP, Identity
from quickstudy.testing import toy_episode


def test_prototypes_attend_to_each_other_by_a_loop() -> None:
    torch.manual_seed(0)
    learner, e = FEAT(MLP(6, widths=(5,)), temperature=3.0).eval(), toy_episode(n_shot=(1, 2, 3, 2))
    torch.nn.init.normal_(learner.out.bias)
    out = learner(e)
    wq, wk, wv = learner.query.weight, learner.key.weight, learner.value.weight
    for t in range(3):
        z = learner.encoder(e.support.x[t : t + 1])[0]
        query = learner.encoder(e.query.x[t : t + 1])[0]
        means = torch.stack([z[e.support.y[t] == c].mean(0) for c in range(4)])
        for c in range(4):
            weights = torch.softmax(
                torch.stack([(wq @ means[c]) @ (wk @ other) / math.sqrt(5) for other in means]), 0
            )
            assert float(weights.sum().detach()) == pytest.approx(1)
            read = sum(w * (wv @ other) for w, other in zip(weights, means, strict=True))
            seen = learner.out.weight @ read + learner.out.bias
            adapted = torch.nn.functional.layer_norm(
                means[c] + seen, (5,), learner.norm.weight, learner.norm.bias
            )
            expected = -(query - adapted).square().sum(1) / 3
            torch.testing.assert_close(out[t, :, c], expected, rtol=1e-4, atol=1e-4)


def test_dropout_is_for_training_only_and_the_temperature_is_checked() -> None:
    e = toy_episode()
    for rates in ({"dropout": 0.5, "attention_dropout": 0.0}, {"dropout": 0.0}):
        learner = FEAT(Identity(6), **rates).train()
        assert any(not torch.equal(learner(e), learner(e)) for _ in range(5))
    learner.eval()
    assert torch.equal(learner(e), learner(e))
    assert e.target == Classes(4)
    with pytest.raises(ConfigError, match="temperature must be above 0"):
        FEAT(Identity(6), temperature=0)
