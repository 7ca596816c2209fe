import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.core.errors import ConfigError, DataError
from quickstudy.data.class_index import ClassDataset, ClassIndex
from quickstudy.data.class_split import enough_examples, split_classes, split_named, splits_of

NAMES = st.lists(st.text(max_size=5), min_size=3, max_size=30, unique=True)


def counted(counts: list[int]) -> ClassDataset:
    labels = [c for c, n in enumerate(counts) for _ in range(n)]
    return ClassDataset(
        "toy",
        "toy/all",
        torch.arange(len(labels), dtype=torch.float32)[:, None],
        ClassIndex(labels, [f"c{c}" for c in range(len(counts))]),
    )


@settings(deadline=None)
@given(
    NAMES, st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([0.0, 0.2, 0.33]), st.integers(0, 3)
)
def test_every_class_is_in_one_split(names: list[str], val: float, test: float, seed: int) -> None:
    lists = split_classes(names, val=val, test=test, seed=seed)
    assert sorted(name for chosen in lists.values() for name in chosen) == sorted(names)
    assert len(lists["val"]) == (max(1, round(val * len(names))) if val else 0)
    assert len(lists["test"]) == (max(1, round(test * len(names))) if test else 0)
    assert lists["train"]


@settings(deadline=None)
@given(NAMES)
def test_the_order_of_the_names_does_not_matter(names: list[str]) -> None:
    mixed = sorted(names)
    before = split_classes(names, val=0.2, test=0.2)
    after = split_classes(mixed, val=0.2, test=0.2)
    assert {s: sorted(n) for s, n in before.items()} == {s: sorted(n) for s, n in after.items()}
    assert all(after[s] == [n for n in mixed if n in after[s]] for s in after)


def test_another_seed_is_another_split() -> None:
    names = [f"class {i}" for i in range(30)]
    assert split_classes(names, val=0.2, test=0.2, seed=0) != split_classes(
        names, val=0.2, test=0.2, seed=1
    )


def test_the_split_stays_as_it_is() -> None:
    lists = split_classes([f"class {i}" for i in range(10)], val=0.2, test=0.2, seed=0)
    assert lists["val"] == ["class 2", "class 5"]
    assert lists["test"] == ["class 3", "class 8"]


@pytest.mark.parametrize(
    ("val", "test"), [(-0.1, 0.2), (0.5, 0.5), (0.2, 1.0), (float("nan"), 0.1)]
)
def test_shares_that_leave_nothing(val: float, test: float) -> None:
    with pytest.raises(ConfigError, match=f"together less than 1, got val={val} and test={test}"):
        split_classes(["a", "b", "c"], val=val, test=test)


def test_too_few_classes() -> None:
    with pytest.raises(
        DataError,
        match="2 classes cannot be split into 1 for validation, 1 for testing and at least one for "
        "training",
    ):
        split_classes(["a", "b"], val=0.2, test=0.2)
    assert split_classes(["a", "b"], val=0.0, test=0.2)["val"] == []


def test_splits_carry_their_name() -> None:
    splits = splits_of(counted([2, 3, 4, 5]), prefix="toy", val=0.0, test=0.25, seed=0)
    assert {name: data.split for name, data in splits.items()} == {
        "train": "toy/train",
        "test": "toy/test",
    }
    with pytest.raises(DataError, match=r"toy has no split 'val'\. Known: test, train\."):
        split_named(splits, "val", data="toy")


def test_small_classes_are_left_out() -> None:
    data, few = enough_examples(counted([2, 5, 1, 3]), 3)
    assert few == ("c0", "c2")
    assert data.index.names == ("c1", "c3")
    assert data.x[:, 0].tolist() == [2, 3, 4, 5, 6, 8, 9, 10]


def test_no_class_is_large_enough() -> None:
    with pytest.raises(
        DataError, match="No class of toy has min_per_class=9 examples; the largest has 5"
    ):
        enough_examples(counted([2, 5]), 9)
