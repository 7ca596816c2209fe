import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.core.errors import ConfigError
from quickstudy.functional.coreset import greedy_coreset, nearest_distances

POINTS = st.tuples(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 4))


def points(seed: int, n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def radius(x: torch.Tensor, chosen: torch.Tensor) -> float:
    return float(torch.cdist(x, x[chosen]).min(1).values.max())


@given(POINTS)
def test_each_is_the_farthest_from_those_before(given: tuple[int, int, int]) -> None:
    x = points(*given)
    chosen = greedy_coreset(x, len(x), projection=0).tolist()
    assert sorted(chosen) == list(range(len(x)))
    for i in range(1, len(x)):
        gaps = [
            min(float((x[j] - x[c]).norm()) for c in chosen[:i]) if j not in chosen[:i] else -1.0
            for j in range(len(x))
        ]
        assert gaps[chosen[i]] == pytest.approx(max(gaps), abs=1e-5)


@given(POINTS)
def test_more_points_cover_better_and_begin_alike(given: tuple[int, int, int]) -> None:
    x = points(*given)
    sizes = [m for m in (1, 2, 5, len(x)) if m <= len(x)]
    made = [greedy_coreset(x, m) for m in sizes]
    covered = [radius(x, c) for c in made]
    assert covered == sorted(covered, reverse=True)
    assert covered[-1] < 1e-6
    assert all(torch.equal(made[-1][: len(c)], c) for c in made)


def test_a_projection_keeps_it_nearly_as_good_and_it_repeats() -> None:
    x = points(0, 200, 300)
    plain, short = greedy_coreset(x, 20, projection=0), greedy_coreset(x, 20, projection=64)
    assert radius(x, short) < 1.15 * radius(x, plain)
    assert torch.equal(short, greedy_coreset(x, 20, projection=64))
    with pytest.raises(
        ConfigError, match="A coreset of 200 points has 1 to 200 of them, got m=201"
    ):
        greedy_coreset(x, 201)


def test_nearest_distances_by_a_loop() -> None:
    q, memory = points(1, 12, 3), points(2, 9, 3)
    distance, found = nearest_distances(q, memory, k=2)
    for i in range(12):
        gaps = [float((q[i] - m).norm()) for m in memory]
        order = sorted(range(9), key=lambda j: gaps[j])[:2]
        assert found[i].tolist() == order
        assert distance[i].tolist() == pytest.approx([gaps[j] for j in order], abs=1e-6)


@given(POINTS, st.floats(-6, 6))
def test_equal_points_have_no_distance_and_others_do_not_matter(
    given: tuple[int, int, int], size: float
) -> None:
    memory = (points(*given) + 1).float() * 10**size
    distance, found = nearest_distances(memory, memory)
    assert distance.abs().max() == 0
    assert torch.equal(memory[found[:, 0]], memory)
    q = (points(given[0] + 1, 6, given[2]) + 1).float() * 10**size
    whole = nearest_distances(q, memory)[0]
    for i in range(6):
        assert torch.equal(nearest_distances(q[i : i + 1], memory)[0][0], whole[i])
        gaps = (q[i].double() - memory.double()).norm(dim=1)
        assert float(whole[i]) == pytest.approx(float(gaps.min()), rel=1e-6)
