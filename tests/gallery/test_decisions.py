"""What a gallery says, and what it promises."""

import json
import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.core.errors import ConfigError, GalleryError
from quickstudy.gallery import Decision, Gallery, Policy
from quickstudy.gallery.calibration import (
    calibrated,
    contradicts,
    from_measured,
    realised_range,
    smallest_rate,
)
from quickstudy.gallery.impostors import ImpostorScores
from quickstudy.gallery.policy import COHORT, LEAVE_ONE_OUT, MEASURED
from quickstudy.pretrained import MeasuredThresholds

DIM = 32
MEASURED_HERE = MeasuredThresholds(
    "made up", 10**6, (0.1, 0.01, 0.001, 0.0001), (0.2, 0.4, 0.5, 0.6)
)


def photos(who: int, n: int = 2, seed: int = 0) -> np.ndarray:
    centre = np.random.default_rng(who).normal(size=DIM)
    return centre + 0.3 * np.random.default_rng([who, seed, 1]).normal(size=(n, DIM))


def made(tmp_path: Path, people: int, measured: MeasuredThresholds | None = None) -> Gallery:
    gallery = Gallery.create(tmp_path / "g.db", encoder="e1", dim=DIM, measured=measured)
    for who in range(people):
        gallery.enrol(f"p{who}", photos(who), force=True)
    return gallery


def thresholds(policy: Policy) -> tuple[float, float, float]:
    """Those of a calibrated policy: to accept, to be certain, and to be a duplicate."""
    assert policy.threshold is not None
    assert policy.review is not None
    assert policy.duplicate is not None
    return policy.threshold, policy.review, policy.duplicate


# --- policies


@pytest.mark.parametrize(
    "values",
    [
        {"threshold": float("nan")},
        {"threshold": 80.0, "review": 80.0},
        {"duplicate": float("nan")},
        {"duplicate": float("inf")},
        {"duplicate": 10**400},
        {"threshold": 0.1, "review": float("nan")},
        {"threshold": -2.0, "review": -2.0},
        {"review": 0.5},
        {"threshold": 0.5, "review": 0.4},
        {"threshold": 0.5, "review_from": 0.6},
        {"threshold": 0.5, "duplicate": 0.4},
        {"threshold": 0.5, "review": 0.7, "duplicate": 0.6},
        {"rate": 0.0},
        {"rate": 1.0},
        {"promised": float("nan")},
        {"score": "nearst"},
        {"rule": "by magic"},
        {"rule": "cohort"},
        {"threshold": 0.5, "rule": "not calibrated"},
    ],
)
def test_policies_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(GalleryError):
        Policy(**values)
    with pytest.raises(GalleryError):
        Policy.from_json(json.dumps(values))


COSINES = st.one_of(st.none(), st.floats(), st.floats(-1, 1))


@given(st.tuples(COSINES, COSINES, COSINES, COSINES), st.floats(-1, 1))
def test_a_policy_that_is_taken_is_in_order_and_decides(
    lines: tuple[float | None, ...], similarity: float
) -> None:
    names = ("review_from", "threshold", "review", "duplicate")
    try:
        policy = Policy(**dict(zip(names, lines, strict=True)))
    except GalleryError:
        return
    given_lines = [line for line in lines if line is not None]
    assert given_lines == sorted(given_lines)
    assert all(-1 <= line <= 1 for line in given_lines)
    assert Policy.from_json(policy.to_json()) == policy
    decision = policy.decide([("Ada", similarity)], 3)
    if policy.threshold is None:
        assert (decision.identity, decision.certain) == (None, False)
        assert decision.answer == "not calibrated"
    else:
        assert (decision.identity == "Ada") == (similarity > policy.threshold)
        assert decision.answer == ("Ada" if decision.identity else "unknown")


def test_a_band_for_review_lies_on_both_sides() -> None:
    policy = Policy(threshold=0.5, review_from=0.4, review=0.7)
    said = {s: policy.decide([("Ada", s)], 1) for s in (0.3, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8)}
    assert {s: d.certain for s, d in said.items()} == {
        0.3: True,
        0.4: True,
        0.45: False,
        0.5: False,
        0.6: False,
        0.7: False,
        0.8: True,
    }
    assert [s for s, d in said.items() if d.identity] == [0.6, 0.7, 0.8]


# --- thresholds


def scores(values: np.ndarray, rule: str) -> ImpostorScores:
    persons = np.repeat(np.arange(len(values)), values.shape[1])
    flat = values.ravel().astype(np.float32)
    return ImpostorScores(flat, np.zeros(len(flat), np.int64), persons, rule)


