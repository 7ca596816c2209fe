import pytest
import torch

from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Classes, Reals
from quickstudy.testing import toy_episode, toy_learner


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 28, 28)])
@pytest.mark.parametrize("target", [None, Reals(2)])
def test_episode_has_the_shapes_asked_for(shape, target):
    e = toy_episode(n_tasks=2, n_way=3, n_shot=4, n_query=5, shape=shape, target=target)
    assert e.support.x.shape == (2, 12, *shape)
    assert e.query.x.shape == (2, 15, *shape)
    assert e.query.y.shape == ((2, 15) if target is None else (2, 15, 2))
    assert e.target == (target or Classes(3))


@pytest.mark.parametrize("target", [None, Reals(2)])
def test_a_task_depends_on_seed_and_number_alone(target):
    few, many = toy_episode(n_tasks=2, target=target), toy_episode(n_tasks=5, target=target)
    assert torch.equal(few.support.x, many.support.x[:2])
    assert torch.equal(few.query.y, many.query.y[:2])
    assert not torch.equal(few.support.x, toy_episode(n_tasks=2, target=target, seed=1).support.x)
    assert not torch.equal(many.support.x[0], many.support.x[1])


def test_every_class_has_its_shots_in_random_order():
    y = toy_episode(n_tasks=4, n_shot=3).support.y
    assert all(row.bincount().tolist() == [3, 3, 3, 3] for row in y)
    assert not any(torch.equal(row, row.sort().values) for row in y)


def test_unequal_shots_move_on_by_one_class_per_task():
    y = toy_episode(n_tasks=4, n_way=3, n_shot=(1, 2, 4)).support.y
    assert [row.bincount().tolist() for row in y] == [[1, 2, 4], [4, 1, 2], [2, 4, 1], [1, 2, 4]]


def test_shots_must_be_given_for_every_class():
    with pytest.raises(ConfigError, match=r"4 numbers for n_way=4, got 2"):
        toy_episode(n_shot=(1, 2))


def test_learner_has_the_same_weights_every_time_and_spends_no_global_randomness():
    drawn = torch.get_rng_state()
    first = toy_learner("maml", n_out=5).state_dict()
    second = toy_learner("maml", n_out=5).state_dict()
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert first["head.weight"].shape[0] == 5
    assert torch.equal(torch.get_rng_state(), drawn)


def test_unknown_algorithm_is_refused_with_the_nearest_spelling():
    with pytest.raises(ConfigError, match=r"No algorithm is called 'mamml'. Did you mean 'maml'"):
        toy_learner("mamml")
