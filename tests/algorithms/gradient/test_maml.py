import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import fomaml, maml
from quickstudy.core.types import Classes, Episode, Examples, Reals
from quickstudy.encoders import MLP, Conv4, Wrapped
from quickstudy.encoders.norm import EPS
from quickstudy.testing import toy_episode

RATE = 0.2


def double(e):
    y = [s.y.double() if s.y.is_floating_point() else s.y for s in (e.support, e.query)]
    return Episode(
        Examples(e.support.x.double() / 3, y[0]), Examples(e.query.x.double() / 3, y[1]), e.target
    )


def images(**options):
    return double(toy_episode(shape=(1, 16, 16), **options))


# --- the oracle: the paper's algorithm 2 with explicit lists of parameters, a task at a time, in
# plain torch


def conv4_forward(fast, slow, x):
    """``fast``: convolutions, head weight, head bias. ``slow``: the normalisation's scales (maybe)
    and biases.
    """
    *convolutions, weight, bias = fast
    scales, shifts = (slow[::2], slow[1::2]) if len(slow) == 8 else ([None] * 4, slow)
    for conv, scale, shift in zip(convolutions, scales, shifts, strict=True):
        x = F.batch_norm(
            F.conv2d(x, conv, padding=1), None, None, scale, shift, training=True, eps=EPS
        )
        x = F.max_pool2d(F.relu(x), 2)
    return F.linear(x.flatten(1), weight, bias)


def mlp_forward(fast, slow, x):
    *layers, weight, bias = fast
    for w, b in zip(layers[::2], layers[1::2], strict=True):
        x = F.relu(F.linear(x, w, b))
    return F.linear(x, weight, bias)


def slow_maml(forward, fast, slow, e, *, steps, first_order, rate=RATE):
    """The mean query loss over tasks, and its gradient by ``fast`` and ``slow``."""
    loss_of = F.cross_entropy if isinstance(e.target, Classes) else F.mse_loss
    total, sums = 0.0, [torch.zeros_like(p) for p in (*fast, *slow)]
    for t in range(e.n_tasks):
        now = list(fast)
        for _ in range(steps):
            if first_order:
                now = [p.detach().requires_grad_() for p in now]
            gradients = torch.autograd.grad(
                loss_of(forward(now, slow, e.support.x[t]), e.support.y[t]),
                now,
                create_graph=not first_order,
            )
            now = [p - rate * g for p, g in zip(now, gradients, strict=True)]
        if first_order:
            now = [p.detach().requires_grad_() for p in now]
        loss = loss_of(forward(now, slow, e.query.x[t]), e.query.y[t])
        # First order: the gradient at the adapted parameters, taken for the one at the start.
        gradients = torch.autograd.grad(loss, [*(now if first_order else fast), *slow])
        total += loss.item() / e.n_tasks
        sums = [s + g / e.n_tasks for s, g in zip(sums, gradients, strict=True)]
    return total, sums


def parts(learner):
    named = dict(learner.named_parameters())
    return [named[n] for n in learner.fast_names], [
        p for n, p in named.items() if n not in learner.fast_names
    ]


def check(learner, forward, e, *, steps, first_order):
    fast, slow = parts(learner)
    loss = e.target.loss(learner(e), e.query.y).mean()
    ours = torch.autograd.grad(loss, [*fast, *slow])
    expected_loss, theirs = slow_maml(forward, fast, slow, e, steps=steps, first_order=first_order)
    assert loss.item() == pytest.approx(expected_loss, rel=1e-12)
    for a, b in zip(ours, theirs, strict=True):
        assert b.norm() > 0
        assert (a - b).norm() <= 1e-10 * b.norm()


def randomised(learner):
    """Normalisation scales and biases away from one and zero, so that a mistake with them shows."""
    with torch.no_grad():
        for name, p in learner.named_parameters():
            if ".norm." in name:
                p.add_(0.3 * torch.randn_like(p))
    return learner.double()


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("norm_scale", [True, False])
def test_conv4_with_batch_norm(norm_scale, steps, first_order):
    encoder = Conv4(size=16, width=6, norm="batch", norm_scale=norm_scale)
    learner = randomised(
        maml(encoder, n_out=4, inner_lr=RATE, inner_steps=steps, first_order=first_order)
    )
    check(learner, conv4_forward, images(), steps=steps, first_order=first_order)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("target", [Classes(4), Reals(2)], ids=str)
def test_mlp(target, steps, first_order):
    learner = maml(
        MLP(6, widths=(10, 8)),
        n_out=target.width,
        inner_lr=RATE,
        inner_steps=steps,
        first_order=first_order,
    ).double()
    check(
        learner,
        mlp_forward,
        double(toy_episode(target=target)),
        steps=steps,
        first_order=first_order,
    )


def test_an_encoder_that_cannot_stack_goes_through_the_tasks_one_by_one():
    net = torch.nn.Sequential(
        torch.nn.Linear(6, 10), torch.nn.ReLU(), torch.nn.Linear(10, 8), torch.nn.ReLU()
    )
    learner = maml(Wrapped(net, out_dim=8), n_out=4, inner_lr=RATE, inner_steps=2).double()
    assert not learner.encoder.stacks
    check(learner, mlp_forward, double(toy_episode()), steps=2, first_order=False)


def test_one_task_equals_the_same_task_among_others():
    learner = randomised(maml(Conv4(size=16, width=6, norm="batch"), n_out=4, inner_lr=RATE))
    e = images()
    whole = learner(e)
    for t in range(3):
        torch.testing.assert_close(learner(e.task(t)), whole[t : t + 1], rtol=1e-9, atol=1e-9)


