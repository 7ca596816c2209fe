import pytest
import torch

from quickstudy.algorithms import maml_pp
from quickstudy.core.clock import set_clocks
from quickstudy.core.errors import ConfigError
from quickstudy.core.objective import MetaStep
from quickstudy.core.setting import Setting
from quickstudy.data import Sinusoid
from quickstudy.encoders import MLP
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import AbstractRule, Adam, FixedRate, Momentum
from quickstudy.objectives import QueryLoss
from quickstudy.training import Optimiser, Plan, train

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
    assert gradient.item() == pytest.approx(
        2 * end.item() * (1 - RATE * CURVATURE) ** steps, rel=1e-12
    )


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
    a, b = (
        torch.randn(*s, generator=g, dtype=torch.float64, requires_grad=True)
        for s in ((2, 3), (3, 2))
    )

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
            return {
                n: p - move.gradients[n] if n == "b" else p for n, p in move.params.items()
            }, memory

    params = {"a": torch.ones(2, requires_grad=True), "b": torch.ones(3, requires_grad=True)}
    end = InnerLoop(Watching(), steps=2).run(
        params, lambda p, _: p["a"].sum() + p["b"].square().sum() / 2
    )
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


# --- clipping


def test_clipping_keeps_small_gradients_and_bounds_large_ones():
    a = torch.tensor([5.0, 0.2, -5.0, 2.0], dtype=torch.float64, requires_grad=True)
    end = InnerLoop(FixedRate(RATE), steps=1, clip_value=0.5).run(
        {"a": a}, lambda p, _: 0.5 * p["a"].square().sum()
    )["a"]
    assert end.tolist() == pytest.approx([4.95, 0.18, -4.95, 1.95])
    (outer,) = torch.autograd.grad(end.sum(), a)  # where it was clipped the step is a constant
    assert outer.tolist() == pytest.approx([1.0, 0.9, 1.0, 1.0])


def test_clipping_comes_before_the_rule():
    seen = []

    class Watching(AbstractRule):
        def forward(self, move, memory):
            seen.append(move.gradients["a"].tolist())
            return dict(move.params), memory

    InnerLoop(Watching(), steps=1, clip_value=2.0).run(start(), quadratic)
    assert seen == [[2.0]]


@pytest.mark.parametrize("option", ["clip_value", "second_order_from", "window"])
def test_negative_options_are_refused(option):
    with pytest.raises(
        ConfigError,
        match=r"clip_value, second_order_from and window cannot be negative, got .*-1.*\. Use 0 "
        r"for none",
    ):
        InnerLoop(FixedRate(RATE), steps=1, **{option: -1})


# --- steps


def test_evaluation_may_take_other_steps_than_training():
    inner = InnerLoop(FixedRate(RATE), steps=2, test_steps=5)
    ends = [inner.train(mode).run(start(), quadratic)["a"].item() for mode in (True, False)]
    assert ends == pytest.approx([CENTRE + 3.0 * (1 - RATE * CURVATURE) ** n for n in (2, 5)])
    assert len(inner.eval().path(start(), quadratic)) == 6
    with pytest.raises(ConfigError, match="cannot be negative, got -3"):
        InnerLoop(FixedRate(RATE), steps=1, test_steps=-3)


# --- the path


@pytest.mark.parametrize(
    "options", [{}, {"first_order": True}, {"recompute": True}, {"clip_value": 0.5}], ids=str
)
@pytest.mark.parametrize(
    "rule", [FixedRate(RATE), Momentum(RATE), Adam(RATE)], ids=lambda r: type(r).__name__
)
def test_each_point_of_the_path_is_where_a_shorter_run_ends(rule, options):
    a, b = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((2, 3), (3, 2)))
    path = InnerLoop(rule, steps=4, **options).path({"a": a, "b": b}, bowl)
    assert len(path) == 5
    for n, point in enumerate(path):
        end = InnerLoop(rule, steps=n, **options).run({"a": a, "b": b}, bowl)
        slopes = [
            torch.autograd.grad(
                p["a"].cos().sum() * p["b"].square().sum(), (a, b), retain_graph=True
            )
            for p in (point, end)
        ]
        for one, other in zip(
            [*point.values(), *slopes[0]], [*end.values(), *slopes[1]], strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_path_without_gradients_has_no_graph():
    with torch.no_grad():
        path = loop(2).path(start(), quadratic)
    assert [p["a"].requires_grad for p in path] == [False] * 3


# --- steps that are computed again


class Heavy(AbstractRule):
    """Learns its rate and its friction, and remembers the velocity and the loss."""

    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
        self.friction = torch.nn.Parameter(torch.tensor(0.6, dtype=torch.float64))

    def begin(self, params):
        return (*(0.3 * p for p in params.values()), torch.zeros((), dtype=torch.float64))

    def forward(self, move, memory):
        *velocity, worst = memory
        now = [
            self.friction * v + g for v, g in zip(velocity, move.gradients.values(), strict=True)
        ]
        after = {
            n: p - self.rate * (1 + worst.tanh()) * v
            for (n, p), v in zip(move.params.items(), now, strict=True)
        }
        return after, (*now, torch.maximum(worst, move.losses.sum()))


def test_a_rule_with_memory_and_parameters_may_be_computed_again():
    a, b = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((2, 3), (3, 2)))
    scale = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    rule = Heavy()

    def outer(a, b, scale, *, recompute):
        inner = InnerLoop(rule, steps=4, recompute=recompute)
        end = inner.run({"a": a, "b": b}, lambda p, j: scale * bowl(p, j), given=[scale])
        return end["a"].cos().sum() * end["b"].square().sum()

    reached = (a, b, scale, *rule.parameters())
    kept, again = (
        torch.autograd.grad(outer(a, b, scale, recompute=r), reached) for r in (False, True)
    )
    for one, other in zip(kept, again, strict=True):
        assert one.norm() > 1e-4
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(
        lambda *x: outer(*x, recompute=True), (a, b, scale), eps=1e-6, atol=1e-7, rtol=1e-6
    )


