import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.core.errors import EpisodeError
from quickstudy.core.setting import Setting
from quickstudy.core.types import Classes
from quickstudy.data.class_index import ClassDataset, ClassIndex
from quickstudy.data.episodes import Episodes, VariableEpisodes, shots_of


def dataset(counts=(10,) * 8, *, name="toy", split="toy/all", order_seed=None):
    """An example is the number of its row."""
    y = np.repeat(np.arange(len(counts)), counts)
    if order_seed is not None:
        y = np.random.default_rng(order_seed).permutation(y)
    return ClassDataset(
        name,
        split,
        torch.arange(len(y), dtype=torch.float32)[:, None],
        ClassIndex(y, [f"class {c}" for c in range(len(counts))]),
    )


def episodes(n_way=3, n_shot=2, n_query=4, *, seed=0, data=None):
    return Episodes(data or dataset(), Setting(n_way, n_shot, n_query), seed=seed)


def content(e, t):
    """Everything of task ``t``, to compare."""
    rows = [s.x[t, :, 0].long().tolist() for s in (e.support, e.query)]
    return *rows, e.support.y[t].tolist(), e.query.y[t].tolist()


def alone(tasks, i):
    return content(tasks.batch([i]), 0)


UNEVEN = dataset((7, 12, 6, 30, 9, 6, 8), order_seed=3)
NUMBERS = st.lists(st.integers(0, 10**6), min_size=1, max_size=6)


# --- the law: task i depends on (data set, split, seed, i) alone


@given(NUMBERS, st.randoms(use_true_random=False), st.integers(0, 3))
@settings(deadline=None, max_examples=25)
def test_a_task_is_the_same_in_whatever_batch_and_order(numbers, shuffler, seed):
    tasks = episodes(seed=seed, data=UNEVEN)
    expected = {i: alone(episodes(seed=seed, data=UNEVEN), i) for i in numbers}
    batch = tasks.batch(numbers)
    assert [content(batch, t) for t in range(len(numbers))] == [expected[i] for i in numbers]
    mixed = list(numbers)
    shuffler.shuffle(mixed)
    for size in (1, 2, len(mixed)):
        drawn = [content(e, t) for e in tasks.batches(mixed, size) for t in range(e.n_tasks)]
        assert drawn == [expected[i] for i in mixed]


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=30)
def test_another_number_seed_split_data_set_or_content_is_another_task(i):
    drawn = [
        alone(tasks, j)
        for tasks, j in (
            (episodes(), i),
            (episodes(), i + 1),
            (episodes(seed=1), i),
            (episodes(data=dataset(name="other")), i),
            (episodes(data=dataset(split="toy/other")), i),
            (episodes(data=dataset((10,) * 7 + (11,))), i),
        )
    ]
    assert len({repr(one) for one in drawn}) == len(drawn)


def test_more_queries_or_ways_go_on_where_fewer_left_off():
    small, large = episodes(3, 2, 4), episodes(4, 2, 6)
    for i in range(5):
        e, more = small.batch([i]), large.batch([i])
        for c in range(3):
            of = [
                {int(r) for s in (x.support, x.query) for r in s.x[0, s.y[0] == c, 0]}
                for x in (e, more)
            ]
            assert of[0] < of[1]


def test_the_stream_has_no_end_and_rarely_repeats():
    tasks = episodes()
    assert len({repr(alone(tasks, i)) for i in (0, 1, 2**31, 2**40, 10**18)}) == 5
    assert len({repr(alone(tasks, i)) for i in range(200)}) == 200


# Frozen: a change here changes every published number.


