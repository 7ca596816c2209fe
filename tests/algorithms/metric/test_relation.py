import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import RelationNet
from quickstudy.core.errors import ConfigError
from quickstudy.encoders import MLP, Conv4
from quickstudy.testing import check_learner, toy_episode


@pytest.mark.parametrize("combine", ["sum", "mean"])
def test_vectors_are_judged_pair_by_pair(combine: str) -> None:
    learner, e = RelationNet(MLP(6, widths=(5,)), combine=combine), toy_episode(n_shot=(1, 2, 3, 2))
    out = learner(e)
    for t in range(3):
        support = learner.encoder(e.support.x[t : t + 1])[0]
        query = learner.encoder(e.query.x[t : t + 1])[0]
        for c in range(4):
            own = support[e.support.y[t] == c]
            of_class = own.sum(0) if combine == "sum" else own.mean(0)
            for q in range(4):
                expected = learner.out(F.relu(learner.hidden(torch.cat((of_class, query[q])))))[0]
                torch.testing.assert_close(out[t, q, c], expected, rtol=1e-4, atol=1e-4)


def test_maps_go_through_the_convolution_of_both_one_behind_the_other() -> None:
    torch.manual_seed(0)
    learner = RelationNet(Conv4(size=28, width=8, pooled=2, norm="group"))
    e = toy_episode(n_tasks=1, shape=(1, 28, 28), n_shot=2)
    assert learner.convolves
    assert learner.encoder.map_shape == (8, 7, 7)
    out = learner(e)[0]
    support, query = (learner.encoder(s.x)[0].unflatten(1, (8, 7, 7)) for s in (e.support, e.query))
    weight = torch.cat((learner.of_class.weight, learner.of_query.weight), 1)
    for q in range(3):
        for c in range(4):
            y = torch.cat((support[e.support.y[0] == c].sum(0), query[q]))[None]
            y = F.max_pool2d(F.relu(learner.norms[0](F.conv2d(y, weight, padding=1)[None])[0]), 2)
            y = F.max_pool2d(F.relu(learner.norms[1](learner.second(y)[None])[0]), 2)
            expected = learner.out(F.relu(learner.hidden(y.flatten())))[0]
            torch.testing.assert_close(out[q, c], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["running", "group", "batch"])
def test_on_images_it_keeps_the_contract(norm: str) -> None:
    torch.manual_seed(0)
    check_learner(
        RelationNet(Conv4(size=16, width=8, pooled=2, norm=norm)), shape=(1, 16, 16), n_tasks=(2,)
    )


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="by 'sum' or 'mean', not by 'max'"):
        RelationNet(MLP(6), combine="max")
    with pytest.raises(ConfigError, match="has no support to be normalised by"):
        RelationNet(Conv4(norm="support"))
    with pytest.raises(ConfigError, match="1 to 4 blocks halve the image"):
        Conv4(pooled=2, downsample="stride")
