import copy

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from quickstudy.core.errors import ConfigError
from quickstudy.encoders.norm import EPS, MOMENTUM, NORMS, norm_named

SHAPE = (3, 5, 4, 6, 7)  # T N C H W


def maps(*shape, seed=0):
    """Feature maps whose tasks, channels and examples differ in level and spread."""
    shape = shape or SHAPE
    g = torch.Generator().manual_seed(seed)
    level, spread = (
        torch.randn(*shape[:3], 1, 1, generator=g, dtype=torch.float64) for _ in range(2)
    )
    return torch.randn(*shape, generator=g, dtype=torch.float64) * (1 + spread.abs()) + level


def norm_of(policy, *, channels=4, seed=1, **options):
    """A norm with weights that matter."""
    norm = norm_named(policy, channels, **options).double()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in norm.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64))
    return norm


def torch_batch_norm(x, weight, bias):
    """Torch's own, on the examples [N C H W] of one task."""
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=EPS)


def by_hand(x, mean, var, weight, bias):
    w, b = (0 if p is None else p for p in (weight, bias))
    w = 1 if weight is None else w.view(-1, 1, 1)
    return (x - mean.view(-1, 1, 1)) / (var.view(-1, 1, 1) + EPS).sqrt() * w + (
        0 if bias is None else b.view(-1, 1, 1)
    )


class ReadThenAnswer(torch.nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x, queries):
        y, statistics = self.norm.read(x)
        return y, self.norm(queries, statistics)


# --- batch


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("n_tasks", [1, 3])
def test_batch_is_torchs_batch_norm_task_by_task(n_tasks, scale, shift):
    norm, x = norm_of("batch", scale=scale, shift=shift), maps()[:n_tasks]
    out = norm(x)
    torch.testing.assert_close(
        out,
        torch.stack([torch_batch_norm(xt, norm.weight, norm.bias) for xt in x]),
        rtol=1e-12,
        atol=1e-12,
    )
    for t in range(n_tasks):
        hand = by_hand(
            x[t], x[t].mean((0, 2, 3)), x[t].var((0, 2, 3), correction=0), norm.weight, norm.bias
        )
        torch.testing.assert_close(out[t], hand, rtol=1e-10, atol=1e-10)


def test_batch_is_the_same_in_training_and_evaluation_and_remembers_nothing():
    norm, x = norm_of("batch"), maps()
    assert not list(norm.buffers())
    assert torch.equal(norm.train()(x), norm.eval()(x))


def test_batch_depends_on_the_other_examples_of_the_task_and_on_no_other_task():
    norm, x = norm_of("batch"), maps()
    other = x.clone()
    other[0, 1:] += 1
    assert not torch.allclose(norm(other)[0, 0], norm(x)[0, 0])
    torch.testing.assert_close(norm(other)[1:], norm(x)[1:])


# --- running


def test_running_is_torchs_own_in_training_and_evaluation():
    ours, theirs = norm_of("running"), torch.nn.BatchNorm2d(4, eps=EPS, momentum=MOMENTUM).double()
    theirs.weight.data, theirs.bias.data = ours.weight.data, ours.bias.data
    for step in range(3):
        x = maps(seed=step)
        torch.testing.assert_close(
            ours(x).flatten(0, 1), theirs(x.flatten(0, 1)), rtol=1e-12, atol=1e-12
        )
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(ours.norm, name), getattr(theirs, name))
    assert ours.norm.num_batches_tracked == 3
    ours.eval(), theirs.eval()
    before = copy.deepcopy(ours.state_dict())
    torch.testing.assert_close(
        ours(x).flatten(0, 1), theirs(x.flatten(0, 1)), rtol=1e-12, atol=1e-12
    )
    assert all(torch.equal(t, before[name]) for name, t in ours.state_dict().items())


