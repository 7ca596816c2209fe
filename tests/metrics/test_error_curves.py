import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import words
from quickstudy.metrics.error_curves import error_curve, identification_curve
from quickstudy.metrics.verification import equal_error_rate, identification_rates, true_accept_rate

SCORES = st.lists(st.integers(-8, 8).map(lambda v: v / 4), min_size=1, max_size=30)


@settings(max_examples=60)
@given(SCORES, SCORES)
def test_the_rates_are_counts(genuine, impostor):
    curve = error_curve(genuine, impostor)
    assert {*genuine, *impostor} == set(curve.threshold[1:])
    for t, far, frr in zip(curve.threshold, curve.far, curve.frr, strict=True):
        assert far == pytest.approx(sum(i >= t for i in impostor) / len(impostor))
        assert frr == pytest.approx(sum(g < t for g in genuine) / len(genuine))
    for t in (-3.0, *genuine, *impostor, 3.0):
        assert curve.at(t) == pytest.approx(
            (np.mean([i > t for i in impostor]), np.mean([g <= t for g in genuine]))
        )


def slow_band(genuine, genuine_of, impostor, impostor_of, grid, draws):
    """Draw identities, collect their scores one by one, and try every threshold."""
    names, rates = sorted({*genuine_of, *impostor_of}), []
    for draw in range(draws):
        chosen = [
            names[int(w % np.uint64(len(names)))] for w in words(len(names), "bootstrap", 0, draw)
        ]
        g = np.array(
            [s for name in chosen for s, of in zip(genuine, genuine_of, strict=True) if of == name]
        )
        i = np.array(
            [
                s
                for name in chosen
                for s, of in zip(impostor, impostor_of, strict=True)
                if of == name
            ]
        )
        if not len(g) or not len(i):
            continue
        tried = [np.inf, *sorted({*genuine, *impostor})]
        rates.append(
            [min(np.mean(g < t) for t in tried if np.mean(i >= t) <= far + 1e-12) for far in grid]
        )
    return np.quantile(rates, [0.025, 0.975], axis=0)


def test_the_band_is_that_of_a_slow_bootstrap():
    rng = np.random.default_rng(0)
    genuine_of = np.repeat(["ada", "bob", "cy", "dee"], 5)
    impostor_of = np.repeat(["ada", "bob", "cy", "dee", "eve"], 8)
    genuine = np.round(rng.normal(1.5, 1, 20) + np.repeat(rng.normal(size=4), 5), 1)
    impostor = np.round(rng.normal(0, 1, 40), 1)
    curve = error_curve(genuine, impostor, genuine_of=genuine_of, impostor_of=impostor_of, draws=40)
    grid = np.geomspace(1 / 40, 1, 12)
    low, high = slow_band(
        genuine.tolist(), genuine_of.tolist(), impostor.tolist(), impostor_of.tolist(), grid, 40
    )
    band = curve.band(grid)
    assert band is not None
    assert band[0] == pytest.approx(low)
    assert band[1] == pytest.approx(high)
    whole = [1 - true_accept_rate(genuine, impostor, far=far + 1e-12) for far in grid]
    assert (band[0] <= np.array(whole) + 1e-9).all()
    assert (band[1] >= np.array(whole) - 1e-9).all()
    interval = curve.equal_error_interval
    assert interval is not None
    assert interval[0] < np.mean(curve.equal_error) < interval[1]
    rates = [
        (f[at] + r[at]) / 2
        for f, r in zip(curve.drawn_far, curve.drawn_frr, strict=True)
        for at in [np.abs(f - r).argmin()]
    ]
    assert interval == pytest.approx(tuple(np.quantile(rates, [0.025, 0.975])))
    alone = error_curve(genuine, impostor)
    assert alone.band(grid) is None
    assert alone.equal_error_interval is None


def test_scores_of_one_person_count_as_one():
    rng = np.random.default_rng(1)
    genuine = (rng.normal(1.5, 0.1, (12, 50)) + rng.normal(size=(12, 1))).ravel()
    impostor = rng.normal(0, 1, 600)
    of_people, alone = (
        error_curve(genuine, impostor, genuine_of=identities, impostor_of=identities, draws=200)
        for identities in (np.repeat(range(12), 50), np.arange(600))
    )
    widths = [
        float((band[1] - band[0])[0])
        for curve in (of_people, alone)
        if (band := curve.band(np.array([0.3])))
    ]
    assert widths[0] > 2 * widths[1] > 0


def test_many_scores_are_thinned_and_the_rates_stay_right():
    rng = np.random.default_rng(2)
    genuine, impostor = rng.normal(2, 1, 20_000), rng.normal(0, 1, 200_000)
    curve = error_curve(genuine, impostor)
    assert len(curve.threshold) < 4000
    # the rarest false accepts are all there
    assert np.unique(curve.far)[:4] == pytest.approx(np.arange(4) / 200_000)
    assert np.mean(curve.equal_error) == pytest.approx(
        equal_error_rate(genuine, impostor), abs=0.002
    )


def test_identification_is_that_of_the_rates():
    rng = np.random.default_rng(3)
    mate = np.r_[np.arange(20) % 5, np.full(40, -1)]
    similarity = rng.normal(size=(60, 5))
    similarity[np.arange(20), mate[:20]] += 1.5
    curve = identification_curve(
        similarity, mate, identity=np.r_[np.arange(20) % 5, 5 + np.arange(40) // 2]
    )
    for fpir in (0.025, 0.1, 0.5):
        fnir, threshold = identification_rates(similarity, mate, fpir=fpir)
        assert curve.at(threshold) == pytest.approx((fpir, fnir))
    missed_anyway = np.mean(similarity[:20].argmax(1) != mate[:20])
    assert 0 < missed_anyway == pytest.approx(curve.frr.min())


def test_what_has_no_curve_is_refused():
    with pytest.raises(ConfigError, match="got 0 of the same and 1"):
        error_curve([], [1.0])
    with pytest.raises(ConfigError, match="not a finite number"):
        error_curve([1.0], [np.inf])
    with pytest.raises(ConfigError, match="not a finite number"):
        error_curve([np.nan], [0.0])
    with pytest.raises(ConfigError, match="Give both, or neither"):
        error_curve([1.0], [0.0], genuine_of=["a"])
    with pytest.raises(ConfigError, match="There are 1 scores but 2 identities"):
        error_curve([1.0], [0.0], genuine_of=["a"], impostor_of=["a", "b"])
    for mate, message in (([0, 0], "got 2 and 0"), ([-1, -1], "got 0 and 2")):
        with pytest.raises(ConfigError, match=message):
            identification_curve(np.zeros((2, 1)), np.array(mate))
