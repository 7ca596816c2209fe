import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import Baseline, BaselinePP
from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import generator
from quickstudy.encoders import Identity
from quickstudy.testing import toy_episode


def _batches(n: int, epochs: int, batch: int) -> list[torch.Tensor]:
    g = generator("baseline", "batches")
    return [rows for _ in range(epochs) for rows in torch.randperm(n, generator=g).split(batch)]


def _sgd(parameters, **options) -> torch.optim.SGD:
    return torch.optim.SGD(
        parameters, lr=0.01, momentum=0.9, dampening=0.9, weight_decay=1e-3, **options
    )


def test_baseline_is_a_linear_layer_trained_for_each_task() -> None:
    e = toy_episode(n_shot=(1, 2, 3, 2))
    out = Baseline(Identity(6), epochs=7)(e)
    start = (2 * torch.rand(4, 6, generator=generator("baseline", "weights")) - 1) / 6**0.5
    for t in range(3):
        layer = torch.nn.Linear(6, 4)
        layer.weight.data, layer.bias.data = start.clone(), torch.zeros(4)
        sgd = _sgd(layer.parameters())
        for rows in _batches(8, 7, 4):
            sgd.zero_grad()
            F.cross_entropy(layer(e.support.x[t, rows]), e.support.y[t, rows]).backward()
            sgd.step()
        torch.testing.assert_close(out[t], layer(e.query.x[t]).detach(), rtol=1e-4, atol=1e-5)


def test_baseline_pp_is_a_weight_normalised_cosine_layer_trained_for_each_task() -> None:
    e = toy_episode()
    out = BaselinePP(Identity(6), epochs=5, scale=4.0)(e)
    for t in range(3):
        weight = (
            (2 * torch.rand(4, 6, generator=generator("baseline", "weights")) - 1) / 6**0.5
        ).requires_grad_()
        norm = weight.detach().norm(dim=1).requires_grad_()
        sgd = _sgd([weight, norm])

        def scores(x, weight=weight, norm=norm):
            return 4 * norm * F.cosine_similarity(x[:, None], weight[None], dim=-1)

        for rows in _batches(8, 5, 4):
            sgd.zero_grad()
            F.cross_entropy(scores(e.support.x[t, rows]), e.support.y[t, rows]).backward()
            sgd.step()
        torch.testing.assert_close(out[t], scores(e.query.x[t]).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [Baseline, BaselinePP])
@pytest.mark.parametrize("options", [{"epochs": 0}, {"batch": 0}, {"lr": 0.0}])
def test_numbers_that_train_nothing_are_refused(kind, options) -> None:
    with pytest.raises(ConfigError, match="must be at least 1 and lr above 0"):
        kind(Identity(6), **options)
