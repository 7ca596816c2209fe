from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.core.errors import DataError
from quickstudy.data.class_index import ClassDataset, ClassIndex, check_disjoint, split_hash

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=60).map(
    lambda y: np.unique(y, return_inverse=True)[1].tolist()
)


def names(n):
    return [f"class {c}" for c in range(n)]


def indexed(y):
    return ClassIndex(y, names(max(y) + 1))


def dataset(y, x=None, **options):
    x = torch.arange(len(y), dtype=torch.float32)[:, None] if x is None else x
    return ClassDataset("toy", "toy/all", x, indexed(y), **options)


def pictures(y, size=5, channels=2, seed=0):
    x = torch.randint(
        0,
        256,
        (len(y), channels, size, size),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(seed),
    )
    return dataset(y, x)


# --- ClassIndex


@given(LABELS)
@settings(deadline=None)
def test_the_rows_of_the_classes_are_all_rows_each_once(y):
    index = indexed(y)
    rows = [index.rows_of(c) for c in range(len(index))]
    assert sorted(np.concatenate(rows)) == list(range(len(y)))
    for c, r in enumerate(rows):
        assert (np.asarray(y)[r] == c).all()
        assert (np.diff(r) > 0).all()
        assert len(r) == index.counts[c]


@given(LABELS)
@settings(deadline=None)
def test_labels_come_back(y):
    assert indexed(y).labels.tolist() == y


@given(LABELS, st.data())
@settings(deadline=None)
def test_rows_are_picked_by_class_and_position(y, data):
    index = indexed(y)
    classes = np.array(data.draw(st.lists(st.integers(0, len(index) - 1), min_size=1, max_size=5)))
    which = np.array(
        [
            data.draw(st.lists(st.integers(0, int(index.counts[c]) - 1), min_size=2, max_size=2))
            for c in classes
        ]
    )
    rows = index.rows(classes, which)
    assert rows.shape == which.shape
    for c, pick, got in zip(classes, which, rows, strict=True):
        assert got.tolist() == index.rows_of(c)[pick].tolist()


@pytest.mark.parametrize(
    "make", [list, np.array, torch.tensor, lambda y: np.array(y, dtype=np.int32)]
)
def test_labels_of_any_kind(make):
    index = ClassIndex(make([1, 0, 1]), ["oak", "elm"])
    assert index.counts.tolist() == [1, 2]
    assert len(index) == 2
    assert index.names == ("oak", "elm")


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(
        DataError,
        match=r"Class names must differ, but these occur twice: elm\. Rename or merge them\.",
    ):
        ClassIndex([0, 1, 2], ["elm", "oak", "elm"])


@pytest.mark.parametrize(("y", "low", "high"), [([0, 3], 0, 3), ([-1, 1], -1, 1)])
def test_labels_without_a_name_are_refused_with_both_numbers(y, low, high):
    with pytest.raises(
        DataError,
        match=f"Labels must lie in 0 … 1, one name each, but they run from {low} to {high}",
    ):
        ClassIndex(y, ["oak", "elm"])


def test_classes_without_examples_are_refused_by_name():
    with pytest.raises(
        DataError, match=r"2 of 4 classes have no example: class 1, class 3\. Leave them out\."
    ):
        ClassIndex([0, 2, 0], names(4))


# --- ClassDataset


def test_one_label_per_example():
    with pytest.raises(DataError, match="toy: 3 examples but 2 labels; give one label per example"):
        ClassDataset("toy", "toy/all", torch.zeros(3, 2), ClassIndex([0, 1], names(2)))


def test_images_are_handed_out_between_zero_and_one():
    data = pictures([0, 1, 1])
    out = data.gather(np.array([[2, 0]]))
    assert out.shape == (1, 2, 2, 5, 5)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out[0], data.x[[2, 0]].float() / 255)


def test_channels_are_normalised():
    data = dataset([0, 1, 1], pictures([0, 1, 1]).x, mean=(0.5, 0.25), std=(0.5, 2.0))
    out = data.gather(np.array([1]))[0]
    raw = data.x[1].float() / 255
    torch.testing.assert_close(out, torch.stack(((raw[0] - 0.5) / 0.5, (raw[1] - 0.25) / 2)))


def test_vectors_are_normalised_and_the_stored_ones_stay_as_they_are():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    data = dataset([0, 1], x.clone(), mean=(1.0,), std=(2.0,))
    for _ in range(2):
        assert data.gather(np.array([1, 0])).tolist() == [[1, 1.5], [0, 0.5]]
    assert torch.equal(data.x, x)


@pytest.mark.parametrize("wrong", [{"mean": (1.0, 2.0)}, {"std": (1.0, 2.0)}])
def test_means_that_do_not_fit_the_examples_are_refused_with_both_numbers(wrong):
    with pytest.raises(DataError, match=r"2 means or deviations for examples of shape \(1,\)"):
        dataset([0, 1], **wrong)
    with pytest.raises(DataError, match=r"2 means or deviations for examples of shape \(3, 5, 5\)"):
        dataset([0, 1], pictures([0, 1], channels=3).x, **wrong)