@given(
    seed=st.integers(0, 10**6),
    people=st.integers(2, 400),
    photos_each=st.integers(1, 4),
    rule=st.sampled_from([COHORT, LEAVE_ONE_OUT]),
    rate=st.sampled_from([0.01, 0.05, 0.1, 0.3]),
)
def test_no_more_of_the_known_impostors_get_in_than_is_promised(
    seed: int, people: int, photos_each: int, rule: str, rate: float
) -> None:
    values = np.random.default_rng(seed).uniform(-1, 1, size=(people, photos_each))
    left_out = rule == LEAVE_ONE_OUT
    smallest = smallest_rate(people, left_out=left_out)
    if smallest > rate:
        with pytest.raises(ConfigError, match="takes at least"):
            calibrated(Policy(), scores(values, rule), rate, strict=True)
        return
    policy = calibrated(Policy(), scores(values, rule), rate, strict=True)
    assert policy.threshold is not None
    share = (values.astype(np.float32) > policy.threshold).mean(1).sum() / (people + 1)
    assert share + smallest <= rate + 1e-6
    assert policy.promised == policy.rate == rate
    threshold, review, duplicate = thresholds(policy)
    assert policy.review_from is not None
    assert policy.review_from <= threshold <= review <= duplicate <= 1


@pytest.mark.parametrize(("people", "rule"), [(19, LEAVE_ONE_OUT), (9, COHORT)])
def test_the_rate_of_ten_per_cent_is_kept_by_few(people: int, rule: str) -> None:
    """On identities whose pairs are all alike, which is the worst case: 1,200 galleries, one
    impostor each. Leaving ten out used to let in 18 % where 10 % was asked for.
    """
    rng, accepted = np.random.default_rng(0), 0
    for _ in range(1200):
        pairs = np.triu(rng.uniform(size=(people + 1, people + 1)), 1)
        pairs = pairs + pairs.T
        np.fill_diagonal(pairs, -1)
        enrolled, impostor = pairs[:people, :people], pairs[people, :people]
        known = (
            enrolled.max(1) if rule == LEAVE_ONE_OUT else rng.uniform(size=(people, people)).max(1)
        )
        policy = calibrated(Policy(), scores(known[:, None], rule), 0.1, strict=True)
        accepted += impostor.max() > policy.threshold
    assert accepted / 1200 < 0.1 + 2.6 * np.sqrt(0.09 / 1200)


def test_a_single_calibration_lies_where_it_is_said_to_lie() -> None:
    rng = np.random.default_rng(0)
    low, high = realised_range(99, 0.05)
    inside = 0
    for _ in range(1000):
        policy = calibrated(Policy(), scores(rng.uniform(size=(99, 1)), COHORT), 0.05, strict=True)
        inside += low <= 1 - thresholds(policy)[0] <= high
    assert 930 <= inside <= 970


def test_measured_thresholds_count_every_template() -> None:
    policy = from_measured(Policy(rate=0.01), MEASURED_HERE, 10, 0.01)
    assert policy is not None
    assert policy.threshold == 0.5  # 1 % of searches among ten is 0.1 % of comparisons
    assert (policy.promised, policy.rule) == (0.01, MEASURED)
    assert policy.review == 0.6
    assert policy.review_from == 0.4
    assert policy.duplicate == pytest.approx(0.8)  # beyond what was measured: half-way to 1
    many = from_measured(Policy(rate=0.01), MEASURED_HERE, 1000, 0.01)
    assert many is not None
    assert many.promised == pytest.approx(0.1)
    assert from_measured(Policy(), MEASURED_HERE, 10_000, 0.01) is None


def test_measured_thresholds_that_the_gallery_contradicts_are_not_taken(tmp_path: Path) -> None:
    gallery = made(tmp_path, 12, measured=MEASURED_HERE)
    assert gallery.policy.rule in (MEASURED, LEAVE_ONE_OUT)
    low = MeasuredThresholds("elsewhere", 10**6, (0.1, 0.0001), (-0.9, -0.8))
    with Gallery.create(tmp_path / "low.db", encoder="e1", dim=DIM, measured=low) as other:
        for who in range(12):
            other.enrol(f"p{who}", photos(who), force=True)
        assert other.policy.rule == LEAVE_ONE_OUT
        assert other.policy.promised == pytest.approx(2 / 13)
    flat = scores(np.full((12, 1), 0.5), LEAVE_ONE_OUT)
    assert contradicts(flat, Policy(threshold=0.4, promised=0.01, rate=0.01, rule=MEASURED))
    assert not contradicts(flat, Policy(threshold=0.6, promised=0.01, rate=0.01, rule=MEASURED))