def test_what_the_rule_remembers_goes_from_step_to_step_and_begins_anew():
    class Counting(AbstractRule):
        def begin(self, params):
            return (torch.zeros(1, dtype=torch.float64),)

        def forward(self, move, memory):
            return {n: p + memory[0] for n, p in move.params.items()}, (memory[0] + 1,)

    inner = InnerLoop(Counting(), steps=4)
    assert [inner.run(start(), quadratic)["a"].item() for _ in range(2)] == [5 + 0 + 1 + 2 + 3] * 2


# --- derivative-order annealing


@pytest.mark.parametrize(("done", "order"), [(0, 1), (6, 1), (7, 2), (1_000, 2)])
def test_the_second_order_begins_at_its_outer_step(done, order):
    inner = InnerLoop(FixedRate(RATE), steps=3, second_order_from=7)
    set_clocks(inner, done)
    params = start()
    end = inner.run(params, quadratic)["a"]
    (gradient,) = torch.autograd.grad(end.square().sum(), params["a"])
    shrunk = 1 if order == 1 else (1 - RATE * CURVATURE) ** 3
    assert gradient.item() == pytest.approx(2 * end.item() * shrunk, rel=1e-12)


def test_only_a_loop_that_changes_has_a_clock_and_it_promises_no_exact_gradient():
    assert [
        InnerLoop(FixedRate(RATE), steps=1, second_order_from=n).clock is None for n in (0, 5)
    ] == [True, False]
    assert [InnerLoop(FixedRate(RATE), steps=1, second_order_from=n).exact for n in (0, 5)] == [
        True,
        False,
    ]
    assert InnerLoop(FixedRate(RATE), steps=1, second_order_from=5, first_order=True).clock is None


def test_training_switches_at_the_right_outer_step():
    """Outer plain gradient descent by hand: two steps of first order, then two of second."""
    tasks, rate, n = Sinusoid().tasks("train", Setting(0, 5, 5)), 0.02, 4

    def fresh(first):
        torch.manual_seed(3)
        return maml_pp(
            MLP(1, widths=(8,)),
            n_out=1,
            inner_lr=0.02,
            inner_steps=2,
            learned_rates=False,
            second_order_from=first,
        )

    trained = fresh(2)
    plan = Plan(steps=n, tasks_per_step=2, chunk=2, validate_every=0)
    train(
        MetaStep(trained, QueryLoss()),
        tasks,
        plan=plan,
        optimiser=Optimiser(name="sgd", lr=rate, momentum=0.0),
    )

    def by_hand(first):
        learner = fresh(0)
        for s in range(n):
            learner.loop.first_order = s < first
            loss = QueryLoss()(learner, tasks.batch(range(2 * s, 2 * s + 2)))
            slopes = torch.autograd.grad(loss, list(learner.parameters()))
            with torch.no_grad():
                for p, g in zip(learner.parameters(), slopes, strict=True):
                    p.sub_(rate * g)
        return [p.detach() for p in learner.parameters()]

    def distance(first):
        return (
            sum(
                (p.detach() - q).square().sum()
                for p, q in zip(trained.parameters(), by_hand(first), strict=True)
            )
            .sqrt()
            .item()
        )

    assert distance(2) < 1e-6
    assert distance(1) > 1e-4
    assert distance(3) > 1e-4