def test_tasks_never_change():
    batch = episodes(3, 2, 2, seed=7).batch([0, 12345])
    assert content(batch, 0) == (
        [25, 69, 8, 27, 1, 60],
        [4, 23, 2, 68, 22, 67],
        [1, 2, 0, 1, 0, 2],
        [0, 1, 0, 2, 1, 2],
    )
    assert content(batch, 1) == (
        [26, 57, 49, 43, 53, 27],
        [59, 58, 45, 40, 21, 24],
        [1, 0, 2, 2, 0, 1],
        [0, 0, 2, 2, 1, 1],
    )
    assert content(episodes(2, 1, 1, data=UNEVEN).batch([3]), 0) == (
        [47, 55],
        [46, 67],
        [0, 1],
        [0, 1],
    )


# --- what a task is


@given(st.integers(1, 7), st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6))
@settings(deadline=None, max_examples=50)
def test_classes_are_distinct_labels_balanced_and_no_example_comes_twice(n_way, n_shot, n_query, i):
    e = episodes(n_way, n_shot, n_query, data=UNEVEN).batch([i, i + 1])
    label_of = UNEVEN.index.labels
    assert e.target == Classes(n_way)
    assert e.support.x.shape == (2, n_way * n_shot, 1)
    assert e.query.x.shape == (2, n_way * n_query, 1)
    assert e.support.mask is None
    for t in range(2):
        support, query, y_support, y_query = content(e, t)
        assert len(set(support + query)) == n_way * (n_shot + n_query)
        assert np.bincount(y_support).tolist() == [n_shot] * n_way
        assert np.bincount(y_query).tolist() == [n_query] * n_way
        true = dict(zip(y_support, label_of[support], strict=True))
        assert len(set(true.values())) == n_way
        assert [true[y] for y in y_query] == label_of[query].tolist()
        assert [true[y] for y in y_support] == label_of[support].tolist()


def test_classes_and_their_numbers_and_examples_are_random_over_tasks():
    tasks, n = episodes(3, 1, 2), 3000
    e = tasks.batch(range(n))
    classes = e.support.x[..., 0].long() // 10
    # [T C]: the class with each label
    at = torch.stack([classes.gather(1, e.support.y.argsort(1))[:, label] for label in range(3)], 1)
    for label in range(3):
        seen = torch.bincount(at[:, label], minlength=8)
        assert (
            (seen - n / 8) ** 2 / (n / 8)
        ).sum() < 29  # χ² with 7 degrees of freedom, p = 0.0001
    examples = torch.bincount(e.support.x.long().flatten() % 10, minlength=10)
    assert ((examples - 3 * n / 10) ** 2 / (3 * n / 10)).sum() < 34  # 9 degrees of freedom
    first = torch.bincount(e.query.y[:, 0], minlength=3)
    assert (
        (first - n / 3) ** 2 / (n / 3)
    ).sum() < 19  # 2 degrees of freedom: the order of the queries says nothing of their labels


def test_every_example_of_an_uneven_class_has_the_same_chance():
    e = episodes(7, 1, 1, data=UNEVEN).batch(range(2000))
    rows = torch.bincount(e.support.x.long().flatten(), minlength=len(UNEVEN.x))
    for c in range(7):
        of = rows[torch.from_numpy(UNEVEN.index.rows_of(c))].double()
        assert ((of - of.mean()) ** 2 / of.mean()).sum() < 3 * len(of) + 15


def test_what_is_printed_with_results():
    tasks, data = episodes(seed=5), dataset()
    assert (tasks.data, tasks.split, tasks.split_hash, tasks.seed) == (
        "toy",
        "toy/all",
        data.split_hash,
        5,
    )
    assert tasks.setting == Setting(3, 2, 4)
    assert tasks.uniform


def test_moving_keeps_the_stream():
    moved = episodes(seed=3).to("cpu")
    assert alone(moved, 4) == alone(episodes(seed=3), 4)
    assert moved.dataset.x.device.type == "cpu"


# --- what cannot be drawn


def refused(make, *options, **named):
    with pytest.raises(EpisodeError) as caught:
        make(*options, **named)
    return str(caught.value)


