import csv
from importlib import resources

import numpy as np
import pytest
import torch

from quickstudy.core.errors import ConfigError, DataError, EpisodeError
from quickstudy.core.setting import Setting
from quickstudy.data import (
    Attributes,
    ClassDataset,
    ClassIndex,
    Episodes,
    SemanticEpisodes,
    mini_imagenet_names,
)
from quickstudy.data.class_index import check_disjoint


def dataset(n_classes: int = 6, n: int = 5) -> ClassDataset:
    """An example is the number of its class."""
    y = np.repeat(np.arange(n_classes), n)
    return ClassDataset(
        "toy",
        "toy/all",
        torch.from_numpy(y).float()[:, None],
        ClassIndex(y, [f"c{c}" for c in range(n_classes)]),
    )


VECTORS = torch.arange(6.0)[:, None].repeat(1, 3)  # class c is described by (c, c, c)


def test_the_support_describes_the_classes_that_the_queries_are_of() -> None:
    tasks = SemanticEpisodes(dataset(), VECTORS, Setting(4, 1, 3), seed=1)
    e = tasks.batch(range(20))
    assert e.support.x.shape == (20, 4, 3)
    assert e.query.x.shape == (20, 12, 1)
    for t in range(20):
        of_class = {
            int(y): float(x[0]) for x, y in zip(e.support.x[t], e.support.y[t], strict=True)
        }
        assert sorted(of_class) == [0, 1, 2, 3]
        assert [of_class[int(y)] for y in e.query.y[t]] == e.query.x[t, :, 0].tolist()
    assert any(e.support.y[t].tolist() != [0, 1, 2, 3] for t in range(20))


def test_classes_and_queries_are_those_of_the_one_shot_tasks() -> None:
    setting = Setting(3, 1, 2)
    described, shown = (
        tasks.batch([4, 9])
        for tasks in (
            SemanticEpisodes(dataset(), VECTORS, setting, seed=2),
            Episodes(dataset(), setting, seed=2),
        )
    )
    assert torch.equal(described.query.x, shown.query.x)
    assert torch.equal(described.query.y, shown.query.y)
    assert torch.equal(described.classes, shown.classes)


def test_a_task_depends_on_its_number_alone() -> None:
    tasks = SemanticEpisodes(dataset(), VECTORS, Setting(3, 1, 2)).to("cpu")
    together, alone = tasks.batch([5, 7]), tasks.batch([7])
    assert torch.equal(together.support.x[1], alone.support.x[0])
    assert torch.equal(together.query.x[1], alone.query.x[0])


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        EpisodeError, match=r"has 6 classes, but the semantic vectors have shape \(5, 3\)"
    ):
        SemanticEpisodes(dataset(), VECTORS[:5], Setting(3, 1, 2))
    for setting in (
        Setting(3, 2, 1),
        Setting(3, 1, 1, n_unlabelled=1),
        Setting(3, 1, 1, labelled=0.5),
    ):
        with pytest.raises(EpisodeError, match="needs n_shot = 1"):
            SemanticEpisodes(dataset(), VECTORS, setting)


def test_attributes_are_repeatable_and_no_two_classes_are_alike() -> None:
    data, again, other = Attributes(), Attributes(), Attributes(seed=1)
    splits = {name: data.split(name) for name in ("train", "val", "test")}
    assert [len(s.index) for s in splits.values()] == [100, 50, 50]
    check_disjoint(splits)
    rows = torch.cat([data.vectors(name) for name in splits])
    assert len(rows.unique(dim=0)) == 200
    assert set(rows.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(splits["test"].x, again.split("test").x)
    assert (
        splits["test"].split_hash
        == again.split("test").split_hash
        != other.split("test").split_hash
    )
    assert not torch.equal(splits["test"].x, other.split("test").x)


def test_without_noise_an_example_is_a_linear_map_of_its_attributes() -> None:
    data = Attributes(n_attributes=8, dim=5, classes=(20, 4, 4), n_examples=2, noise=0.0)
    train, test = data.split("train"), data.split("test")
    weight = torch.linalg.lstsq(data.vectors("train"), train.x[::2]).solution
    torch.testing.assert_close(
        data.vectors("test").repeat_interleave(2, 0) @ weight, test.x, rtol=1e-4, atol=1e-4
    )


def test_noise_has_the_deviation_asked_for() -> None:
    x = Attributes(noise=3.0, n_examples=60).split("train").x.view(100, 60, -1)
    assert float(x.std(1).mean()) == pytest.approx(3.0, rel=0.02)


def test_attributes_that_make_no_data_are_refused() -> None:
    for wrong in ({"noise": -1.0}, {"dim": 0}, {"classes": (5, 0, 5)}, {"classes": (5, 5)}):
        with pytest.raises(ConfigError, match="Attributes needs 3 numbers of classes"):
            Attributes(**wrong)
    with pytest.raises(ConfigError, match="3 attributes are too few to tell 200 classes apart"):
        Attributes(n_attributes=3)
    with pytest.raises(DataError, match=r"no split 'tset'\. Did you mean 'test'"):
        Attributes().split("tset")


def test_all_classes_of_mini_imagenet_have_a_name_of_their_own() -> None:
    text = (resources.files("quickstudy.data") / "splits" / "mini-imagenet-ravi.csv").read_text(
        encoding="utf-8"
    )
    names = mini_imagenet_names()
    assert sorted(names) == sorted(row["class"] for row in csv.DictReader(text.splitlines()))
    assert len({name.split(",")[0] for name in names.values()}) == 100
