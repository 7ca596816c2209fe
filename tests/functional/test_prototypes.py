import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.functional.prototypes import class_means


def test_unequal_shots_in_any_order_by_hand():
    z = torch.tensor(
        [
            [[1.0, 0.0], [10.0, 10.0], [3.0, 0.0], [5.0, 6.0]],
            [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]],
        ]
    )
    y = torch.tensor([[0, 2, 0, 0], [1, 0, 2, 1]])
    first, second = class_means(z[:, :], y, 3)
    assert first[[0, 2]].tolist() == [[3, 2], [10, 10]]
    assert second.tolist() == [[2, 2], [2.5, 2.5], [3, 3]]


def test_a_class_without_examples_is_not_a_number():
    means = class_means(torch.ones(1, 2, 3), torch.tensor([[0, 2]]), 4)
    assert means.isnan().all(2).tolist() == [[False, True, False, True]]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 2**32))
@settings(deadline=None)
def test_a_loop_over_classes_agrees_in_any_order(shots, seed):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(len(shots)).repeat_interleave(torch.tensor(shots))
    y = torch.stack([y[torch.randperm(len(y), generator=g)] for _ in range(2)])
    z = torch.randn(*y.shape, 3, generator=g, dtype=torch.float64)
    slow = torch.stack(
        [torch.stack([z[t, y[t] == c].mean(0) for c in range(len(shots))]) for t in range(2)]
    )
    torch.testing.assert_close(class_means(z, y, len(shots)), slow)


def test_one_shot_is_the_example_itself():
    z = torch.randn(2, 3, 4)
    assert torch.equal(class_means(z, torch.arange(3).expand(2, -1), 3), z)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_type_is_kept(dtype):
    assert class_means(torch.ones(1, 2, 3, dtype=dtype), torch.tensor([[0, 0]]), 1).dtype == dtype


def test_gradients_are_shared_out_equally():
    z = torch.randn(1, 3, 2, requires_grad=True)
    class_means(z, torch.tensor([[0, 1, 0]]), 2).sum().backward()
    assert z.grad.tolist() == [[[0.5, 0.5], [1, 1], [0.5, 0.5]]]
