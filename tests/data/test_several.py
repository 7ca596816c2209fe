"""Training tasks from several data sets."""

import numpy as np
import pytest

from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting
from quickstudy.data import Several, SeveralTasks, Vectors

_SETTING = Setting(2, 1, 1)


def _vectors(name: str, level: float, dim: int = 3) -> Vectors:
    x = np.full((12, dim), level) + np.arange(12)[:, None] / 100
    return Vectors(x, np.arange(12) // 3, name=name, val=0.0, test=0.0)


def _streams(*levels: float) -> list:
    return [_vectors(f"v{level}", level).tasks("train", _SETTING) for level in levels]


def test_each_task_is_the_task_of_that_number_of_one_stream() -> None:
    streams = _streams(0.0, 10.0)
    mixed = SeveralTasks(streams, (1.0, 3.0))
    sources = [mixed.source(i) for i in range(400)]
    assert 0.68 < np.mean(sources) < 0.82
    batch = mixed.batch(range(20))
    for i, task in enumerate(sources[:20]):
        alone = streams[task].batch([i])
        assert batch.support.x[i].equal(alone.support.x[0])
        assert batch.query.y[i].equal(alone.query.y[0])
    assert mixed.batch([7]).support.x[0].equal(batch.support.x[7])
    assert mixed.data == "v0.0+v10.0"


def test_streams_that_do_not_fit_together_are_refused() -> None:
    a, b = _streams(0.0, 1.0)
    with pytest.raises(ConfigError, match="same setting"):
        SeveralTasks([a, _vectors("v", 0.0).tasks("train", Setting(3, 1, 1))], (1, 1))
    with pytest.raises(ConfigError, match="2 streams need"):
        SeveralTasks([a, b], (1.0, 0.0))
    wide = _vectors("wide", 1.0, dim=4).tasks("train", _SETTING)
    with pytest.raises(ConfigError, match="one shape"):
        SeveralTasks([a, wide], (1, 1)).batch(range(20))


def test_a_held_out_data_set_gives_the_other_splits() -> None:
    data = Several(sources=("glyphs", "symbols"), held_out="omniglot")
    assert data.shape == (1, 28, 28)
    train = data.tasks("train", Setting(5, 1, 5))
    assert isinstance(train, SeveralTasks)
    assert train.data == "glyphs+symbols"
    for wrong, message in (
        ({"sources": ("glyphs",)}, "Two or more"),
        ({"sources": ("glyphs", "omniglot"), "held_out": "omniglot"}, "Two or more"),
        ({"sources": ("glyphs", "glyph")}, "glyphs"),
        ({"sources": ("glyphs", "mini-imagenet")}, "one shape"),
    ):
        with pytest.raises(ConfigError, match=message):
            Several(**wrong)
