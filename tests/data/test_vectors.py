import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quickstudy.core.errors import ConfigError, DataError
from quickstudy.core.setting import Setting
from quickstudy.data.vectors import Vectors

X = np.arange(40, dtype=np.float64).reshape(20, 2)
Y = np.repeat(np.arange(5), 4)


def test_classes_are_split_and_rows_stay_with_their_labels() -> None:
    data = Vectors(X, Y, name="toy")
    assert (data.name, data.shape) == ("toy", (2,))
    splits = [data.split(name) for name in ("train", "val", "test")]
    assert [len(split.index) for split in splits] == [3, 1, 1]
    assert [split.split for split in splits] == ["vectors/train", "vectors/val", "vectors/test"]
    for split in splits:
        assert split.x.dtype == torch.float32
        for c, name in enumerate(split.index.names):
            assert np.array_equal(split.x[split.index.rows_of(c)].numpy(), X[int(name) == Y])


def test_tasks() -> None:
    episode = (
        Vectors(X, Y).tasks("train", Setting(n_way=3, n_shot=1, n_query=2), seed=1).batch([0, 1, 2])
    )
    assert episode.support.x.shape == (3, 3, 2)
    assert episode.query.x.shape == (3, 6, 2)
    assert episode.support.x.dtype == torch.float32


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([10, 9, 10, -1], ("-1", "9", "10")),
        (["oak", "elm", "oak", "ash"], ("ash", "elm", "oak")),
        ([True, False, True, True], ("False", "True")),
        (np.array(["b", "a", 3, 3], dtype=object), ("3", "a", "b")),
        (np.array([b"b", b"a", b"c", b"c"]), ("a", "b", "c")),
        (torch.tensor([2, 1, 0, 0]), ("0", "1", "2")),
    ],
)
def test_labels_of_any_kind(labels: object, names: tuple[str, ...]) -> None:
    data = Vectors(np.eye(4), labels, val=0.0, test=0.0)  # pyright: ignore[reportArgumentType]
    assert data.split("train").index.names == names


@settings(deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["i4", "u1", "f2", "f4", "f8", "?"]),
        hnp.array_shapes(min_dims=2, max_dims=2),
    )
)
def test_numbers_of_any_kind_are_kept_or_refused_with_their_row(x: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        finite = np.isfinite(x.astype(np.float32)).all(1)
    if finite.all():
        kept = Vectors(x, np.zeros(len(x)), val=0.0, test=0.0).split("train").x
        assert np.array_equal(kept.numpy(), x.astype(np.float32))
    else:
        with pytest.raises(DataError, match=f"in row {np.flatnonzero(~finite)[0]}, column"):
            Vectors(x, np.zeros(len(x)), val=0.0, test=0.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e39])
def test_values_that_are_not_finite(value: float) -> None:
    x = X.copy()
    x[7, 1] = x[9, 0] = value
    with pytest.raises(DataError, match=r"2 of 20 rows .* in row 7, column 1\. Replace"):
        Vectors(x, Y)


@pytest.mark.parametrize("shape", [(), (20,), (20, 2, 1), (0, 2), (20, 0)])
def test_x_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        DataError, match=r"\[M D\] with at least one row and column, but has the shape"
    ):
        Vectors(np.zeros(shape), Y)


@pytest.mark.parametrize(
    "x", [np.full((4, 2), "1.0"), np.zeros((4, 2), dtype=complex), np.zeros((4, 2), dtype=object)]
)
def test_x_that_is_no_numbers(x: np.ndarray) -> None:
    with pytest.raises(DataError, match=f"real numbers, but its dtype is {x.dtype}"):
        Vectors(x, [0, 0, 1, 1])


def test_y_of_another_shape() -> None:
    with pytest.raises(DataError, match=r"one label per row, \[M\], but has the shape \[20, 1\]"):
        Vectors(X, Y[:, None])
    with pytest.raises(DataError, match="x has 20 rows but y has 19 labels"):
        Vectors(X, Y[1:])


@pytest.mark.parametrize(
    "labels", [["a", None, "b", "b"], [0.0, float("nan"), 1.0, 1.0], ["a", float("nan"), "b", "b"]]
)
def test_missing_labels(labels: list[object]) -> None:
    with pytest.raises(DataError, match="1 of 4 labels in y are missing, the first in row 1"):
        Vectors(np.eye(4), labels)  # pyright: ignore[reportArgumentType]


def test_small_classes_are_left_out() -> None:
    data = Vectors(X, np.r_[Y[:19], 9], min_per_class=4, val=0.0, test=0.25)
    assert data.left_out == ("4", "9")
    assert sum(len(data.split(name).index) for name in ("train", "test")) == 4


def test_the_arrays_are_copied() -> None:
    x = X.astype(np.float32)
    data = Vectors(x, Y, val=0.0, test=0.0)
    x[:] = 0
    assert data.split("train").x.sum() == X.sum()


def test_wrong_shares_and_splits() -> None:
    with pytest.raises(ConfigError, match=r"val=0\.5 and test=0\.5"):
        Vectors(X, Y, val=0.5, test=0.5)
    with pytest.raises(DataError, match=r"vectors has no split 'tets'\. Did you mean 'test'\?"):
        Vectors(X, Y).split("tets")
