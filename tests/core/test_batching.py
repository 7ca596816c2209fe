import threading

import pytest
import torch
from torch import nn

from quickstudy.algorithms import MatchingNet, ProtoNet, maml
from quickstudy.core.batching import kernel_threads, per_task, strategy_for, threads_per_operation
from quickstudy.core.errors import TrainingError
from quickstudy.core.objective import MetaStep
from quickstudy.core.workers import Workers
from quickstudy.encoders import MLP, Conv4, Wrapped
from quickstudy.kernels import backend
from quickstudy.objectives import QueryLoss
from quickstudy.testing import toy_episode


def gradient(step, piece):
    loss = step(piece)
    return loss.detach(), *torch.autograd.grad(
        loss, [p for p in step.parameters() if p.requires_grad]
    )


def pieces(shape=(6,), n=7):
    return [toy_episode(n_tasks=1, shape=shape, seed=i) for i in range(n)]


# --- Workers


@pytest.mark.parametrize("second_order", [True, False])
def test_gradients_are_the_same_to_the_bit_with_any_number_of_workers(second_order):
    learner = maml(
        Conv4(size=16, width=4, norm="batch"),
        n_out=4,
        inner_lr=0.1,
        inner_steps=2,
        first_order=not second_order,
    )
    step, work = MetaStep(learner, QueryLoss()), pieces((1, 16, 16))
    results = []
    for n in (1, 2, 3):
        with Workers(step, n) as workers:
            results.append(workers.map(gradient, work))
    for other in results[1:]:
        for ours, theirs in zip(results[0], other, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_workers_see_what_an_optimiser_did_to_the_parameters():
    step, work = MetaStep(ProtoNet(MLP(6, widths=(8,))), QueryLoss()), pieces(n=4)
    with Workers(step, 2) as workers:
        before = workers.map(gradient, work)
        with torch.no_grad():
            for p in step.parameters():
                p.mul_(0.5)
        after = workers.map(gradient, work)
    alone = [gradient(step, piece) for piece in work]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(after, alone, strict=True))
    assert not any(torch.equal(a[0], b[0]) for a, b in zip(after, before, strict=True))


def test_replicas_share_parameters_and_buffers():
    module = nn.Sequential(nn.Linear(2, 2), MatchingNet(MLP(2)))
    module.register_buffer("b", torch.zeros(3))
    with Workers(module, 3) as workers:
        tensors = workers.map(
            lambda replica, _: [*replica.parameters(), *replica.buffers()], range(3)
        )
        modules = workers.map(lambda replica, _: id(replica), range(3))
    for shared in tensors:
        assert [id(t) for t in shared] == [id(t) for t in (*module.parameters(), *module.buffers())]
    assert len(set(modules)) == 3


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_results_come_in_the_order_of_the_pieces(n):
    with Workers(nn.Linear(1, 1), n) as workers:
        for length in (0, 1, 2, 3, 4, 11):
            assert workers.map(lambda _, piece: piece**2, range(length)) == [
                i**2 for i in range(length)
            ]


def test_each_worker_has_its_own_thread_and_one_torch_thread():
    with Workers(nn.Linear(1, 1), 2) as workers:
        barrier = threading.Barrier(2, timeout=30)

        def where(_, __):
            barrier.wait()  # both threads are at work at the same time
            return threading.get_ident(), torch.get_num_threads()

        seen = workers.map(where, range(2))
    assert len({thread for thread, _ in seen}) == 2
    assert {n for _, n in seen} == {1}


def test_workers_keep_the_gradient_mode_of_who_asks():
    with Workers(nn.Linear(1, 1), 2) as workers:
        assert workers.map(lambda *_: torch.is_grad_enabled(), range(4)) == [True] * 4
        with torch.no_grad():
            assert workers.map(lambda *_: torch.is_grad_enabled(), range(4)) == [False] * 4


