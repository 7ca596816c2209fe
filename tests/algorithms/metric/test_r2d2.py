import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from quickstudy.algorithms import R2D2
from quickstudy.core.errors import ConfigError
from quickstudy.encoders import MLP, Identity
from quickstudy.testing import toy_episode


@pytest.mark.parametrize(("penalty", "normalised"), [(0.1, True), (5.0, True), (5.0, False)])
def test_it_is_ridge_regression_onto_the_labels(penalty: float, normalised: bool) -> None:
    learner = R2D2(MLP(6, widths=(12,)), penalty=penalty, scale=3.0, normalised=normalised).double()
    e = toy_episode(n_shot=(1, 2, 3, 2))
    support, query = e.support.x.double(), e.query.x.double()
    with torch.no_grad():
        out = learner.predict(learner.adapt(type(e.support)(support, e.support.y), e.target), query)
        z, q = learner.encoder(support).numpy(), learner.encoder(query).numpy()
    if normalised:
        z, q = (np.concatenate((v, np.ones_like(v[..., :1])), 2) for v in (z, q))
        penalty *= z.shape[1]
    for t in range(3):
        solved = Ridge(alpha=penalty, fit_intercept=False, solver="cholesky").fit(
            z[t], np.eye(4)[e.support.y[t].numpy()]
        )
        np.testing.assert_allclose(out[t].numpy(), 3 * solved.predict(q[t]), atol=1e-7)


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="penalty and scale must be above 0"):
        R2D2(Identity(6), penalty=0.0)
