import pytest
import torch

from quickstudy.algorithms import imaml
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Classes, Episode, Examples, Reals
from quickstudy.encoders import MLP, Conv4
from quickstudy.inner.implicit import ImplicitLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.objectives import QueryLoss
from quickstudy.testing import toy_episode


def double(e: Episode) -> Episode:
    y = [s.y.double() if s.y.is_floating_point() else s.y for s in (e.support, e.query)]
    return Episode(
        Examples(e.support.x.double() / 3, y[0]), Examples(e.query.x.double() / 3, y[1]), e.target
    )


def slope(learner, e, p, direction, width=1e-6):
    home, losses = p.detach().clone(), []
    for sign in (1, -1):
        with torch.no_grad():
            p.copy_(home + sign * width * direction)
            losses.append(float(QueryLoss()(learner, e)))
    with torch.no_grad():
        p.copy_(home)
    return (losses[0] - losses[1]) / (2 * width)


@pytest.mark.parametrize(
    ("case", "n_tasks"),
    [("mlp", 1), ("mlp", 3), ("mlp-numbers", 1), ("mlp-numbers", 3), ("images", 2)],
)
def test_where_the_loop_has_converged_the_gradient_equals_finite_differences(case, n_tasks):
    torch.manual_seed(0)
    target = Reals(2) if case == "mlp-numbers" else Classes(4)
    encoder = Conv4(size=16, width=4, norm="support") if case == "images" else MLP(6, widths=(7,))
    # Held so near to the start that no ReLU turns over on the way, where there is no derivative;
    # the Hessian still counts. Each step leaves .2 of the way, so 18 leave 1e-12.
    strength = 2000.0 if case == "images" else 50.0
    options = {"inner_lr": 0.8 / strength, "inner_steps": 18, "strength": strength, "cg_steps": 10}
    learner = imaml(encoder, n_out=target.width, **options).double().train()
    shape = (1, 16, 16) if case == "images" else (6,)
    e = double(toy_episode(n_tasks=n_tasks, shape=shape, target=target))
    named = [(n, p) for n, p in learner.named_parameters() if p.requires_grad]
    gradients = torch.autograd.grad(QueryLoss()(learner, e), [p for _, p in named])
    for (name, p), g in zip(named, gradients, strict=True):
        direction = torch.randn_like(p)
        measured = slope(learner, e, p, direction / direction.norm())
        promised = float((g * direction).sum() / direction.norm())
        assert promised == pytest.approx(measured, rel=1e-4, abs=1e-8), name
    assert isinstance(learner.loop, ImplicitLoop)
    learner.loop.cg_steps = 1
    rough = torch.autograd.grad(QueryLoss()(learner, e), [p for _, p in named])
    assert (rough[0] - gradients[0]).norm() > 1e-4 * gradients[0].norm()


def test_on_a_quadratic_the_derivative_is_known():
    # L = ½ c (φ − m)²: φ* = (c m + λ θ) / (c + λ), dφ*/dθ = λ / (c + λ), dφ*/dm = c / (c + λ).
    c, strength = 3.0, 2.0
    theta = torch.tensor([5.0, -1.0], dtype=torch.float64, requires_grad=True)
    middle = torch.tensor([2.0, 0.5], dtype=torch.float64, requires_grad=True)
    loop = ImplicitLoop(FixedRate(0.1), steps=200, strength=strength, cg_steps=3)
    end = loop.run(
        {"a": theta}, lambda p, _: 0.5 * c * (p["a"] - middle).square().sum(), given=[middle]
    )["a"]
    torch.testing.assert_close(end, (c * middle + strength * theta) / (c + strength))
    g_theta, g_middle = torch.autograd.grad(end.sum(), (theta, middle))
    torch.testing.assert_close(g_theta, torch.full_like(theta, strength / (c + strength)))
    torch.testing.assert_close(g_middle, torch.full_like(theta, c / (c + strength)))


def test_an_inner_loop_that_has_not_converged_is_said_with_both_numbers_once():
    e = toy_episode()
    learner = imaml(MLP(6), n_out=4, tolerance=0.001).train()
    message = r"after 32 steps the residual is 0\.\d+, 0\.001 was asked"
    with pytest.warns(UserWarning, match=message):
        QueryLoss()(learner, e).backward()
    # pytest makes every further warning an error
    QueryLoss()(learner, e).backward()
    QueryLoss()(imaml(MLP(6), n_out=4).train(), e).backward()


def test_a_point_that_is_no_minimum_is_said_and_damping_cures_it():
    # L = −c φ²/2 with c = 3 and λ = 2: I + H/λ = −1/2; with damping 7 it is 1 − 3/9.
    def outer(damping):
        theta = torch.ones(1, dtype=torch.float64, requires_grad=True)
        rule = FixedRate(0.1)
        loop = ImplicitLoop(rule, steps=0, strength=2.0, damping=damping, tolerance=1.1)
        end = loop.run({"a": theta}, lambda p, _: -1.5 * p["a"].square().sum())["a"]
        return torch.autograd.grad(end.sum(), theta)[0].item()

    with pytest.warns(UserWarning, match=r"curvature of -0\.5, above 0 is needed"):
        assert outer(0.0) == pytest.approx(-2.0)
    assert outer(7.0) == pytest.approx(1.5)


def test_the_graph_does_not_grow_with_the_steps():
    def nodes(steps):
        todo = [QueryLoss()(imaml(MLP(6), n_out=4, inner_steps=steps), toy_episode()).grad_fn]
        seen = set()
        while todo:
            if (node := todo.pop()) is not None and node not in seen:
                seen.add(node)
                todo += [following for following, _ in node.next_functions]
        return len(seen)

    assert nodes(2) == nodes(20)


def test_a_dependence_that_is_not_given_is_refused():
    lost = torch.ones(1, requires_grad=True)
    loop = ImplicitLoop(FixedRate(0.1), steps=2, strength=1.0)
    with pytest.raises(ConfigError, match="would be lost"):
        loop.run(
            {"a": torch.ones(1, requires_grad=True)}, lambda p, _: (p["a"] * lost).square().sum()
        )


def test_nonsense_of_the_damping_is_refused():
    with pytest.raises(ConfigError, match="damping and shift cannot be negative"):
        ImplicitLoop(FixedRate(0.1), steps=1, strength=1.0, damping=-1.0)


@pytest.mark.parametrize("options", [{"strength": 0.0}, {"strength": 1.0, "cg_steps": 0}])
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match="strength must be above 0 and cg_steps at least 1"):
        ImplicitLoop(FixedRate(0.1), steps=1, **options)
