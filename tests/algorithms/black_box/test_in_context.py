"""The in-context learner."""

import pytest
import torch

from quickstudy.algorithms import InContext
from quickstudy.core.errors import ConfigError, TargetError
from quickstudy.encoders import Identity
from quickstudy.testing import toy_episode


def small(**options) -> InContext:
    torch.manual_seed(0)
    return InContext(Identity(6), **{"max_way": 8, "width": 16, "layers": 2, "heads": 2, **options})


def test_the_layers_by_a_loop() -> None:
    """One layer and one head, token by token."""
    learner, e = small(layers=1, heads=1).eval(), toy_episode(n_tasks=1, n_query=1)
    out = learner(e)[0]
    layer, w = learner.transformer.layers[0], learner.width
    known = [
        learner.token(x) + learner.directions[y]
        for x, y in zip(e.support.x[0], e.support.y[0], strict=True)
    ]
    wq, wk, wv = layer.self_attn.in_proj_weight.view(3, w, w)
    bq, bk, bv = layer.self_attn.in_proj_bias.view(3, w)
    for q, x in enumerate(e.query.x[0]):
        token = learner.token(x) + learner.unknown
        seen = [layer.norm1(s) for s in (*known, token)]
        scores = torch.stack(
            [(wq @ layer.norm1(token) + bq) @ (wk @ s + bk) / w**0.5 for s in seen]
        ).softmax(0)
        read = sum(a * (wv @ s + bv) for a, s in zip(scores, seen, strict=True))
        token = token + layer.self_attn.out_proj(read)
        token = token + layer.linear2(torch.nn.functional.gelu(layer.linear1(layer.norm2(token))))
        token = learner.transformer.norm(token)
        expected = torch.stack([token @ learner.directions[c] / w**0.5 for c in range(4)])
        torch.testing.assert_close(out[q], expected, rtol=1e-4, atol=1e-4)


def test_labels_are_dealt_anew_in_training_and_not_in_evaluation() -> None:
    learner, e = small(), toy_episode()
    outs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outs.append(learner.train()(e))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])
    learner.eval()
    assert torch.equal(learner(e), learner(e))


def test_directions_are_at_right_angles_and_the_same_for_every_learner() -> None:
    d = small().directions
    torch.testing.assert_close(d @ d.T, 16 * torch.eye(8), atol=1e-4, rtol=1e-4)
    torch.manual_seed(9)
    assert torch.equal(d, InContext(Identity(6), max_way=8, width=16, layers=1, heads=2).directions)


def test_mistakes() -> None:
    with pytest.raises(TargetError, match="at most max_way=3"):
        small(max_way=3)(toy_episode())
    with pytest.raises(ConfigError, match="at right angles"):
        small(max_way=32)
    with pytest.raises(ConfigError, match="heads divide width"):
        small(heads=3)