def test_fomaml_is_maml_at_first_order():
    torch.manual_seed(1)
    a = fomaml(MLP(6), n_out=4, inner_lr=RATE, inner_steps=2)
    torch.manual_seed(1)
    b = maml(MLP(6), n_out=4, inner_lr=RATE, inner_steps=2, first_order=True)
    e = toy_episode()
    assert torch.equal(a(e), b(e))
    assert not a.traits.exact_gradient
    assert not b.traits.exact_gradient
    assert maml(MLP(6), n_out=4).traits.exact_gradient


def test_first_order_adapts_to_the_same_weights_and_has_another_gradient():
    learners = []
    for first_order in (False, True):
        torch.manual_seed(1)
        learners.append(
            maml(MLP(6), n_out=4, inner_lr=RATE, inner_steps=3, first_order=first_order).double()
        )
    e = double(toy_episode())
    outs = [learner(e) for learner in learners]
    assert torch.equal(*outs)
    gradients = [
        torch.autograd.grad(out.square().sum(), list(learner.parameters()))
        for out, learner in zip(outs, learners, strict=True)
    ]
    assert not torch.allclose(gradients[0][0], gradients[1][0])


def test_without_gradients_the_answer_is_the_same():
    learner = maml(Conv4(size=16, width=6, norm="support"), n_out=4, inner_lr=RATE).double()
    e = images()
    with torch.no_grad():
        silent = learner(e)
    torch.testing.assert_close(learner(e), silent, rtol=1e-9, atol=1e-9)
    assert not silent.requires_grad


# --- the three traps of the published code (methods, section 1.5)


def test_trap_1_a_published_rate_is_for_the_sum_divided_by_the_shots():
    n_way, n_shot, published = 5, 2, 0.4
    e = double(toy_episode(n_way=n_way, n_shot=n_shot, target=Classes(n_way)))
    learner = maml(
        MLP(6, widths=(10, 8)), n_out=n_way, inner_lr=published * n_way, inner_steps=1
    ).double()
    out = learner(e)
    fast, _ = parts(learner)
    for t in range(e.n_tasks):
        loss = (
            F.cross_entropy(mlp_forward(fast, [], e.support.x[t]), e.support.y[t], reduction="sum")
            / n_shot
        )
        now = [
            p - published * g for p, g in zip(fast, torch.autograd.grad(loss, fast), strict=True)
        ]
        torch.testing.assert_close(
            out[t], mlp_forward(now, [], e.query.x[t]), rtol=1e-10, atol=1e-10
        )


def test_trap_2_the_normalisations_own_weights_are_not_adapted():
    learner = maml(Conv4(size=16, width=6, norm="batch"), n_out=4)
    assert learner.fast_names == (
        *(f"encoder.blocks.{i}.conv.weight" for i in range(4)),
        "head.weight",
        "head.bias",
    )
    assert {n for n, _ in learner.named_parameters()} - set(learner.fast_names) == {
        f"encoder.blocks.{i}.norm.{w}" for i in range(4) for w in ("weight", "bias")
    }
    fast, _ = learner.adapt(toy_episode(shape=(1, 16, 16)).support, Classes(4))
    assert not any("norm" in name for name in fast)


def test_trap_2_without_a_scale_there_is_no_gamma():
    learner = maml(Conv4(size=16, width=6, norm="batch", norm_scale=False), n_out=4)
    assert [n for n, _ in learner.named_parameters() if "norm" in n] == [
        f"encoder.blocks.{i}.norm.bias" for i in range(4)
    ]


def one_query(e, i):
    return Episode(e.support, Examples(e.query.x[:, i : i + 1], e.query.y[:, i : i + 1]), e.target)


def test_trap_3_batch_statistics_make_the_answers_depend_on_the_other_queries():
    learner = maml(Conv4(size=16, width=6, norm="batch"), n_out=4, inner_lr=RATE).double()
    e = images()
    assert learner.traits.transductive
    assert not torch.allclose(learner(e)[:, :1], learner(one_query(e, 0)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("norm", ["support", "group", "none"])
def test_trap_3_other_policies_answer_each_query_by_itself(norm):
    learner = maml(
        Conv4(size=16, width=6, norm=norm), n_out=4, inner_lr=0.05, inner_steps=2
    ).double()
    e = images()
    assert not learner.traits.transductive
    whole = learner(e)
    for i in (0, 5, 11):
        torch.testing.assert_close(
            learner(one_query(e, i)), whole[:, i : i + 1], rtol=1e-9, atol=1e-9
        )


def test_support_statistics_are_those_of_the_adapted_body():
    learner = randomised(
        maml(Conv4(size=16, width=6, norm="support"), n_out=4, inner_lr=RATE, inner_steps=2)
    )
    e = images(n_tasks=1)
    out = learner(e)[0]
    fast, slow = parts(learner)
    now = list(fast)
    for _ in range(2):
        gradients = torch.autograd.grad(
            F.cross_entropy(conv4_forward(now, slow, e.support.x[0]), e.support.y[0]),
            now,
            create_graph=True,
        )
        now = [p - RATE * g for p, g in zip(now, gradients, strict=True)]
    s, q = e.support.x[0], e.query.x[0]
    for conv, scale, shift in zip(now[:4], slow[::2], slow[1::2], strict=True):
        s, q = F.conv2d(s, conv, padding=1), F.conv2d(q, conv, padding=1)
        mean, var = s.mean((0, 2, 3), keepdim=True), s.var((0, 2, 3), correction=0, keepdim=True)
        s, q = (
            F.max_pool2d(
                F.relu(
                    (z - mean) / (var + EPS).sqrt() * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
                ),
                2,
            )
            for z in (s, q)
        )
    torch.testing.assert_close(out, F.linear(q.flatten(1), now[4], now[5]), rtol=1e-9, atol=1e-9)
