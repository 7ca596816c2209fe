import pytest
import torch
import torch.nn.functional as F

from quickstudy.core.errors import TrainingError
from quickstudy.kernels import backend
from quickstudy.kernels.convolution import convolve


@pytest.mark.parametrize("image_needs_gradient", [True, False])
@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_equal_to_the_stock_convolution_twice_differentiated(
    twice, stride, groups, image_needs_gradient
):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 7, 6, generator=g, dtype=torch.float64)
    weight = torch.randn(6, 4 // groups, 3, 3, generator=g, dtype=torch.float64)
    inputs = (weight, x) if image_needs_gradient else (weight,)

    def ours(w, image=x):
        return convolve(image, w, stride=stride, groups=groups)

    def stock(w, image=x):
        return F.conv2d(image, w, stride=stride, padding=1, groups=groups)

    for a, b in zip(twice(ours, *inputs), twice(stock, *inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_only_one_gradient_may_be_asked_for():
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    found = []
    for f in (convolve, lambda x, w: F.conv2d(x, w, padding=1)):
        a, w = x.clone().requires_grad_(), weight.clone().requires_grad_()
        (dx,) = torch.autograd.grad(f(a, w).square().sum(), a, create_graph=True)
        found.append(torch.autograd.grad(dx.square().sum(), w)[0])
    torch.testing.assert_close(*found)


def test_a_third_derivative_is_refused_and_the_plain_form_has_it():
    def third():
        x, w = torch.ones(1, 1, 3, 3, requires_grad=True), torch.ones(1, 1, 3, 3)
        y = convolve(x, w).pow(4).sum()
        for _ in range(3):
            y = torch.autograd.grad(y, x, create_graph=True)[0].pow(2).sum()
        return y

    with pytest.raises(TrainingError, match="third derivative"):
        third()
    with backend("plain"):
        assert third().isfinite()
