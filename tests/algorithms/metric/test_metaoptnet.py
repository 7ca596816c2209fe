import pytest
import torch

from quickstudy.algorithms import MetaOptNet
from quickstudy.core.errors import ConfigError
from quickstudy.encoders import MLP, Identity
from quickstudy.testing import toy_episode


def test_it_is_the_machine_that_subgradient_descent_on_the_hinge_finds() -> None:
    """In the primal: ½ Σ_c |w_c|² + C Σ_i max_c (w_c·x_i − w_y·x_i + [c ≠ y])."""
    penalty, e = 0.5, toy_episode(n_shot=(1, 2, 3, 2))
    learner = MetaOptNet(MLP(6, widths=(5,)), penalty=penalty, ridge=0.0, scale=2.0).double()
    with torch.no_grad():
        z, q = learner.encoder(e.support.x.double()), learner.encoder(e.query.x.double())
    weight = torch.zeros(3, 5, 4, dtype=torch.double, requires_grad=True)
    mean = torch.zeros_like(weight)
    margin = 1 - torch.nn.functional.one_hot(e.support.y, 4)
    for step in range(1, 20_001):
        scores = z @ weight
        own = scores.gather(2, e.support.y[..., None])
        loss = weight.square().sum() / 2 + penalty * (scores - own + margin).amax(2).sum()
        (gradient,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight -= gradient / step
            mean += (weight - mean) * 2 / (step + 1)  # later points weigh more
    with torch.no_grad():
        out = learner.predict(
            (learner.adapt(type(e.support)(e.support.x.double(), e.support.y), e.target)),
            e.query.x.double(),
        )
        torch.testing.assert_close(out, 2 * q @ mean, atol=2e-3, rtol=0)


@pytest.mark.parametrize("options", [{"penalty": 0.0}, {"ridge": -1.0}, {"scale": 0.0}])
def test_mistakes(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="penalty and scale must be above 0"):
        MetaOptNet(Identity(6), **options)