def test_running_averages_move_by_the_momentum():
    norm, x = norm_of("running"), maps()
    norm(x)
    flat = x.flatten(0, 1)
    torch.testing.assert_close(norm.norm.running_mean, MOMENTUM * flat.mean((0, 2, 3)))
    torch.testing.assert_close(norm.norm.running_var, 1 - MOMENTUM + MOMENTUM * flat.var((0, 2, 3)))


def test_running_in_evaluation_looks_at_one_example_alone():
    norm, x = norm_of("running"), maps()
    norm(x)
    norm.eval()
    torch.testing.assert_close(norm(x)[1, 2], norm(x[1:2, 2:3])[0, 0])


# --- support


@pytest.mark.parametrize("scale", [True, False])
def test_support_normalises_the_queries_by_the_supports_statistics(scale):
    norm, support, queries = norm_of("support", scale=scale), maps(), maps(3, 2, 4, 6, 7, seed=9)
    _, statistics = norm.read(support)
    assert statistics.shape == (3, 2, 4)
    out = norm(queries, statistics)
    for t in range(3):
        mean, var = support[t].mean((0, 2, 3)), support[t].var((0, 2, 3), correction=0)
        torch.testing.assert_close(
            out[t], by_hand(queries[t], mean, var, norm.weight, norm.bias), rtol=1e-10, atol=1e-10
        )
    torch.testing.assert_close(out[:, :1], norm(queries[:, :1], statistics))


def test_support_reads_a_support_as_batch_norm_would():
    norm, x = norm_of("support"), maps()
    y, statistics = norm.read(x)
    torch.testing.assert_close(
        y,
        torch.stack([torch_batch_norm(xt, norm.weight, norm.bias) for xt in x]),
        rtol=1e-12,
        atol=1e-12,
    )
    torch.testing.assert_close(norm(x), y)
    torch.testing.assert_close(norm(x, statistics), y, rtol=1e-10, atol=1e-10)


def test_reading_a_support_twice_gives_the_same():
    norm, x = norm_of("support"), maps()
    (y1, s1), (y2, s2) = norm.read(x), norm.read(x)
    assert torch.equal(y1, y2)
    assert torch.equal(s1, s2)
    assert not list(norm.buffers())


# --- per_task


@pytest.mark.parametrize("n_tasks", [1, 3])
@pytest.mark.parametrize("scale", [True, False])
def test_per_task_in_training_is_batch(scale, n_tasks):
    norm, x = norm_of("per_task", scale=scale), maps()[:n_tasks]
    torch.testing.assert_close(norm(x), norm_of("batch", scale=scale)(x), rtol=1e-12, atol=1e-12)


def test_per_task_in_evaluation_normalises_by_its_averages_alone():
    norm = norm_of("per_task")
    expected = [torch.zeros(4).double(), torch.ones(4).double()]
    for seed in range(3):
        x = maps(seed=seed)
        norm(x)
        for task in x:
            expected = [
                (1 - MOMENTUM) * e + MOMENTUM * new
                for e, new in zip(expected, (_mean(task), _var(task)), strict=True)
            ]
    norm.eval()
    out = norm(x)
    for t in range(3):
        torch.testing.assert_close(
            out[t], by_hand(x[t], *expected, norm.weight, norm.bias), rtol=1e-10, atol=1e-10
        )
    for average, value in zip(
        (norm.mean, norm.var), expected, strict=True
    ):  # which evaluation leaves alone
        torch.testing.assert_close(average, value)


def test_per_task_takes_note_in_the_statistics_that_replace_its_own():
    norm, x = norm_of("per_task"), maps()
    replaced = {"mean": torch.zeros(4).double(), "var": torch.ones(4).double()}
    functional_call(norm, replaced, (x,))
    expected = torch.zeros(4).double()
    for task in x:
        expected = (1 - MOMENTUM) * expected + MOMENTUM * task.mean((0, 2, 3))
    torch.testing.assert_close(replaced["mean"], expected)
    assert not norm.mean.any()


def test_per_task_like_batch_refuses_a_single_pixel():
    for policy in ("batch", "per_task"):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            norm_of(policy)(maps(1, 1, 4, 1, 1))


