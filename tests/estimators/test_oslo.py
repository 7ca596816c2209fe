"""Decisions about a batch, and how many unknowns get in."""

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.base import clone

from quickstudy.core.errors import ConfigError, TransductiveError
from quickstudy.estimators import OSLOClassifier
from quickstudy.functional.oslo import oslo
from quickstudy.metrics.thresholds import conformal_threshold

DIM = 16


def people(rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    """Vectors ``[n k D]`` of n people, k pictures each."""
    return rng.normal(size=(n, 1, DIM)) + 0.5 * rng.normal(size=(n, k, DIM))


def members(
    rng: np.random.Generator, n: int = 5, k: int = 2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Examples, their names, and one more picture of each."""
    x = people(rng, n, k + 1)
    return x[:, :k].reshape(-1, DIM), np.repeat([f"person {i}" for i in range(n)], k), x[:, k]


def test_it_decides_as_the_equations_say() -> None:
    rng = np.random.default_rng(0)
    x, y, probes = members(rng)
    cohort = people(rng, 30, 1)[:, 0]
    batch = np.r_[probes, people(rng, 4, 1)[:, 0]]
    model = OSLOClassifier(false_accept_rate=0.1, steps=3).fit(x, y, cohort=cohort)
    queries = np.r_[batch, cohort]
    mean = np.r_[x, queries].mean(0)
    unit = [(v - mean) / np.linalg.norm(v - mean, axis=1, keepdims=True) for v in (x, queries)]
    z, xi = oslo(
        torch.tensor(unit[0])[None],
        torch.tensor(np.repeat(np.arange(5), 2))[None],
        torch.tensor(unit[1])[None],
        5,
        steps=3,
    )
    line = conformal_threshold(xi[0, len(batch) :].numpy(), 0.1)
    told = model.decide_batch(batch)
    assert [d.best for d in told] == [f"person {i}" for i in z[0, : len(batch)].argmax(1)]
    assert [d.score for d in told] == pytest.approx(xi[0, : len(batch)].tolist())
    assert [d.threshold for d in told] == pytest.approx([line] * len(told))
    assert [d.label for d in told] == [d.best if d.score > line else None for d in told]
    assert model.predict(batch).tolist() == [d.label or "unknown" for d in told]
    assert model.inlierness(batch).tolist() == [d.score for d in told]
    assert [d.label for d in told[:5]] == [f"person {i}" for i in range(5)]


@pytest.mark.parametrize("photos", [1, 4])
def test_as_many_unknowns_get_in_as_was_asked_for(photos: int) -> None:
    rate, wrong, asked = 0.1, 0, 0
    for draw in range(100):
        rng = np.random.default_rng(draw)
        x, y, probes = members(rng)
        cohort, groups = people(rng, 39, photos).reshape(-1, DIM), np.repeat(np.arange(39), photos)
        model = OSLOClassifier(false_accept_rate=rate).fit(
            x, y, cohort=cohort, cohort_groups=groups
        )
        said = model.predict(np.r_[probes, people(rng, 6, 1)[:, 0]])
        wrong, asked = wrong + int((said[5:] != "unknown").sum()), asked + 6
    # Within a draw the unknowns share one threshold, so the band is a little wider than the
    # binomial one.
    low, high = binom.interval(0.999, asked, rate)
    assert low - 0.02 * asked <= wrong <= high + 0.02 * asked


def test_the_batch_matters_and_its_order_does_not() -> None:
    rng = np.random.default_rng(1)
    x, y, probes = members(rng)
    model = OSLOClassifier(threshold=0.9).fit(x, y)
    assert model.transductive
    batch = np.r_[probes, people(rng, 20, 1)[:, 0]]
    whole = model.inlierness(batch)
    assert not np.allclose(model.inlierness(batch[:5]), whole[:5])
    assert model.inlierness(batch[::-1])[::-1] == pytest.approx(whole)
    assert model.predict(batch).tolist() == model.predict(batch).tolist()
    assert (model.predict(batch) == "unknown").tolist() == (whole <= 0.9).tolist()


def test_scikit_learn_may_copy_it() -> None:
    model = OSLOClassifier(threshold=0.3, steps=4, reject_label=-1)
    assert clone(model).get_params() == model.get_params()
    x = members(np.random.default_rng(0))[0]
    assert (
        clone(model).fit(x, np.repeat(np.arange(5), 2)).predict(np.r_[x, -x])[:10].tolist()
        == np.repeat(np.arange(5), 2).tolist()
    )


def test_what_cannot_be_decided_is_refused() -> None:
    x, y, probes = members(np.random.default_rng(0))
    with pytest.raises(TransductiveError, match="one vector alone teaches it nothing"):
        OSLOClassifier(threshold=0.5).fit(x, y).decide_batch(probes[:1])
    with pytest.raises(TransductiveError, match="take an OpenSetClassifier"):
        OSLOClassifier().fit(x, y, cohort=np.eye(DIM).repeat(2, 0)).predict(probes[:1])
    with pytest.raises(ConfigError, match="it got neither"):
        OSLOClassifier().fit(x, y)
    with pytest.raises(ConfigError, match="it got both"):
        OSLOClassifier(threshold=0.5).fit(x, y, cohort=probes)
    with pytest.raises(
        ConfigError, match="takes the scores of at least 19 unknowns, but there are 5"
    ):
        OSLOClassifier(false_accept_rate=0.05).fit(x, y, cohort=probes)
    with pytest.raises(ConfigError, match="'person 0' is a class"):
        OSLOClassifier(threshold=0.5, reject_label="person 0").fit(x, y)
