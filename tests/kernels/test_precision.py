import pytest
import torch

from quickstudy.algorithms import R2D2, ProtoNet, Siamese
from quickstudy.core.objective import MetaStep
from quickstudy.encoders import Conv4
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import SIMILARITIES
from quickstudy.objectives import Pairs, QueryLoss, Triplets
from quickstudy.testing import toy_episode


@pytest.mark.parametrize("name", SIMILARITIES)
def test_similarities_keep_single_precision_inside_autocast(name) -> None:
    torch.manual_seed(0)
    q, r = 10 + torch.randn(1, 3, 400), 10 + torch.randn(1, 4, 400)
    expected = SIMILARITIES[name](q, r)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(SIMILARITIES[name](q, r), expected)
        half = SIMILARITIES[name](q.bfloat16(), r.bfloat16())
    torch.testing.assert_close(half, SIMILARITIES[name](q.bfloat16().float(), r.bfloat16().float()))


def test_class_means_keep_single_precision_inside_autocast() -> None:
    z, y = torch.rand(1, 6, 50), torch.tensor([[0, 1, 1, 0, 1, 1]])
    expected = class_means(z, y, 2)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(class_means(z, y, 2), expected)


@pytest.mark.parametrize(
    ("make", "objective"),
    [
        (ProtoNet, QueryLoss()),
        (R2D2, QueryLoss()),
        (Siamese, Pairs()),
        (lambda e: Siamese(e, compare="distance", normalise=True), Pairs(loss="contrastive")),
        (lambda e: Siamese(e, compare="distance", normalise=True), Triplets()),
    ],
)
def test_half_precision_trains_a_convolutional_encoder_to_nearly_the_same_loss(
    make, objective
) -> None:
    torch.manual_seed(0)
    step, e = MetaStep(make(Conv4(size=16, width=8)), objective), toy_episode(shape=(1, 16, 16))
    single = step(e)
    with torch.autocast("cpu", torch.bfloat16):
        half = step(e)
    half.backward()
    assert all(
        p.grad is not None and bool(p.grad.isfinite().all())
        for p in step.learner.encoder.parameters()
    )
    torch.testing.assert_close(half.float(), single, rtol=0.05, atol=0.05)
