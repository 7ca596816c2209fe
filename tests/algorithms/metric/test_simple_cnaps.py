import numpy as np
import pytest
import torch

from quickstudy.algorithms import SimpleCNAPs
from quickstudy.core.errors import ConfigError
from quickstudy.encoders import MLP, Identity
from quickstudy.testing import toy_episode


@pytest.mark.parametrize("ridge", [0.3, 1.0])
@pytest.mark.parametrize("n_shot", [1, 4, (1, 2, 3, 5)])
def test_the_distance_by_its_full_covariances(n_shot, ridge: float) -> None:
    learner, e = SimpleCNAPs(MLP(6, widths=(9,)), ridge=ridge), toy_episode(n_shot=n_shot)
    with torch.no_grad():
        out = learner(e)
        z = learner.encoder(e.support.x).double().numpy()
        q = learner.encoder(e.query.x).double().numpy()
    for t in range(3):
        y = e.support.y[t].numpy()
        for c in range(4):
            own = z[t][y == c]
            n = len(own)
            of_class = np.cov(own.T) if n > 1 else np.zeros((9, 9))
            weight = n / (n + 1)
            q_c = weight * of_class + (1 - weight) * np.cov(z[t].T) + ridge * np.eye(9)
            d = q[t] - own.mean(0)
            expected = -0.5 * np.sum(d * np.linalg.solve(q_c, d.T).T, 1)
            np.testing.assert_allclose(out[t, :, c].numpy(), expected, rtol=1e-4, atol=1e-4)


def test_long_vectors_and_large_features_keep_their_digits() -> None:
    e = toy_episode(n_shot=5, shape=(1600,))
    scaled = type(e)(
        type(e.support)(100 * e.support.x, e.support.y),
        type(e.query)(100 * e.query.x, e.query.y),
        e.target,
    )
    learner = SimpleCNAPs(Identity(1600))
    precise = learner(
        type(e)(*(type(p)(p.x.double(), p.y) for p in (scaled.support, scaled.query)), e.target)
    )
    torch.testing.assert_close(learner(scaled).double(), precise, rtol=1e-3, atol=1e-2)


def test_with_little_spread_it_is_the_euclidean_distance() -> None:
    e = toy_episode()
    out = SimpleCNAPs(Identity(6), ridge=1e6)(e)
    means = torch.stack(
        [
            torch.stack([e.support.x[t][e.support.y[t] == c].mean(0) for c in range(4)])
            for t in range(3)
        ]
    )
    torch.testing.assert_close(
        2e6 * out, -torch.cdist(e.query.x, means).square(), rtol=1e-3, atol=1e-2
    )


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="ridge must be above 0"):
        SimpleCNAPs(Identity(6), ridge=0.0)