def test_an_error_in_a_worker_comes_out():
    def fail(_, piece):
        raise ValueError(f"piece {piece}")

    with Workers(nn.Linear(1, 1), 2) as workers, pytest.raises(ValueError, match="piece"):
        workers.map(fail, range(4))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (ProtoNet(Conv4(width=4)), "BatchNorm2d"),
        (ProtoNet(Wrapped(nn.Sequential(nn.Linear(6, 6), nn.Dropout()), out_dim=6)), "Dropout"),
        (
            nn.Sequential(nn.Conv2d(1, 1, 1), nn.InstanceNorm2d(1, track_running_stats=True)),
            "InstanceNorm2d",
        ),
    ],
)
def test_what_depends_on_the_order_of_threads_is_refused(module, name):
    with pytest.raises(TrainingError) as caught:
        Workers(module, 2)
    assert str(caught.value).startswith(f"2 workers cannot share {name}")
    assert "workers=1" in str(caught.value)
    with Workers(module, 1) as workers:
        assert workers.map(lambda m, _: m is module, [0]) == [True]


@pytest.mark.parametrize("norm", ["batch", "support", "group", "none"])
def test_other_normalisation_is_welcome(norm):
    with Workers(ProtoNet(Conv4(width=4, norm=norm)), 2):
        pass
    with Workers(
        nn.Sequential(nn.InstanceNorm2d(1), nn.BatchNorm2d(1, track_running_stats=False)), 2
    ):
        pass


# --- per_task


@pytest.mark.parametrize("n_tasks", [1, 3])
def test_per_task_hands_on_one_task_at_a_time(n_tasks):
    shapes = []

    def fn(weights, x):
        shapes.append((weights["w"].shape, x.shape))
        return {"y": torch.einsum("toi,tni->tno", weights["w"], x)}, x.sum((1, 2))

    w, x = torch.randn(n_tasks, 2, 3), torch.randn(n_tasks, 5, 3)
    out, total = per_task(fn, {"w": w}, x)
    assert shapes == [((1, 2, 3), (1, 5, 3))] * n_tasks
    torch.testing.assert_close(
        out["y"], torch.stack([xt @ wt.T for wt, xt in zip(w, x, strict=True)])
    )
    torch.testing.assert_close(total, x.sum((1, 2)))


def test_per_task_passes_on_trees_without_leaves():
    assert torch.equal(
        per_task(lambda context, x: x + len(context), (), torch.zeros(2, 3)), torch.zeros(2, 3)
    )
    assert per_task(lambda x: (), torch.zeros(2, 3)) == ()


def test_gradients_go_through_per_task():
    x = torch.randn(3, 4, requires_grad=True)
    per_task(lambda one: one.square().sum(1), x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, 2 * x.detach())


def test_a_small_step_takes_one_thread_and_gives_the_others_back() -> None:
    small, large = 4096, 4097
    chosen = {
        numel: strategy_for(nn.Linear(1, 1), torch.device("cpu"), n_tasks=1, task_numel=numel)
        for numel in (small, large)
    }
    assert (chosen[small].threads, chosen[large].threads) == (1, 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads_per_operation(chosen[large].threads):
            assert torch.get_num_threads() == 2
        with threads_per_operation(chosen[small].threads):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


class Watched(Conv4):
    """Notes the threads of an operation of torch and of a kernel."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.seen = set()

    def forward(self, x, context=()):
        self.seen.add((torch.get_num_threads(), kernel_threads()))
        return super().forward(x, context)


@pytest.mark.parametrize(
    ("norm", "width", "training", "fused"),
    [
        ("batch", 64, False, True),
        ("running", 64, True, True),
        ("running", 64, False, False),  # pools by torch
        ("support", 64, False, False),
        ("batch", 12, False, False),  # convolves by torch
    ],
)
def test_kernels_get_the_threads_where_they_do_the_work(norm, width, training, fused):
    pytest.importorskip("numba")
    encoder = Watched(width=width, norm=norm)
    learner = ProtoNet(encoder).train(training)
    episode = toy_episode(n_tasks=1, shape=(1, 28, 28))
    wanted = (1, 2) if fused else (2, 2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        learner(episode)
        assert encoder.seen == {wanted}
        chosen = strategy_for(learner, torch.device("cpu"), n_tasks=1, task_numel=30 * 784)
        with threads_per_operation(chosen.threads, chosen.kernels):
            assert (torch.get_num_threads(), kernel_threads()) == wanted
            with threads_per_operation(1):
                assert kernel_threads() == 1
        assert (torch.get_num_threads(), kernel_threads()) == (2, 2)
        with backend("torch"):  # as without numba: no kernels to give threads to
            encoder.seen.clear()
            learner(episode)
        assert encoder.seen == {(2, 2)}
    finally:
        torch.set_num_threads(before)
