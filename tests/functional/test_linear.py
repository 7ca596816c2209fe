import torch
import torch.nn.functional as F

from quickstudy.functional.linear import linear


def test_one_weight_for_all_tasks():
    x, w, b = torch.randn(3, 5, 4), torch.randn(2, 4), torch.randn(2)
    torch.testing.assert_close(linear(x, w, b), F.linear(x, w, b))


def test_a_weight_for_each_task_is_a_loop_over_tasks():
    x, w, b = (
        torch.randn(s, dtype=torch.float64, requires_grad=True)
        for s in ((3, 5, 4), (3, 2, 4), (3, 2))
    )
    out = linear(x, w, b)
    torch.testing.assert_close(
        out, torch.stack([F.linear(*one) for one in zip(x, w, b, strict=True)])
    )
    assert torch.autograd.gradcheck(linear, (x, w, b))
