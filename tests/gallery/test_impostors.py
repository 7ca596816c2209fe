import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.gallery.impostors import Impostors, ImpostorTracker, sample_rows
from quickstudy.gallery.index import ExactIndex
from quickstudy.gallery.vectors import NO_OWNER, VectorTable, unit

DIM = 4


def near(vectors: np.ndarray, own: np.ndarray, table: VectorTable) -> list[float]:
    """Of each impostor to the nearest identity that is not its own, by a double loop."""
    found = []
    for impostor, me in zip(vectors, own.tolist(), strict=True):
        others = [
            v
            for v, o in zip(table.vectors, table.owners.tolist(), strict=True)
            if o not in (NO_OWNER, me)
        ]
        found.append(
            max(
                (
                    float(
                        np.float32(
                            sum(float(a) * float(b) for a, b in zip(impostor, v, strict=True))
                        )
                    )
                    for v in others
                ),
                default=-np.inf,
            )
        )
    return sorted(found)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), cohort=st.booleans(), size=st.sampled_from([3, 1000]))
def test_following_equals_a_new_start(seed: int, cohort: bool, size: int) -> None:
    rng, table, tracker = np.random.default_rng(seed), VectorTable(DIM), ImpostorTracker(DIM)
    outside, number, touched = unit(rng.normal(size=(5, DIM)), DIM), 0, set[int]()
    for _ in range(15):
        identity = int(rng.integers(1, 7))
        touched.add(identity)
        if rng.random() < 0.35:
            table.remove(table.rows_of(np.asarray([identity])))
        else:
            n = int(rng.integers(1, 4))
            table.add(
                unit(rng.normal(size=(n, DIM)), DIM),
                np.full(n, identity),
                np.arange(number, number + n),
            )
            number += n
        if rng.random() < 0.3:
            continue  # several changes are followed at once
        if cohort:
            vectors, own, numbers = outside, np.full(5, NO_OWNER), np.arange(5)
        else:
            rows = np.flatnonzero(table.owners != NO_OWNER)
            rows = rows[sample_rows(table.owners[rows], table.ids[rows], size, 0)]
            vectors, own, numbers = table.vectors[rows], table.owners[rows], table.ids[rows]
        impostors = Impostors(vectors, own, numbers, own, "cohort")
        some = np.asarray(sorted(touched), np.int64)
        scores = tracker.follow(impostors, table, some, index=ExactIndex())
        touched.clear()
        assert sorted(scores.similarity.tolist()) == near(vectors, own, table)


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), each=st.sampled_from([1, 2, 5]))
def test_a_sample_hardly_changes_with_who_is_there(seed: int, each: int) -> None:
    rng = np.random.default_rng(seed)
    owners = np.repeat(rng.choice(10**6, 1000 // each, replace=False), each)
    numbers = rng.choice(10**6, 1000, replace=False)
    stay = owners != owners[0]
    before = set(numbers[sample_rows(owners, numbers, 40, 60)].tolist())
    after = set(numbers[stay][sample_rows(owners[stay], numbers[stay], 40, 60)].tolist())
    assert len(before) == len(after) == 60
    assert before - after <= set(numbers[~stay].tolist())
    assert len(before - after) <= 1


@settings(max_examples=50)
@given(
    people=st.integers(1, 60),
    each=st.integers(1, 30),
    few=st.integers(2, 40),
    unknowns=st.integers(0, 80),
)
def test_a_sample_has_as_many_as_it_should(people: int, each: int, few: int, unknowns: int) -> None:
    owners, numbers = np.tile(np.arange(people), each), np.arange(people * each)
    rows = sample_rows(owners, numbers, few, unknowns)
    if people * each <= few:
        assert rows.tolist() == list(range(people * each))
        return
    counts = np.unique(owners[rows], return_counts=True)[1]
    assert len(set(rows.tolist())) == len(rows)
    assert len(counts) == min(people, max(few, unknowns))
    assert set(counts.tolist()) == {min(each, max(1, few // len(counts)))}


def test_a_sample_is_as_if_by_lot() -> None:
    """Over a million templates in the order of their numbers, each tenth has its share: 500 ± 4
    standard deviations.
    """
    counts = np.bincount(
        sample_rows(np.arange(10**6), np.arange(10**6), 5000, 0) // 10**5, minlength=10
    )
    assert counts.sum() == 5000
    assert np.abs(counts - 500).max() < 4 * np.sqrt(5000 * 0.1 * 0.9)