# --- galleries


def test_a_gallery_calibrates_itself_as_soon_as_it_can_promise_anything(tmp_path: Path) -> None:
    gallery = made(tmp_path, 8)
    decision = gallery.identify(photos(3, 1, seed=5))[0]
    assert (decision.identity, decision.certain, decision.threshold) == (None, False, None)
    assert decision.candidates[0][0] == "p3"
    assert gallery.info()["promise"].startswith("Not calibrated: with 8 identities")
    gallery.enrol("p8", photos(8), force=True)
    decision = gallery.identify(photos(3, 1, seed=5))[0]
    assert decision.promised == pytest.approx(0.2)
    assert decision.rule == LEAVE_ONE_OUT
    assert "with 9 identities; 1 % takes 199" in gallery.info()["promise"]
    promises = []
    for who in range(9, 20):
        gallery.enrol(f"p{who}", photos(who), force=True)
        promises.append(gallery.policy.promised)
    assert promises == [pytest.approx(2 / (n + 1)) for n in range(10, 21)]
    for who in range(9, 20):
        gallery.remove(f"p{who}")
    gallery.remove("p0")
    assert gallery.policy.threshold is None


def test_a_cohort_counts_people_and_not_photos(tmp_path: Path) -> None:
    gallery = made(tmp_path, 5)
    cohort = np.concatenate([photos(100 + who, 10) for who in range(5)])
    persons = [f"person {who}" for who in range(5) for _ in range(10)]
    with pytest.raises(ConfigError, match="at least 49 people in the cohort, but there are 5"):
        gallery.calibrate(0.02, cohort=cohort, persons=persons)
    result = gallery.calibrate(0.2, cohort=cohort, persons=persons)
    assert (result.persons, result.policy.rule, result.warnings) == (5, COHORT, ())
    assert result.range is not None
    assert gallery.calibrate(0.02, cohort=cohort).persons == 50  # where nobody says who they are
    with pytest.raises(GalleryError, match="There are 50 vectors in the cohort"):
        gallery.calibrate(0.2, cohort=cohort, persons=persons[:3])
    gallery.forget_cohort()
    assert gallery.policy.threshold is None


def test_a_cohort_of_the_enrolled_is_noticed(tmp_path: Path) -> None:
    gallery = made(tmp_path, 5)
    others = np.concatenate([photos(100 + who) for who in range(8)])
    before = gallery.policy
    with pytest.raises(GalleryError, match=r"holds people who are enrolled: p2\. A threshold"):
        gallery.calibrate(0.2, cohort=np.concatenate([others, photos(2)]))
    with pytest.raises(GalleryError, match=r"holds people who are enrolled: p4\. A threshold"):
        gallery.calibrate(0.2, cohort=others, persons=["p4 ", *"abcdefghijklmno"])
    assert gallery.policy == before
    assert gallery.info()["cohort_persons"] == 0
    result = gallery.calibrate(0.2, cohort=np.concatenate([others, photos(3, 4, seed=9)]))
    assert "people of the cohort look like somebody enrolled" in result.warnings[0]
    assert "like p3" in result.warnings[0]


def test_who_is_enrolled_out_of_the_cohort_is_noticed(tmp_path: Path) -> None:
    gallery = made(tmp_path, 5)
    gallery.calibrate(0.2, cohort=np.concatenate([photos(100 + who) for who in range(8)]))
    before, _, _ = thresholds(gallery.policy)
    assert gallery.enrol("somebody new", photos(200)).warnings == ()
    (warning,) = gallery.enrol("p103", photos(103)).warnings
    after, _, _ = thresholds(gallery.policy)
    assert "looks like somebody of the cohort (similarity 1.000)" in warning
    assert f"the threshold is {after:.3f} now" in warning
    assert after > before


def test_who_is_merged_and_in_the_cohort_is_noticed(tmp_path: Path) -> None:
    gallery = made(tmp_path, 5)
    gallery.calibrate(0.2, cohort=np.concatenate([photos(100 + who) for who in range(8)]))
    gallery.enrol("p103", photos(103))
    gallery.enrol("somebody new", photos(200))
    assert gallery.merge("somebody new", "p2", force=True).warnings == ()
    (warning,) = gallery.merge("p103", "p3", force=True).warnings
    assert "p3 looks like somebody of the cohort (similarity 1.000)" in warning