def _mean(task):
    return task.mean((0, 2, 3))


def _var(task):
    return task.var((0, 2, 3))


# --- group, none


@pytest.mark.parametrize(("channels", "groups"), [(4, 4), (8, 8), (12, 4), (64, 8), (7, 1)])
def test_group_is_torchs_group_norm(channels, groups):
    norm, x = norm_of("group", channels=channels), maps(2, 3, channels, 5, 5)
    out = norm(x)
    torch.testing.assert_close(
        out.flatten(0, 1),
        F.group_norm(x.flatten(0, 1), groups, norm.weight, norm.bias, EPS),
        rtol=1e-10,
        atol=1e-10,
    )
    torch.testing.assert_close(out[1, 2], norm(x[1:, 2:])[0, 0])


def test_none_adds_the_bias_only():
    norm, x = norm_of("none"), maps()
    assert norm.weight is None
    assert torch.equal(norm(x), x + norm.bias.view(-1, 1, 1))
    assert torch.equal(norm_of("none", shift=False)(x), x)


# --- all


@pytest.mark.parametrize("policy", sorted(NORMS))
def test_what_others_than_support_read_is_nothing(policy):
    norm, x = norm_of(policy).eval(), maps()
    y, statistics = norm.read(x)
    assert (statistics is not None) == (policy == "support")
    torch.testing.assert_close(y, norm(x))


@pytest.mark.parametrize("policy", sorted(NORMS))
def test_tasks_do_not_mix(policy):
    norm, x = norm_of(policy).eval(), maps()
    torch.testing.assert_close(norm(x), torch.cat([norm(x[t : t + 1]) for t in range(3)]))


@pytest.mark.parametrize("policy", sorted(NORMS))
@pytest.mark.parametrize("training", [True, False])
def test_gradients_go_through(policy, training):
    norm = norm_of(policy, channels=2).train(training)
    names = [f"norm.{name}" for name, _ in norm.named_parameters()]
    x, queries = maps(2, 2, 2, 2, 2).requires_grad_(), maps(2, 1, 2, 2, 2, seed=3).requires_grad_()

    def fn(x, queries, *parameters):
        return functional_call(
            ReadThenAnswer(norm), dict(zip(names, parameters, strict=True)), (x, queries)
        )

    assert torch.autograd.gradcheck(fn, (x, queries, *norm.parameters()))


@pytest.mark.parametrize("policy", sorted(NORMS))
@pytest.mark.parametrize("training", [True, False])
def test_each_task_may_have_weights_of_its_own(policy, training):
    norm, x = norm_of(policy).train(training), maps()
    names = [name for name, _ in norm.named_parameters()]
    stacks = {name: torch.randn(3, 4, dtype=torch.float64) for name in names}
    twin = copy.deepcopy(norm)
    out = functional_call(norm, stacks, (x,))
    if policy == "running" and training:
        flat = F.batch_norm(x.flatten(0, 1), None, None, training=True, eps=EPS).view(x.shape)
        expected = (
            flat * stacks["weight"][:, None, :, None, None] + stacks["bias"][:, None, :, None, None]
        )
        assert norm.norm.num_batches_tracked == 1
    else:
        expected = torch.cat(
            [
                functional_call(twin, {name: s[t] for name, s in stacks.items()}, (x[t : t + 1],))
                for t in range(3)
            ]
        )
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)


def test_a_fresh_norm_neither_scales_nor_shifts():
    for policy in NORMS:
        norm = norm_named(policy, 4)
        assert (norm.bias == 0).all()
        assert norm.weight is None or (norm.weight == 1).all()
    assert norm_named("batch", 4, scale=False).weight is None


def test_unknown_policies_get_the_nearest_spelling():
    with pytest.raises(
        ConfigError, match=r"No normalisation policy is called 'suport'\. Did you mean 'support'\?"
    ):
        norm_named("suport", 4)
