import pytest
import torch

from quickstudy.core.errors import ConfigError
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import Adam, FixedRate, Momentum, StepInputs


def test_a_fixed_rate_goes_downhill_by_the_same_rate_for_everything():
    params = {name: torch.zeros(2) for name in ("head.weight", "encoder.layers.0.bias")}
    gradients = dict.fromkeys(params, torch.tensor([1.0, -2.0]))
    for step in (0, 7):
        after, memory = FixedRate(0.25)(StepInputs(step, params, gradients, torch.zeros(1)), ())
        assert memory == ()
        assert {n: p.tolist() for n, p in after.items()} == {n: [-0.25, 0.5] for n in params}


def test_it_learns_nothing():
    assert not list(FixedRate(0.1).parameters())


@pytest.mark.parametrize("lr", [0.0, -0.1, float("nan")])
def test_rates_that_do_not_descend_are_refused(lr):
    with pytest.raises(ConfigError, match=f"must be above 0, got {lr}"):
        FixedRate(lr)


# --- rules with a memory, beside torch's optimisers

OPTIMISERS = [
    pytest.param(
        Momentum(0.1, momentum=0.8),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8),
        id="momentum",
    ),
    pytest.param(Adam(0.1, eps=1e-12), lambda p: torch.optim.Adam(p, lr=0.1, eps=1e-12), id="adam"),
    pytest.param(
        Adam(0.1, betas=(0.0, 0.99), eps=1e-12),
        lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.0, 0.99), eps=1e-12),
        id="adam-0",
    ),
]


def valley(params):
    return (params["a"] ** 4).sum() + 3 * (params["b"] - params["a"].mean()).square().sum()


@pytest.mark.parametrize(("rule", "make"), OPTIMISERS)
@pytest.mark.parametrize("recompute", [False, True])
def test_an_inner_loop_ends_where_the_optimiser_does(rule, make, recompute):
    start = {n: torch.randn(3, dtype=torch.float64, requires_grad=True) for n in "ab"}
    theirs = {n: p.detach().clone().requires_grad_() for n, p in start.items()}
    optimiser = make(list(theirs.values()))
    for _ in range(5):
        optimiser.zero_grad()
        valley(theirs).backward()
        optimiser.step()
    ours = InnerLoop(rule, steps=5, recompute=recompute).run(start, lambda p, _: valley(p))
    for n, p in theirs.items():
        torch.testing.assert_close(ours[n], p.detach(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("rule", "make"), OPTIMISERS)
def test_the_outer_gradient_goes_through_the_memory(rule, make):
    a, b = (torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def outer(a, b, *, recompute=False):
        end = InnerLoop(rule, steps=3, recompute=recompute).run(
            {"a": a, "b": b}, lambda p, _: valley(p)
        )
        return end["a"].sin().sum() + end["b"].square().sum()

    assert torch.autograd.gradcheck(outer, (a, b), eps=1e-6, atol=1e-6, rtol=1e-5)
    for one, other in zip(
        *(torch.autograd.grad(outer(a, b, recompute=r), (a, b)) for r in (False, True)), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_adam_is_differentiable_where_a_gradient_is_zero():
    a = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    end = InnerLoop(Adam(0.1), steps=2).run({"a": a}, lambda p, _: p["a"].square().sum())["a"]
    (g,) = torch.autograd.grad(end.sum(), a)
    assert g.isfinite().all()


def test_gradients_are_clipped_number_by_number():
    a = torch.tensor([3.0, -0.1, -5.0], requires_grad=True)
    end = InnerLoop(FixedRate(1.0), steps=1, clip_value=1.0).run(
        {"a": a}, lambda p, _: p["a"].square().sum() / 2
    )["a"]
    torch.testing.assert_close(end, torch.tensor([2.0, 0.0, -4.0]))


def test_the_path_ends_where_run_does():
    loop = InnerLoop(Momentum(0.05), steps=4)
    start = {n: torch.randn(3, requires_grad=True) for n in "ab"}
    path = loop.path(start, lambda p, _: valley(p))
    assert len(path) == 5
    assert path[0]["a"] is start["a"]
    torch.testing.assert_close(path[-1], loop.run(start, lambda p, _: valley(p)))
    assert len(loop.path(start, lambda p, _: valley(p), steps=7)) == 8


@pytest.mark.parametrize(
    "make",
    [
        lambda v: Momentum(0.1, momentum=v),
        lambda v: Adam(0.1, betas=(v, 0.9)),
        lambda v: Adam(0.1, betas=(0.9, v)),
    ],
)
@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_averages_that_never_forget_are_refused(make, value):
    with pytest.raises(ConfigError, match=f"at least 0 and below 1, got {value}"):
        make(value)
