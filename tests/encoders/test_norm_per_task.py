"""The policy per_task: batch statistics in training, their averages over the tasks in
evaluation.
"""

import pytest
import torch

from quickstudy.core.batching import order_dependent
from quickstudy.encoders import Conv4
from quickstudy.encoders.norm import MOMENTUM, norm_named
from quickstudy.kernels import backend


def test_the_averages_take_a_step_for_each_task():
    norm, x = norm_named("per_task", 3).double(), torch.randn(4, 5, 3, 6, 6).double() * 2 + 1
    norm(x)
    mean, var = torch.zeros(3).double(), torch.ones(3).double()
    for task in x:
        mean = (1 - MOMENTUM) * mean + MOMENTUM * task.mean((0, 2, 3))
        var = (1 - MOMENTUM) * var + MOMENTUM * task.var((0, 2, 3))
    torch.testing.assert_close(norm.get_buffer("mean"), mean)
    torch.testing.assert_close(norm.get_buffer("var"), var)


@pytest.mark.parametrize("form", ["plain", "torch", "numba"])
@pytest.mark.parametrize("n_tasks", [1, 3])
def test_all_forms_of_the_block_collect_the_same(form, n_tasks):
    if form == "numba":
        pytest.importorskip("numba")
    torch.manual_seed(0)
    encoder, other = (Conv4(size=16, width=4, norm=norm) for norm in ("per_task", "batch"))
    other.load_state_dict(encoder.state_dict(), strict=False)
    x = torch.randn(n_tasks, 5, 1, 16, 16)
    with backend(form):
        out, expected = encoder(x), other(x)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    with backend("plain"):
        reference = Conv4(size=16, width=4, norm="per_task")
        reference.load_state_dict(other.state_dict(), strict=False)
        reference(x)
    for (name, b), r in zip(encoder.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(b, r, rtol=1e-4, atol=1e-5, msg=name)


def test_in_evaluation_every_example_stands_alone():
    encoder, x = Conv4(size=16, width=4, norm="per_task"), torch.randn(2, 5, 1, 16, 16)
    encoder(x)
    encoder.eval()
    torch.testing.assert_close(encoder(x)[:, :1], encoder(x[:, :1]))
    assert not encoder.transductive


def test_its_work_depends_on_the_order():
    assert order_dependent(Conv4(norm="per_task")) == ["TaskRunningNorm"]
