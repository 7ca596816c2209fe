import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.core.rng import generator, seed_everything, uniform, words

PARTS = st.one_of(st.text(max_size=8), st.integers(-(2**70), 2**70))
KEYS = st.lists(PARTS, min_size=1, max_size=5)


@given(KEYS, st.integers(0, 50), st.integers(0, 50))
@settings(deadline=None)
def test_a_longer_draw_starts_with_the_shorter_one(key, a, b):
    short, long = sorted((a, b))
    assert np.array_equal(words(long, *key)[:short], words(short, *key))
    assert np.array_equal(uniform(long, *key)[:short], uniform(short, *key))


@given(KEYS, KEYS)
@settings(deadline=None)
def test_another_key_is_another_stream(a, b):
    assert (a == b) == np.array_equal(words(4, *a), words(4, *b))


def test_how_a_key_is_cut_and_what_type_its_parts_have_matters():
    keys = [
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        ("1",),
        (1,),
        ("a", 1, 2),
        ("a", 12),
        ("a", 2, 1),
        ("a", "1", 2),
        ("('a', 1, 2)",),
    ]
    first = {int(words(1, *key)[0]) for key in keys}
    assert len(first) == len(keys)


def test_draws_are_words_and_numbers_below_one():
    assert words(5, "x").dtype == np.uint64
    u = uniform(20_000, "x")
    assert u.dtype == np.float64
    assert 0 <= u.min() < u.max() < 1


def test_streams_are_uniform():
    u = uniform(100_000, "uniform?")
    counts = np.bincount((u * 20).astype(int), minlength=20)
    assert ((counts - 5000) ** 2 / 5000).sum() < 43.8  # χ² with 19 degrees of freedom, p = 0.001
    assert abs(u.mean() - 0.5) < 0.004


def test_streams_of_neighbouring_keys_are_independent():
    u = np.stack([uniform(2000, "task", i) for i in range(60)])
    correlation = np.corrcoef(u) - np.eye(60)
    assert np.abs(correlation).max() < 0.1  # 1770 pairs of standard deviation 0.022
    assert abs(correlation.mean()) < 0.002


def test_numpy_integers_and_strings_name_the_same_stream_as_plain_ones():
    plain = words(3, "task", 7)
    assert np.array_equal(words(3, "task", np.int64(7)), plain)
    assert np.array_equal(words(3, np.str_("task"), np.uint8(7)), plain)
    assert np.array_equal(words(3, "task", torch.tensor(7)), plain)


def test_anything_else_is_no_key():
    with pytest.raises(TypeError):
        words(3, "task", 0.5)


# Frozen: a change here changes every task, split and initial weight of every published number.


def test_words_never_change():
    frozen = [17913750917547181234, 14735315404528067743, 14571292006950571989]
    assert [int(w) for w in words(3, "episodes", "omniglot", "test", 0, 0)] == frozen
    assert [int(w) for w in words(1, "ünicode", -1)] == [1332939647951881450]


def test_uniform_never_changes():
    assert uniform(2, "episodes", "omniglot", "test", 0, 0).tolist() == [
        0.9711063831084426,
        0.7988030486924225,
    ]


def test_generators_never_change():
    assert generator("augment", 0, 5, 2).initial_seed() == 3828936832928851036
    # raw words of torch's Mersenne twister, not its float sampling, which torch may change
    assert torch.randint(2**31, (3,), generator=generator("augment", 0, 5, 2)).tolist() == [
        1758850478,
        83276660,
        1647503737,
    ]


def test_a_generator_is_fresh_every_time_and_of_its_key_alone():
    a, b = generator("a", 1), generator("a", 1)
    assert torch.equal(torch.rand(5, generator=a), torch.rand(5, generator=b))
    assert not torch.equal(
        torch.rand(5, generator=generator("a", 2)), torch.rand(5, generator=generator("a", 1))
    )


def test_seed_everything_seeds_what_layers_use():
    def weight(*key):
        seed_everything(*key)
        return torch.nn.Linear(3, 3).weight

    assert torch.equal(weight("init", 3), weight("init", 3))
    assert not torch.equal(weight("init", 3), weight("init", 4))
    seed_everything("a", 1)
    assert torch.equal(torch.rand(5), torch.rand(5, generator=generator("a", 1)))


def test_drawing_leaves_the_global_generators_alone():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    words(9, "x"), uniform(9, "x"), torch.rand(9, generator=generator("x"))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