def test_too_few_examples_as_in_the_design():
    data = dataset((30, 4, 30))
    data.index.names = ("tit", "wren", "robin")
    assert refused(episodes, 2, 5, 15, data=data) == (
        "class 'wren' has 4 examples but an episode needs n_shot + n_query = 5 + 15 = 20. "
        "Lower n_shot or n_query, or load the data with min_per_class=20."
    )


def test_exactly_enough_examples_are_enough():
    assert alone(episodes(8, 4, 6), 0)
    assert "= 4 + 7 = 11." in refused(episodes, 8, 4, 7)


def test_too_few_classes():
    assert (
        refused(episodes, 9)
        == "toy/toy/all has 8 classes but an episode needs n_way = 9. Lower n_way, or add classes."
    )


def test_no_way_at_all():
    assert refused(episodes, 0) == "toy holds classes, so n_way must be at least 1, got 0."


# --- variable episodes


LARGE = dataset(tuple(np.random.default_rng(0).integers(2, 400, 60)), order_seed=1)


@given(st.integers(0, 10**6), st.sampled_from([5, 8, 50]))
@settings(deadline=None, max_examples=60)
def test_variable_tasks_keep_to_meta_datasets_bounds(i, max_way):
    tasks = VariableEpisodes(LARGE, max_way=max_way)
    e = tasks.batch([i])
    support, query, y_support, y_query = content(e, 0)
    way = e.target.width
    assert 5 <= way <= max_way
    assert len(support) <= 500
    assert len(set(support + query)) == len(support + query)
    true = dict(zip(y_support, LARGE.index.labels[support], strict=True))
    assert len(true) == len(set(true.values())) == way
    assert [true[y] for y in y_query] == LARGE.index.labels[query].tolist()
    counts = LARGE.index.counts[[true[c] for c in range(way)]]
    n_query = min(10, counts.min() // 2)
    assert np.bincount(y_query).tolist() == [n_query] * way
    shots = np.bincount(y_support)
    assert (shots >= 1).all()
    assert (shots <= counts - n_query).all()


@pytest.mark.parametrize("counts", [(20,) * 12, (600,) * 6, (4, 6, 30, 9, 5, 40, 12)])
def test_the_bounds_of_variable_tasks_hold_and_are_near(counts):
    """A report names them: 20 drawings of a character are not "up to 100-shot"."""
    tasks = VariableEpisodes(dataset(counts), max_way=10)
    drawn = [tasks.batch([i]) for i in range(300)]
    shots = max(int(torch.bincount(e.support.y[0]).max()) for e in drawn)
    queries = max(int(torch.bincount(e.query.y[0]).max()) for e in drawn)
    assert tasks.setting.n_shot / 3 < shots <= tasks.setting.n_shot
    assert queries <= tasks.setting.n_query <= max(counts) // 2
    assert VariableEpisodes(dataset((20,) * 12)).setting.n_shot == 10


def test_variable_tasks_vary():
    tasks = VariableEpisodes(dataset((40,) * 20), max_way=12)
    drawn = [tasks.batch([i]) for i in range(200)]
    ways = np.bincount([e.target.width for e in drawn], minlength=13)
    assert (ways[5:] > 8).all()
    assert ways.sum() == ways[5:13].sum()
    sizes = [e.support.x.shape[1] / e.target.width for e in drawn]
    assert min(sizes) < 3
    assert max(sizes) > 25
    imbalance = [
        np.bincount(e.support.y[0]).max() / np.bincount(e.support.y[0]).min()
        for e in drawn
        if e.support.x.shape[1] > 100
    ]
    assert 1.5 < np.median(imbalance) < 4.5


@given(NUMBERS)
@settings(deadline=None, max_examples=10)
def test_a_variable_task_depends_on_its_number_alone(numbers):
    tasks = VariableEpisodes(LARGE, seed=2)
    assert not tasks.uniform
    drawn = [content(e, 0) for e in tasks.batches(numbers, 16)]
    assert drawn == [alone(VariableEpisodes(LARGE, seed=2), i) for i in numbers]
    assert alone(VariableEpisodes(LARGE, seed=3), numbers[0]) != drawn[0]
    assert alone(tasks.to("cpu"), numbers[0]) == drawn[0]


def test_variable_tasks_never_change():
    support, query, y_support, y_query = alone(
        VariableEpisodes(dataset((6,) * 6), max_way=5, seed=1), 9
    )
    assert (support, y_support) == ([1, 32, 7, 27, 2, 18, 33, 9], [2, 1, 3, 4, 2, 0, 1, 3])
    assert (query, y_query) == (
        [5, 21, 19, 4, 10, 8, 31, 30, 29, 3, 34, 6, 24, 22, 28],
        [2, 0, 0, 2, 3, 3, 1, 1, 4, 2, 1, 3, 4, 0, 4],
    )


def test_shots_by_hand():
    # q = min(10, 8 // 2) = 4, R = (4, 16, 196); β = ½: ⌈2⌉ + ⌈8⌉ + ⌈50⌉ = 60 examples.
    # All u = ½ give equal factors, so the shares are 8, 20, 200 of 228; ⌊share · (60 − 3)⌋ + 1 = (2
    # + 1, 5 + 1, 50 + 1), no more than R.
    shots, n_query = shots_of(np.array([8, 20, 200]), beta=0.5, u=np.full(3, 0.5))
    assert n_query == 4
    assert shots.tolist() == [3, 6, 51]


def test_shots_at_the_bounds():
    # β = 1 wants 5 · 100, capped at 500; shares are equal, ⌊(500 − 5) / 5⌋ + 1 = 100 of 990.
    assert shots_of(np.full(5, 1000), beta=1.0, u=np.zeros(5))[0].tolist() == [100] * 5
    # 10 · 100 = 1000 is capped at 500.
    shots, n_query = shots_of(np.full(10, 1000), beta=1.0, u=np.zeros(10))
    assert (shots.tolist(), n_query) == ([50] * 10, 10)
    # u from 0 to 1 spreads the shares from ½ to 2, one to four: ⌊0.2 · 198⌋ + 1 = 40, ⌊0.8 · 198⌋ +
    # 1 = 159.
    assert shots_of(np.full(2, 1000), beta=1.0, u=np.array([0.0, 1.0]))[0].tolist() == [40, 159]
    # As good as no support is still one example of each class, and of two examples one is a query.
    assert shots_of(np.array([2, 300]), beta=1e-9, u=np.array([0.0, 0.0]))[0].tolist() == [1, 1]
    assert shots_of(np.array([2, 2]), beta=1.0, u=np.array([0.0, 0.0])) == (
        pytest.approx([1, 1]),
        1,
    )


@given(
    st.lists(st.integers(2, 2000), min_size=5, max_size=50),
    st.floats(1e-6, 1),
    st.integers(0, 1000),
)
@settings(deadline=None)
def test_shots_keep_to_their_bounds(counts, beta, seed):
    counts = np.array(counts)
    shots, n_query = shots_of(counts, beta=beta, u=np.random.default_rng(seed).random(len(counts)))
    assert 1 <= n_query <= 10
    assert n_query <= counts.min() / 2
    assert (shots >= 1).all()
    assert (shots + n_query <= counts).all()
    assert shots.sum() <= 500


@pytest.mark.parametrize(
    ("counts", "max_way"), [((9,) * 4, 50), ((9,) * 5 + (1,), 50), ((9,) * 6, 4)]
)
def test_variable_tasks_need_five_classes_of_two(counts, max_way):
    message = refused(VariableEpisodes, dataset(counts), max_way=max_way)
    assert (
        f"has {len(counts)} classes, the smallest of {min(counts)}, and max_way is {max_way}"
        in message
    )


def test_variable_tasks_come_one_at_a_time():
    message = refused(VariableEpisodes(LARGE).batch, [1, 2])
    assert re.match(r"Tasks of varying way come one at a time, but 2 were asked for\.", message)