def test_only_some_classes_in_the_order_asked_for():
    data = dataset([0, 1, 2, 1, 0]).only(["class 2", "class 0"], split="toy/two")
    assert data.split == "toy/two"
    assert data.index.names == ("class 2", "class 0")
    assert data.x[data.index.rows_of(0)].flatten().tolist() == [2]
    assert data.x[data.index.rows_of(1)].flatten().tolist() == [0, 4]


def test_only_classes_that_are_there():
    with pytest.raises(DataError, match=r"toy has no class 'wren' \(1 missing\)"):
        dataset([0, 1]).only(["class 0", "wren"], split="x")


@given(LABELS)
@settings(deadline=None, max_examples=30)
def test_rotations_are_new_classes_of_turned_pictures(y):
    data = pictures(y)
    turned = data.with_rotations()
    n = len(data.index)
    assert len(turned.index) == 4 * n
    assert turned.index.names[:n] == data.index.names
    assert turned.index.names[n : 2 * n] == tuple(f"{name}/rot90" for name in data.index.names)
    assert turned.index.names[3 * n :] == tuple(f"{name}/rot270" for name in data.index.names)
    assert turned.index.counts.tolist() == data.index.counts.tolist() * 4
    for quarter in range(4):
        for c in range(n):
            was = data.x[data.index.rows_of(c)]
            now = turned.x[turned.index.rows_of(quarter * n + c)]
            assert torch.equal(now, torch.rot90(was, quarter, (-2, -1)))
    assert np.array_equal(
        turned.x[len(y) : 2 * len(y)].numpy(), np.rot90(data.x.numpy(), axes=(2, 3))
    )
    assert turned.split_hash != data.split_hash


@pytest.mark.parametrize("x", [torch.zeros(2, 3), torch.zeros(2, 1, 4, 5, dtype=torch.uint8)])
def test_only_squares_can_be_turned(x):
    with pytest.raises(DataError) as caught:
        dataset([0, 1], x).with_rotations()
    assert str(tuple(x.shape[1:])) in str(caught.value)


def test_the_hash_names_the_classes_and_their_sizes_and_nothing_else():
    a = dataset([0, 1, 1])
    assert a.split_hash == dataset([1, 0, 1]).split_hash == pictures([0, 1, 1]).split_hash
    assert (
        len(
            {
                a.split_hash,
                dataset([0, 0, 1]).split_hash,
                dataset([0, 1]).split_hash,
                dataset([0, 1, 2]).split_hash,
            }
        )
        == 4
    )
    assert a.split_hash == split_hash({"class 1": 2, "class 0": 1}) == "d7e5035e5588"


def test_to_another_device():
    data = dataset([0, 1]).to("meta")
    assert data.x.device.type == "meta"
    assert data.index.names == ("class 0", "class 1")


# --- check_disjoint


def test_splits_that_share_a_class_are_refused_by_name():
    a, b = dataset([0, 1]), dataset([0, 1, 2]).only(["class 2", "class 1"], split="b")
    with pytest.raises(DataError, match="Class 'class 1' is in both the train and the test split"):
        check_disjoint({"train": a, "test": b})
    check_disjoint({"train": a.only(["class 0"], split="a"), "test": b})


def test_lists_of_names_are_checked_too():
    check_disjoint({"train": ["a", "b"], "val": [], "test": ["c"]})
    with pytest.raises(DataError, match="Class 'b' is in both the train and the val split"):
        check_disjoint({"train": ["a", "b"], "val": ["b"]})


# --- two data sets as one


@given(LABELS, LABELS)
@settings(deadline=None, max_examples=20)
def test_joined_data_has_the_classes_of_both_each_with_its_own_examples(y, z):
    one, other = pictures(y), replace(pictures(z, seed=1), name="other")
    both = one.joined(other, name="both", split="test")
    assert (both.name, both.split, both.mean, both.std) == ("both", "test", one.mean, one.std)
    assert both.index.names == (
        *(f"toy/{n}" for n in one.index.names),
        *(f"other/{n}" for n in other.index.names),
    )
    for c, name in enumerate(both.index.names):
        data, of = (one, c) if name.startswith("toy/") else (other, c - len(one.index))
        assert torch.equal(both.x[both.index.rows_of(c)], data.x[data.index.rows_of(of)])


def test_only_data_of_one_form_can_be_joined():
    one = pictures([0, 1])
    wrong = {
        "shape": replace(pictures([0, 1], size=6), name="other"),
        "kind": replace(pictures([0, 1]), name="other", x=pictures([0, 1]).x.float()),
        "mean": replace(pictures([0, 1]), name="other", mean=(0.5,)),
    }
    for other in wrong.values():
        with pytest.raises(DataError, match="toy and other cannot be joined"):
            one.joined(other, name="both", split="test")
    with pytest.raises(
        DataError,
        match=r"shape \(2, 5, 5\) \(torch.uint8\) and \(2, 6, 6\) \(torch.uint8\), or other means "
        r"and deviations",
    ):
        one.joined(wrong["shape"], name="both", split="test")
    with pytest.raises(DataError, match="occur twice"):
        one.joined(one, name="both", split="test")
