"""Triplets against slow double loops."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.functional.mining import batch_hard, random_triplets, semi_hard

BATCH = st.tuples(st.integers(0, 10**6), st.lists(st.integers(0, 3), min_size=2, max_size=9))


def made(seed: int, labels: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed))
    return torch.cdist(z, z), torch.tensor(labels)


@given(BATCH)
def test_batch_hard_is_the_farthest_positive_and_the_nearest_negative(
    batch: tuple[int, list[int]],
) -> None:
    d, y = made(*batch)
    expected = []
    for a in range(len(y)):
        positives = [i for i in range(len(y)) if i != a and y[i] == y[a]]
        negatives = [i for i in range(len(y)) if y[i] != y[a]]
        if positives and negatives:
            expected.append(
                (
                    a,
                    max(positives, key=lambda i: float(d[a, i])),
                    min(negatives, key=lambda i: float(d[a, i])),
                )
            )
    assert list(zip(*(t.tolist() for t in batch_hard(d, y)), strict=True)) == expected


@given(BATCH, st.floats(0.05, 2))
def test_semi_hard_is_the_nearest_negative_behind_the_positive_within_the_margin(
    batch: tuple[int, list[int]], margin: float
) -> None:
    d, y = made(*batch)
    expected = []
    for a in range(len(y)):
        for p in (i for i in range(len(y)) if i != a and y[i] == y[a]):
            between = [
                i for i in range(len(y)) if y[i] != y[a] and d[a, p] < d[a, i] < d[a, p] + margin
            ]
            if between:
                expected.append((a, p, min(between, key=lambda i: float(d[a, i]))))
    assert list(zip(*(t.tolist() for t in semi_hard(d, y, margin=margin)), strict=True)) == expected


@given(BATCH)
def test_random_triplets_take_every_pair_once_with_any_negative(
    batch: tuple[int, list[int]],
) -> None:
    _, y = made(*batch)
    a, p, n = random_triplets(y, generator=torch.Generator().manual_seed(batch[0]))
    pairs = [
        (i, j)
        for i in range(len(y))
        for j in range(len(y))
        if i != j and y[i] == y[j] and (y != y[i]).any()
    ]
    assert list(zip(a.tolist(), p.tolist(), strict=True)) == pairs
    assert (y[n] != y[a]).all()


def test_all_negatives_are_drawn_alike() -> None:
    y = torch.tensor([0, 0, 1, 1, 2])
    g = torch.Generator().manual_seed(0)
    drawn = torch.cat([random_triplets(y, generator=g)[2][:1] for _ in range(900)])
    assert torch.bincount(drawn, minlength=5)[:2].sum() == 0
    assert (torch.bincount(drawn, minlength=5)[2:] - 300).abs().max() < 60
