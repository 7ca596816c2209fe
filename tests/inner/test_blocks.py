import pytest
import torch

from quickstudy.inner.blocks import by_blocks


def mixed(columns, weights):
    x, state = columns
    (w,) = weights
    after = torch.tanh(w @ torch.cat((x, state)))
    return after.sum(0, keepdim=True) * x[:1], after


@pytest.mark.parametrize("block", [1, 4, 5, 11])
def test_blocks_give_what_all_columns_at_once_give(block: int) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 11, generator=g, dtype=torch.float64)  # of these no gradient is asked
    state = torch.randn(3, 11, generator=g, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 5, generator=g, dtype=torch.float64, requires_grad=True)
    pull = torch.randn(11, generator=g, dtype=torch.float64)

    def result(block: int) -> tuple[torch.Tensor, ...]:
        first, after = by_blocks(mixed, (x, state), (weight,), block=block)
        again, _ = by_blocks(mixed, (x, after), (weight,), block=block)
        loss = ((first + again)[0] * pull).sum()
        return first, after, *torch.autograd.grad(loss, (state, weight))

    for by_block, at_once in zip(result(block), result(100), strict=True):
        torch.testing.assert_close(by_block, at_once, rtol=1e-12, atol=1e-12)


def test_a_result_that_nothing_depends_on_takes_no_gradient() -> None:
    x = torch.ones(2, 6)
    state = torch.ones(3, 6, requires_grad=True)
    weight = torch.ones(3, 5, requires_grad=True)
    _, after = by_blocks(mixed, (x, state), (weight,), block=4)
    g_state, g_weight = torch.autograd.grad(after[:, 5].sum(), (state, weight))
    assert (g_state[:, 5] != 0).all()
    assert (g_state[:, :5] == 0).all()
    assert g_weight.isfinite().all()