def test_a_second_name_for_somebody_who_is_no_duplicate_is_noticed(tmp_path: Path) -> None:
    gallery = made(tmp_path, 5)
    gallery.set_policy(Policy(threshold=0.3, review=0.5, duplicate=0.9999))
    (warning,) = gallery.enrol("p3 again", photos(3, seed=7)).warnings
    assert "of p3 again would have been taken for p3" in warning
    assert "certain above 0.500" in warning
    assert gallery.enrol("somebody new", photos(200)).warnings == ()


def test_duplicates_follow_the_scores_and_lie_above_the_threshold(tmp_path: Path) -> None:
    gallery = made(tmp_path, 40)
    threshold, review, duplicate = thresholds(gallery.policy)
    assert threshold < review < duplicate < 1
    for who in range(100, 140):  # nobody new is taken for a duplicate
        assert not any("looks like" in w for w in gallery.enrol(f"new {who}", photos(who)).warnings)
    with pytest.raises(GalleryError, match="looks like p7"):
        gallery.enrol("p7 again", photos(7, 1, seed=4))


def test_people_enrolled_as_one_are_noticed(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "g.db", encoder="e", dim=3)
    result = gallery.enrol("Ada", [[1.0, 0, 0], [0.99, 0.1, 0], [0, 0, 1.0]])
    (warning,) = result.warnings
    assert "Photo 3 is unlike the others of Ada" in warning
    result = gallery.enrol(
        "Ben",
        [[0, 1.0, 0], [0, 0.99, 0.1], [-1.0, 0, 0]],
        photos=["1.png", "2.png", "3.png"],
        skip_unlike=True,
    )
    assert len(result.templates) == 2
    assert "3.png is unlike the others of Ben" in result.warnings[0]


def test_the_same_photo_changes_nothing(tmp_path: Path) -> None:
    gallery = made(tmp_path, 3)
    before = gallery.audit()
    result = gallery.enrol("p1 ", photos(1))
    assert (result.templates, result.known) == ((), 2)
    assert gallery.audit() == before
    result = gallery.enrol("p1", np.r_[photos(1), photos(1, 1, seed=7), photos(1, 1, seed=7)])
    assert (len(result.templates), result.known) == (1, 3)
    result = gallery.enrol("p1", photos(1), consent="signed")
    assert gallery.identities()[1]["consent"] == "signed"


def test_an_empty_gallery_answers_in_json(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "g.db", encoder="e", dim=3)
    decision = gallery.identify([[1.0, 0, 0]])[0]
    assert isinstance(decision, Decision)
    assert (decision.similarity, decision.candidates, decision.certain) == (None, (), False)
    json.dumps([gallery.info(), gallery.audit()], allow_nan=False)
    gallery.set_policy(Policy(threshold=0.3))
    assert gallery.identify([[1.0, 0, 0]])[0].answer == "unknown"


@pytest.fixture
def new_york() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "America/New_York"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def test_a_date_without_a_zone_is_local_time(tmp_path: Path, new_york: None) -> None:
    from quickstudy.gallery.moments import shown

    gallery = Gallery.create(tmp_path / "g.db", encoder="e", dim=3)
    until = (datetime.now() + timedelta(hours=2)).replace(microsecond=0)
    result = gallery.enrol("Ada", [[1.0, 0, 0]], retain_until=until)
    assert gallery.expire().names == ()
    assert result.retain_until is not None
    assert datetime.fromisoformat(result.retain_until).astimezone().replace(tzinfo=None) == until
    assert shown("2026-07-01T16:00:00+00:00") == "2026-07-01 12:00 EDT (2026-07-01 16:00 UTC)"
    again = gallery.enrol("Ada", [[1.0, 0, 0.1]], retain_until=f" {until.isoformat()} ")
    assert again.retain_until == result.retain_until
    with pytest.raises(GalleryError, match="such as 2027-01-31, got 'tomorrow'"):
        gallery.enrol("Ada", [[1.0, 0, 0]], retain_until="tomorrow")
    assert gallery.expire(datetime.now() + timedelta(hours=3)).names == ("Ada",)
    assert gallery.prune_audit(datetime.now() - timedelta(minutes=1)) == 0
    assert gallery.prune_audit(datetime.now() + timedelta(minutes=1)) == 3
