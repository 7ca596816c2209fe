"""Linear algebra takes one thread while few examples are fitted."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from quickstudy.estimators import FewShotClassifier
from quickstudy.estimators.blas import one_thread_where_small
from quickstudy.estimators.linear_heads import RidgeHead


def threads() -> set[int]:
    info = ThreadpoolController().select(user_api="blas").info()
    return {library["num_threads"] for library in info}


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = ThreadpoolController().limit(limits=2, user_api="blas")
    if threads() != {2}:
        pytest.skip("the linear algebra here has one thread only")
    yield
    before.restore_original_limits()


def test_large_work_is_left_alone_and_small_work_is_not() -> None:
    with one_thread_where_small(10_000_000):
        assert threads() == {2}
    with one_thread_where_small(100):
        assert threads() == {1}
    assert threads() == {2}


def test_the_limit_ends_with_an_error() -> None:
    with pytest.raises(ZeroDivisionError), one_thread_where_small(100):
        _ = 1 / 0
    assert threads() == {2}


def test_fits_side_by_side_leave_the_threads_as_they_were() -> None:
    x = np.random.default_rng(0).normal(size=(12, 40))

    def fit() -> None:
        for _ in range(20):
            FewShotClassifier("ridge").fit(x, [0, 1, 2] * 4)

    with ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(fit) for _ in range(4)]:
            job.result()
    assert threads() == {2}


def test_heads_are_fitted_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []
    fit = RidgeHead.fit

    def watched(self: RidgeHead, *args: object) -> RidgeHead:
        seen.append(threads())
        return fit(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(RidgeHead, "fit", watched)
    x = np.random.default_rng(0).normal(size=(8, 3))
    model = FewShotClassifier("ridge").fit(x, [0, 1] * 4)
    model.left_out_scores()
    model.add_class(2, x[:2] + 5).without(2)
    assert len(seen) > 4
    assert all(n == {1} for n in seen)
    assert threads() == {2}
