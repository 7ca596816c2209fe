import pytest
import torch

from quickstudy.core.errors import ConfigError
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import AbstractRule, FixedRate

CURVATURE, CENTRE, RATE = 3.0, 2.0, 0.1


def quadratic(params, _):
    return 0.5 * CURVATURE * (params["a"] - CENTRE).square().sum()


def start(value=5.0):
    return {"a": torch.tensor([value], dtype=torch.float64, requires_grad=True)}


def loop(steps, *, first_order=False):
    return InnerLoop(FixedRate(RATE), steps=steps, first_order=first_order)


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
@pytest.mark.parametrize("first_order", [False, True])
def test_steps_on_a_quadratic_by_hand(steps, first_order):
    # Each step shrinks the distance to the centre by 1 − α·curvature.
    end = loop(steps, first_order=first_order).run(start(), quadratic)["a"]
    assert end.item() == pytest.approx(CENTRE + 3.0 * (1 - RATE * CURVATURE) ** steps, rel=1e-12)


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_the_outer_gradient_goes_through_every_step(steps):
    params = start()
    end = loop(steps).run(params, quadratic)["a"]
    (gradient,) = torch.autograd.grad(end.square().sum(), params["a"])
    assert gradient.item() == pytest.approx(2 * end.item() * (1 - RATE * CURVATURE) ** steps, rel=1e-12)


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_first_order_drops_the_curvature(steps):
    params = start()
    end = loop(steps, first_order=True).run(params, quadratic)["a"]
    (gradient,) = torch.autograd.grad(end.square().sum(), params["a"])
    assert gradient.item() == pytest.approx(2 * end.item(), rel=1e-12)


def bowl(params, step):
    a, b = params["a"], params["b"]
    return (torch.sin(a @ b).sum() + (a**4).mean() + (b - step).pow(2).mean()) * 0.5


@pytest.mark.parametrize("steps", [1, 3])
def test_the_outer_gradient_equals_finite_differences(steps):
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(*s, generator=g, dtype=torch.float64, requires_grad=True) for s in ((2, 3), (3, 2)))

    def outer(a, b):
        end = loop(steps).run({"a": a, "b": b}, bowl)
        return end["a"].cos().sum() * end["b"].square().sum()

    assert torch.autograd.gradcheck(outer, (a, b), eps=1e-6, atol=1e-7, rtol=1e-6)


def test_first_order_is_not_the_true_gradient_of_a_curved_loss():
    a, b = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((2, 3), (3, 2)))

    def outer(first_order):
        end = loop(2, first_order=first_order).run({"a": a, "b": b}, bowl)
        return end, torch.autograd.grad(end["a"].cos().sum() * end["b"].square().sum(), (a, b))

    (true_end, true), (first_end, first) = outer(False), outer(True)
    assert all(torch.equal(true_end[n], first_end[n]) for n in "ab")
    assert not torch.allclose(true[0], first[0])


def test_the_result_without_gradients_has_no_graph_and_the_same_numbers():
    params = start()
    with torch.no_grad():
        end = loop(3).run(params, quadratic)
        assert not torch.is_grad_enabled()
    assert not end["a"].requires_grad
    assert end["a"].grad_fn is None
    assert torch.equal(end["a"], loop(3).run(params, quadratic)["a"].detach())
    assert params["a"].grad is None


def test_without_gradients_also_constants_are_adapted():
    with torch.no_grad():
        end = loop(1).run({"a": torch.tensor([5.0])}, quadratic)
    assert end["a"].item() == pytest.approx(5 - 0.9)


def test_the_start_is_not_changed():
    params = start()
    before = params["a"].clone()
    loop(3).run(params, quadratic)
    assert list(params) == ["a"]
    assert torch.equal(params["a"], before)


def test_the_loss_is_asked_at_each_step_with_the_parameters_of_that_step():
    asked = []

    def loss(params, step):
        asked.append((step, round(params["a"].item(), 6)))
        return quadratic(params, step)

    loop(3).run(start(), loss)
    assert asked == [(0, 5.0), (1, 4.1), (2, 3.47)]


def test_the_rule_sees_name_gradient_and_step():
    seen = []

    class Watching(AbstractRule):
        def forward(self, move, memory):
            seen.extend((name, tuple(g.shape), move.step) for name, g in move.gradients.items())
            return {n: p - move.gradients[n] if n == "b" else p for n, p in move.params.items()}, memory

    params = {"a": torch.ones(2, requires_grad=True), "b": torch.ones(3, requires_grad=True)}
    end = InnerLoop(Watching(), steps=2).run(params, lambda p, _: p["a"].sum() + p["b"].square().sum() / 2)
    assert seen == [("a", (2,), 0), ("b", (3,), 0), ("a", (2,), 1), ("b", (3,), 1)]
    assert end["a"].tolist() == [1, 1]
    assert end["b"].tolist() == [0, 0, 0]


def test_rules_may_learn():
    class Learned(AbstractRule):
        def __init__(self):
            super().__init__()
            self.lr = torch.nn.Parameter(torch.tensor(RATE, dtype=torch.float64))

        def forward(self, move, memory):
            return {n: p - self.lr * move.gradients[n] for n, p in move.params.items()}, memory

    inner = InnerLoop(Learned(), steps=1)
    inner.run(start(), quadratic)["a"].sum().backward()
    assert inner.rule.lr.grad.item() == pytest.approx(-CURVATURE * 3.0)


def test_a_negative_number_of_steps_is_refused():
    with pytest.raises(ConfigError, match="cannot be negative, got -1"):
        loop(-1)


def test_inference_mode_is_refused_with_the_way_out() -> None:
    loop = InnerLoop(FixedRate(0.1), steps=1)
    with torch.inference_mode(), pytest.raises(ConfigError, match=r"Use torch.no_grad\(\)"):
        loop.run({"w": torch.ones(2)}, lambda p, _: p["w"].sum())


def test_frozen_parameters_may_be_adapted() -> None:
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    out = InnerLoop(FixedRate(0.5), steps=1).run({"w": frozen}, lambda p, _: p["w"].square().sum())
    torch.testing.assert_close(out["w"], torch.zeros(2))
