import numpy as np
import pytest
import torch

from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting
from quickstudy.data import Glyphs, Unlabelled


def test_a_training_task_is_a_batch_of_different_examples_of_all_classes() -> None:
    plain = Glyphs(drawings=4).tasks("train", Setting(5, 1, 1)).dataset
    tasks = Unlabelled("glyphs", {"drawings": 4}).tasks("train", Setting(1, 60, 4))
    e = tasks.batch(range(3))
    assert e.support.y.eq(0).all()
    assert e.target.width == 1
    everything = {
        tuple(x.flatten().tolist()): int(row)
        for row, x in enumerate(plain.gather(np.arange(len(plain.x))))
    }
    for t in range(3):
        drawn = [tuple(x.flatten().tolist()) for x in (*e.support.x[t], *e.query.x[t])]
        assert set(drawn) <= everything.keys()
        assert len({everything[d] // 4 for d in drawn}) > 40  # from all over the split
    assert tasks.split.endswith(", unlabelled")


def test_test_tasks_are_those_of_the_data() -> None:
    setting = Setting(5, 1, 3)
    ours, plain = (d.tasks("test", setting) for d in (Unlabelled("glyphs"), Glyphs()))
    assert torch.equal(ours.batch([3]).query.x, plain.batch([3]).query.x)
    assert (ours.data, ours.split_hash) == (plain.data, plain.split_hash)


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'omniglot'"):
        Unlabelled("omniglott")
    with pytest.raises(ConfigError, match="has no classes, so it has no labels"):
        Unlabelled("attributes").tasks("train", Setting(1, 5, 5))
