"""Images with values up to 255 are no examples of an encoder that takes values up to 1."""

import pytest
import torch

from quickstudy.algorithms import ProtoNet
from quickstudy.core.errors import EpisodeError
from quickstudy.core.types import Classes, Examples
from quickstudy.encoders import Conv4, Identity

_Y = torch.arange(2)


def test_values_up_to_255_are_refused_in_support_and_queries() -> None:
    learner = ProtoNet(Conv4(size=16, width=4))
    x = torch.rand(2, 1, 16, 16)
    with pytest.raises(EpisodeError, match=r"up to 2\d\d.*Conv4 takes.*x / 255"):
        learner.fit(Examples.single(255 * x, _Y), Classes(2))
    predictor = learner.fit(Examples.single(x, _Y), Classes(2))
    with pytest.raises(EpisodeError, match="x / 255"):
        predictor(255 * x)
    normalised = (x - 0.485) / 0.229
    assert predictor(normalised).shape == (2, 2)


def test_other_encoders_and_vectors_take_any_values() -> None:
    vectors = 255 * torch.rand(2, 3)
    assert ProtoNet(Identity(3)).fit(Examples.single(vectors, _Y), Classes(2))(vectors).shape
    images = 255 * torch.rand(2, 1, 2, 2)
    predictor = ProtoNet(Identity(4)).fit(Examples.single(images.flatten(1), _Y), Classes(2))
    assert predictor(images.flatten(1)).shape == (2, 2)
