import pytest
import torch

from quickstudy.core.errors import ConfigError, TargetError
from quickstudy.core.types import Classes, Examples, Reals
from quickstudy.inner.start import LinearHead, PrototypeHead, RepeatedHead


def support_of(n_tasks, n_way=3):
    y = torch.tensor([c for c in range(n_way) for _ in range(c + 1)])  # 1, 2, 3 … examples
    return Examples(torch.randn(n_tasks, len(y), 4), y.repeat(n_tasks, 1))


def test_zeros_make_every_class_equally_likely():
    head = LinearHead(4, 3, init="zeros")
    assert torch.equal(head(torch.randn(2, 4)), torch.zeros(2, 3))
    assert all(p.requires_grad for p in head.parameters())


def test_uniform_is_torchs_own_start_and_the_default():
    starts = []
    for make in (
        lambda: LinearHead(4, 3),
        lambda: LinearHead(4, 3, init="uniform"),
        lambda: torch.nn.Linear(4, 3),
    ):
        torch.manual_seed(0)
        starts.append(make())
    assert all(
        torch.equal(h.weight, starts[0].weight) and torch.equal(h.bias, starts[0].bias)
        for h in starts
    )
    assert starts[0].out_dim == 3


def test_another_start_is_refused():
    with pytest.raises(
        ConfigError,
        match=r"No start is called 'zero'\. Did you mean 'zeros'\? Known: uniform, zeros\.",
    ):
        LinearHead(4, 3, init="zero")


# --- what a task begins with


@pytest.mark.parametrize("target", [Classes(3), Reals(3)], ids=str)
def test_every_task_begins_with_the_learned_layer(target):
    head = LinearHead(4, 3)
    alone, together = head.begin(support_of(1), target), head.begin(support_of(5), target)
    assert alone["weight"] is head.weight
    assert alone["bias"] is head.bias
    assert {n: tuple(p.shape) for n, p in together.items()} == {"weight": (5, 3, 4), "bias": (5, 3)}
    assert all(torch.equal(p[4], alone[n]) for n, p in together.items())


def test_another_width_is_refused_with_the_ways_out():
    with pytest.raises(
        TargetError,
        match=r"head has 3 outputs but the task has 5\. .*train with n_out=5.*unicorn_maml",
    ):
        LinearHead(4, 3).begin(support_of(1), Classes(5))


@pytest.mark.parametrize("n_way", [2, 5])
def test_repeated_rows_are_equal_for_any_number_of_classes(n_way):
    head = RepeatedHead(4)
    alone, together = (head.begin(support_of(n, n_way), Classes(n_way)) for n in (1, 3))
    assert {n: tuple(p.shape) for n, p in alone.items()} == {"weight": (n_way, 4), "bias": (n_way,)}
    assert {n: tuple(p.shape) for n, p in together.items()} == {
        "weight": (3, n_way, 4),
        "bias": (3, n_way),
    }
    for start in (alone, together):
        assert all((p == p.flatten()[0]).all() for p in start.values())
        # rows of their own: each is adapted by itself
        assert all(p.is_contiguous() for p in start.values())


def test_repeated_rows_keep_the_type():
    start = RepeatedHead(4).double().begin(support_of(2), Classes(3))
    assert all(p.dtype == torch.float64 for p in start.values())


@pytest.mark.parametrize("n_tasks", [1, 2])
def test_prototypes_as_a_linear_layer_measure_the_distance(n_tasks):
    support, z, queries = support_of(n_tasks), torch.randn(n_tasks, 6, 4), torch.randn(7, 4)
    start = PrototypeHead().begin(support, Classes(3), z)
    for t in range(n_tasks):
        weight, bias = (p[t] if n_tasks > 1 else p for p in (start["weight"], start["bias"]))
        means = torch.stack([z[t][support.y[t] == c].mean(0) for c in range(3)])
        distances = torch.cdist(queries, means).square()
        scores = queries @ weight.T + bias
        torch.testing.assert_close(
            scores - scores[:, :1], distances[:, :1] - distances, rtol=1e-4, atol=1e-5
        )


def test_what_the_heads_promise():
    promises = {
        type(h): (h.class_equivariant, h.any_way, h.targets, h.reads)
        for h in (LinearHead(4, 3), RepeatedHead(4), PrototypeHead())
    }
    assert promises == {
        LinearHead: (False, False, {Classes, Reals}, False),
        RepeatedHead: (True, True, {Classes}, False),
        PrototypeHead: (True, True, {Classes}, True),
    }
