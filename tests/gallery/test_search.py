import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quickstudy.gallery import search
from quickstudy.gallery import vectors as vector_table
from quickstudy.gallery.search import exact, nearest, rounding_error
from quickstudy.gallery.vectors import NO_OWNER, VectorTable, unit

DIM = 6


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, so that few rows fill several."""
    for name, value in (("FIRST_BLOCK", 4), ("BLOCK_SIZE", 16), ("PROBE_BLOCK", 3)):
        monkeypatch.setattr(search, name, value)
    monkeypatch.setattr(vector_table, "MAX_DELETED", 3)
    monkeypatch.setattr(vector_table, "_COPIED_AT_ONCE", 4)


def cosine(a: np.ndarray, b: np.ndarray) -> np.float32:
    return np.float32(sum(float(u) * float(v) for u, v in zip(a, b, strict=True)))


def oracle(
    x: np.ndarray,
    vectors: np.ndarray,
    owners: np.ndarray,
    k: int,
    without: np.ndarray,
    but: np.ndarray,
) -> list[list[tuple[int, float]]]:
    found = []
    for p, probe in enumerate(x):
        best: dict[int, np.float32] = {}
        for row, (vector, owner) in enumerate(zip(vectors, owners.tolist(), strict=True)):
            if owner in (NO_OWNER, without[p]) or row == but[p]:
                continue
            best[owner] = max(best.get(owner, np.float32(-2)), cosine(probe, vector))
        found.append(sorted(best.items(), key=lambda item: (-item[1], item[0]))[:k])
    return found


def some(rng: np.random.Generator, n: int) -> np.ndarray:
    """Unit vectors, of which some are equal and others nearly so."""
    x = rng.normal(size=(n, DIM)).astype(np.float32)
    x[rng.random(n) < 0.3] = x[0]
    near = rng.random(n) < 0.4
    x[near] = x[0] + 1e-7 * rng.normal(size=(near.sum(), DIM)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(0, 60),
    people=st.sampled_from([1, 2, 5, 60]),
    k=st.sampled_from([1, 2, 5, 100]),
)
def test_the_nearest_are_those_of_a_double_loop(seed: int, n: int, people: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    x, vectors, owners = some(rng, 4), some(rng, n + 1)[:n], rng.integers(NO_OWNER, people, n)
    without, but = rng.integers(NO_OWNER, people, 4), rng.integers(-1, n + 1, 4)
    found = nearest(x, vectors, owners, k, without_owner=without, without_row=but)
    expected = oracle(x, vectors, owners, k, without, but)
    assert [[(o, s) for o, s in zip(*f, strict=True)] for f in found] == expected
    above = rng.normal(size=4).astype(np.float32)
    some_found = nearest(x, vectors, owners, k, without_owner=without, without_row=but, above=above)
    for found_of, expected_of, least in zip(some_found, expected, above, strict=True):
        assert [(o, s) for o, s in zip(*found_of, strict=True) if s > least] == [
            (o, s) for o, s in expected_of if s > least
        ]
    plain = oracle(x, vectors, owners, k, np.full(4, NO_OWNER), np.full(4, -1))
    assert [
        [(o, s) for o, s in zip(*f, strict=True)] for f in nearest(x, vectors, owners, k)
    ] == plain


def test_the_order_of_the_rows_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    x, vectors = unit(rng.normal(size=(5, 384)), 384), unit(rng.normal(size=(300, 384)), 384)
    owners, order = rng.integers(0, 40, 300), rng.permutation(300)
    for one, other in zip(
        nearest(x, vectors, owners, 7), nearest(x, vectors[order], owners[order], 7), strict=True
    ):
        assert one[0].tolist() == other[0].tolist()
        assert one[1].tobytes() == other[1].tobytes()
    together = exact(x[0], vectors)
    assert together.tobytes() == b"".join(
        exact(x[0], vectors[i : i + 1]).tobytes() for i in range(300)
    )


def test_single_precision_is_off_by_less_than_is_allowed_for() -> None:
    rng = np.random.default_rng(0)
    for dim in (1, 3, 64, 1000):
        x, vectors = unit(rng.normal(size=(20, dim)), dim), unit(rng.normal(size=(500, dim)), dim)
        true = x.astype(np.float64) @ vectors.T.astype(np.float64)
        for some in (x, x[:2]):  # which are multiplied in other ways
            assert np.abs(
                search._products(some, vectors) - true[: len(some)]
            ).max() <= rounding_error(dim)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_rows_come_and_go(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = VectorTable(DIM)
    there = dict[int, tuple[int, np.ndarray]]()
    for step in range(30):
        if rng.random() < 0.6:
            n = int(rng.integers(0, 5))
            vectors = some(rng, n + 1)[:n]
            owners = rng.integers(0, 6, n)
            numbers = np.arange(n) + 10 * step
            table.add(vectors, owners, numbers)
            there |= {
                int(number): (int(o), v)
                for number, o, v in zip(numbers, owners, vectors, strict=True)
            }
        else:
            owner = int(rng.integers(0, 6))
            rows = table.rows_of(np.asarray([owner]))
            for number in table.ids[rows].tolist():
                assert there.pop(number)[0] == owner
            table.remove(rows)
        assert len(table) == len(there)
        rows = table.by_owner()
        expected = sorted((o, number) for number, (o, _) in there.items())
        assert (
            list(zip(table.owners[rows].tolist(), table.ids[rows].tolist(), strict=True))
            == expected
        )
        for row in rows:
            assert table.vectors[row].tobytes() == there[int(table.ids[row])][1].tobytes()
        assert table.deleted <= max(vector_table.MAX_DELETED, table.used // 10)
        assert not table._vectors[: table.used][table.owners == NO_OWNER].any()
    pair = rng.permutation(6)[:2]
    assert set(table.ids[table.rows_of(pair)].tolist()) == {
        number for number, (o, _) in there.items() if o in pair
    }
    assert table.of(int(pair[0])).shape == (sum(o == pair[0] for o, _ in there.values()), DIM)


def test_nothing_of_a_forgotten_vector_is_left() -> None:
    table = VectorTable(DIM)
    table.add(np.ones((20, DIM), np.float32), np.arange(20), np.arange(20))
    generation = table.generation
    table.remove(np.arange(2, 20))
    assert (table.used, table.deleted, table.generation) == (2, 0, generation + 1)
    assert not table._vectors[2:20].any()
    assert table.nbytes == 2 * (4 * DIM + 16)
