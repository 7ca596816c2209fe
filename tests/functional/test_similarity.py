import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.core.errors import ConfigError
from quickstudy.functional.similarity import (
    SIMILARITIES,
    cosine,
    dot,
    negative_squared_euclidean,
    similarity_named,
)


def slow(name, q, r):
    """Numbers one by one, in Python."""
    out = torch.zeros(q.shape[0], q.shape[1], r.shape[1], dtype=torch.float64)
    for t in range(q.shape[0]):
        for i, a in enumerate(q[t].tolist()):
            for j, b in enumerate(r[t].tolist()):
                product = math.fsum(x * y for x, y in zip(a, b, strict=True))
                if name == "euclidean":
                    out[t, i, j] = -math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))
                elif name == "cosine":
                    out[t, i, j] = product / math.hypot(*a) / math.hypot(*b)
                else:
                    out[t, i, j] = product
    return out


SIZES = st.tuples(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(0, 2**32),
)


@given(
    SIZES, st.sampled_from(sorted(SIMILARITIES)), st.sampled_from([torch.float32, torch.float64])
)
@settings(deadline=None)
def test_a_slow_double_loop_agrees(sizes, name, dtype):
    t, n_queries, n_references, d, seed = sizes
    g = torch.Generator().manual_seed(seed)
    q, r = (
        torch.randn(t, n, d, generator=g, dtype=dtype) + 0.01 for n in (n_queries, n_references)
    )
    out = SIMILARITIES[name](q, r)
    assert out.dtype == dtype
    assert out.shape == (t, n_queries, n_references)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(
        out.double(),
        slow(name, q, r),
        rtol=tolerance,
        atol=tolerance * (1 + float(q.square().sum(-1).max())),
    )


@given(SIZES, st.floats(1e-4, 1e6))
@settings(deadline=None)
def test_cosines_lie_between_minus_one_and_one_whatever_the_lengths(sizes, scale):
    t, n_queries, n_references, d, seed = sizes
    g = torch.Generator().manual_seed(seed)
    q, r = (torch.randn(t, n, d, generator=g) * scale for n in (n_queries, n_references))
    out = cosine(q, r)
    assert out.abs().max() <= 1 + 1e-5
    torch.testing.assert_close(
        cosine(q, q).diagonal(dim1=1, dim2=2), torch.ones(t, n_queries), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(cosine(q * 7, r / 3), out, atol=1e-5, rtol=0)


@given(SIZES, st.floats(-1e3, 1e3))
@settings(deadline=None)
def test_distances_are_never_negative_and_the_point_itself_is_nearest(sizes, shift):
    t, n_queries, _, d, seed = sizes
    q = torch.randn(t, n_queries, d, generator=torch.Generator().manual_seed(seed)) + shift
    out = negative_squared_euclidean(q, q)
    assert (out <= 0).all()
    # The expanded square loses about 1e-7 of |q|².
    assert out.diagonal(dim1=1, dim2=2).abs().max() <= 2e-6 * (1 + q.square().sum(-1).max())


def test_by_hand():
    q, r = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]]])
    assert negative_squared_euclidean(q, r).tolist() == [[[0, -5, -16]]]
    assert cosine(q, r).tolist() == [[[1, 0, -1]]]
    assert dot(q, r).tolist() == [[[1, 0, -3]]]


def test_a_vector_of_zeros_is_similar_to_nothing():
    zero, r = torch.zeros(1, 1, 3, requires_grad=True), torch.randn(1, 4, 3)
    out = cosine(zero, r)
    assert (out == 0).all()
    out.sum().backward()
    assert zero.grad.isfinite().all()


def test_tasks_do_not_mix():
    q, r = torch.randn(3, 2, 4), torch.randn(3, 5, 4)
    for fn in SIMILARITIES.values():
        torch.testing.assert_close(
            fn(q, r), torch.cat([fn(q[t : t + 1], r[t : t + 1]) for t in range(3)])
        )


@pytest.mark.parametrize("name", sorted(SIMILARITIES))
def test_gradients(name):
    g = torch.Generator().manual_seed(0)
    q, r = (
        torch.randn(2, n, 3, generator=g, dtype=torch.float64, requires_grad=True) for n in (2, 3)
    )
    assert torch.autograd.gradcheck(SIMILARITIES[name], (q, r))


def test_names():
    assert similarity_named("euclidean") is negative_squared_euclidean
    with pytest.raises(
        ConfigError,
        match=r"No similarity is called 'cosin'\. Did you mean 'cosine'\? Known: cosine, dot, "
        r"euclidean\.",
    ):
        similarity_named("cosin")
