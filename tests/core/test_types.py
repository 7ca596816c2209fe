import dataclasses
import math

import pytest
import torch
from torch.utils import _pytree as pytree

from quickstudy.core.errors import EpisodeError
from quickstudy.core.types import Classes, Episode, Examples, Reals


def some(t=2, n=3, mask=None):
    return Examples(
        torch.arange(t * n * 2.0).view(t, n, 2), torch.zeros(t, n, dtype=torch.long), mask
    )


def episode(mask=None):
    return Episode(some(), some(n=4, mask=mask), Classes(5))


# --- tensor dataclasses as trees


def test_tree_map_skips_what_is_none():
    seen = []
    out = pytree.tree_map(lambda leaf: seen.append(type(leaf)) or leaf + 1, some())
    assert seen == [torch.Tensor] * 2
    assert out.mask is None
    assert torch.equal(out.x, some().x + 1)


def test_tree_map_sees_a_mask():
    mask = torch.tensor([[True, True, False]] * 2)
    out = pytree.tree_map(lambda leaf: leaf.flip(0), some(mask=mask))
    assert torch.equal(out.mask, mask.flip(0))
    assert len(pytree.tree_leaves(some(mask=mask))) == 3


def test_the_target_rides_along():
    out = pytree.tree_map(lambda leaf: leaf[:1], episode())
    assert out.target == Classes(5)
    assert out.n_tasks == 1
    assert all(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(episode()))


def test_trees_of_another_target_or_another_mask_differ():
    spec = pytree.tree_structure
    assert spec(episode()) == spec(episode())
    assert spec(episode()) != spec(dataclasses.replace(episode(), target=Classes(6)))
    assert spec(some()) != spec(some(mask=torch.ones(2, 3, dtype=torch.bool)))


def test_vmap_maps_over_a_whole_episode():
    out = torch.func.vmap(lambda e: e.support.x.sum() * e.target.width)(episode())
    assert torch.equal(out, episode().support.x.sum((1, 2)) * 5)


def test_they_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        episode().target = Reals(1)


def test_to_moves_every_tensor_and_keeps_the_target():
    there = episode(mask=torch.ones(2, 4, dtype=torch.bool)).to("meta")
    assert {leaf.device.type for leaf in pytree.tree_leaves(there)} == {"meta"}
    assert there.target == Classes(5)


# --- padding


def test_task_takes_one_task_and_removes_its_padding():
    mask = torch.tensor([[True, True, True, True], [False, True, False, True]])
    e = episode(mask=mask)
    assert e.padded
    one = e.task(1)
    assert one.n_tasks == 1
    assert not one.padded
    assert one.query.x.shape == (1, 2, 2)
    assert torch.equal(one.query.x[0], e.query.x[1, [1, 3]])
    assert torch.equal(one.support.x, e.support.x[1:])
    assert e.task(0).query.x.shape == (1, 4, 2)


def test_without_masks_nothing_is_padded():
    assert not episode().padded
    assert torch.equal(episode().task(1).query.x, episode().query.x[1:])


def test_a_mask_on_either_side_counts():
    full = torch.ones(2, 3, dtype=torch.bool)
    assert Episode(some(mask=full), some(), Classes(2)).padded


def test_single_adds_the_task_axis():
    one = Examples.single(torch.zeros(3, 1, 4, 4), torch.tensor([[0.5], [1.0], [2.0]]))
    assert one.x.shape == (1, 3, 1, 4, 4)
    assert one.y.shape == (1, 3, 1)


# --- check


def refused(x, y, mask=None, unlabelled=None):
    # Past the constructor, whose shape annotations refuse first in tests; users run without that
    # check.
    made = object.__new__(Examples)
    for name, value in (("x", x), ("y", y), ("mask", mask), ("unlabelled", unlabelled)):
        object.__setattr__(made, name, value)
    with pytest.raises(EpisodeError) as caught:
        made.check("support")
    return str(caught.value)


def test_check_accepts_what_fits():
    some(mask=torch.ones(2, 3, dtype=torch.bool)).check("support")
    Examples(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4)).check("query")


def test_check_refuses_a_missing_task_axis():
    message = refused(torch.zeros(3, 2), torch.zeros(3))
    assert message.startswith("support: x and y need a task axis and an example axis")
    assert "(3, 2)" in message
    assert "(3,)" in message
    assert "Examples.single(x, y)" in message


def test_check_refuses_another_number_of_labels():
    message = refused(torch.zeros(2, 3, 4), torch.zeros(2, 5))
    assert (
        message
        == "support: x has (2, 3) tasks × examples but y has (2, 5). Give one label per example."
    )


def test_check_refuses_a_mask_of_another_shape():
    message = refused(torch.zeros(2, 3, 4), torch.zeros(2, 3), torch.ones(2, 4, dtype=torch.bool))
    assert message == "support: mask has shape (2, 4) but must be (2, 3), one flag per example."


@pytest.mark.parametrize("empty", [(0, 3), (2, 0)])
def test_check_refuses_nothing_at_all(empty):
    assert f"{empty[0]} tasks of {empty[1]} examples" in refused(
        torch.zeros(*empty, 4), torch.zeros(*empty)
    )


# --- targets


def test_loss_and_score_of_classes_by_hand():
    out = torch.tensor([[[0.0, 0.0], [3.0, 0.0]], [[0.0, 9.0], [9.0, 0.0]]])
    y = torch.tensor([[0, 1], [1, 1]])
    loss = Classes(2).loss(out, y)
    first = (math.log(2) + 3 + math.log1p(math.exp(-3))) / 2
    second = (math.log1p(math.exp(-9)) * 2 + 9) / 2
    assert loss.tolist() == pytest.approx([first, second], rel=1e-5)
    assert Classes(2).score(out, y).tolist() == [0.5, 0.5]
    assert Classes(2).width == 2


def test_loss_and_score_of_reals_by_hand():
    out, y = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[[0.0, 2.0], [3.0, 1.0]]])
    assert Reals(2).loss(out, y).tolist() == [2.5]  # (1 + 0 + 0 + 9) / 4
    assert Reals(2).score(out, y).tolist() == [-2.5]
    assert Reals(2).width == 2


def test_targets_of_nothing_are_refused():
    with pytest.raises(EpisodeError, match=r"Classes\(n\): n must be at least 1, got 0"):
        Classes(0)
    with pytest.raises(EpisodeError, match=r"Reals\(dim\): dim must be at least 1, got -1"):
        Reals(-1)


def test_unlabelled_examples_ride_along_and_must_fit():
    support = Examples(
        torch.zeros(2, 3, 4),
        torch.zeros(2, 3, dtype=torch.long),
        unlabelled=torch.arange(40.0).view(2, 5, 4),
    )
    support.check("support")
    assert torch.equal(support.task(1).unlabelled, support.unlabelled[1:])
    episode = Episode(
        support,
        Examples(torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.long)),
        Classes(1),
        torch.tensor([[7], [9]]),
    )
    assert episode.task(1).classes.tolist() == [[9]]
    assert episode.to("cpu").classes.tolist() == [[7], [9]]
    message = refused(torch.zeros(2, 3, 4), torch.zeros(2, 3), None, torch.zeros(1, 5, 4))
    assert "the unlabelled examples have shape (1, 5, 4) beside x of (2, 3, 4)" in message
