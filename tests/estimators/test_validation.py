"""Labels keep their kind, vectors their features, and what makes no sense is refused in words."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report
from sklearn.model_selection import GridSearchCV, cross_val_score

from quickstudy.core.errors import ConfigError, DataError
from quickstudy.estimators import (
    FewShotClassifier,
    InContextClassifier,
    InContextRegressor,
    OpenSetClassifier,
    OSLOClassifier,
)
from quickstudy.estimators.scaling import unit

DIM = 4
LABELS: dict[str, Any] = {
    "texts": ["ash", "elm", "oak"],
    "objects": np.asarray(["ash", "elm", "oak"], dtype=object),
    "int64": np.asarray([0, 1, 2]),
    "int8": np.asarray([-3, 0, 5], dtype=np.int8),
    "uint8": np.asarray([0, 1, 200], dtype=np.uint8),
    "floats": np.asarray([0.0, 1.0, 2.0]),
}
NAMES: dict[str, Any] = {
    "texts": "yew",
    "objects": "yew",
    "int64": 7,
    "int8": 9,
    "uint8": 9,
    "floats": 7.0,
}


def blobs(seed: int = 0, n: int = 2, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of classes that lie apart, and the place of each one's class."""
    rng = np.random.default_rng(seed)
    place = np.repeat(np.arange(classes), n)
    return np.eye(DIM)[place] * 9 + rng.normal(size=(len(place), 4)), place


def named(kind: str, place: np.ndarray) -> np.ndarray:
    return np.asarray(LABELS[kind])[place]


@pytest.mark.parametrize("kind", LABELS)
def test_predictions_have_the_dtype_of_the_labels_also_after_a_class_came(kind: str) -> None:
    x, place = blobs()
    y = named(kind, place)
    model = FewShotClassifier().fit(x, y)
    assert model.predict(x).dtype == np.asarray(y).dtype
    model.add_class(NAMES[kind], np.eye(DIM)[3:] * 9)
    assert model.predict(x).tolist() == np.asarray(y).tolist()
    assert model.predict(np.eye(DIM)[3:])[0] == NAMES[kind]
    assert model.predict(x).dtype.kind == np.asarray(y).dtype.kind
    assert model.remove_class(NAMES[kind]).predict(x).tolist() == np.asarray(y).tolist()


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(LABELS)),
    st.one_of(
        st.text(max_size=3),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.booleans(),
        st.none(),
        st.just(np.datetime64("NaT", "s")),
        st.just(np.float32("nan")),
        st.binary(max_size=2),
    ),
)
def test_a_new_label_is_of_the_same_kind_or_nothing_changes(kind: str, name: Any) -> None:
    x, place = blobs()
    y = np.asarray(named(kind, place))
    model = FewShotClassifier().fit(x, y)
    try:
        model.add_class(name, np.eye(DIM)[3:] * 9)
    except ValueError:
        assert model.classes_.tolist() == np.unique(y).tolist()
        assert model.classes_.dtype == np.unique(y).dtype
        return
    assert model.classes_.dtype.kind == y.dtype.kind
    assert name in model.classes_.tolist()
    assert model.predict(x).tolist() == y.tolist()


@pytest.mark.parametrize("kind", ["int64", "int8", "floats"])
def test_a_text_among_numbers_is_refused(kind: str) -> None:
    x, place = blobs()
    model = FewShotClassifier().fit(x, named(kind, place))
    with pytest.raises(DataError, match=r"'cat' is a text. Choose a name of the same kind"):
        model.add_class("cat", x[:1])


@pytest.mark.parametrize("missing", [float("nan"), None, np.datetime64("NaT", "s")])
@pytest.mark.parametrize(
    "estimator", [FewShotClassifier, OpenSetClassifier, OSLOClassifier, InContextClassifier]
)
def test_missing_labels_are_refused(estimator: Any, missing: Any) -> None:
    x, _ = blobs()
    for y in (["a", missing, "a", "b", "b", "b"], [0, missing, 0, 1, 1, 1]):
        with pytest.raises(DataError, match="1 of 6 labels are missing, the first in row 1"):
            estimator().fit(x, y)
    pandas = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="labels are missing, the first in row 2"):
        estimator().fit(x, pandas.Series(["a", "a", pandas.NA, "b", "b", "b"]))


def test_texts_and_numbers_are_not_mixed() -> None:
    x, _ = blobs()
    with pytest.raises(DataError, match="1 of 6 are texts and the others are not"):
        FewShotClassifier().fit(x, [1, "a", 1, 2, 2, 2])


@pytest.mark.parametrize("head", ["prototype", "cosine", "ridge", "logistic", "gaussian", "auto"])
@settings(deadline=None, max_examples=6)
@given(st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.5]), min_size=6, max_size=6))
def test_what_has_no_weight_is_not_learned_and_never_wins(head: str, weight: list[float]) -> None:
    x, place = blobs()
    totals = np.bincount(place, weight)
    if (totals == 0).any():
        with pytest.raises(ValueError, match=r"weight 0|non-zero"):
            FewShotClassifier(head).fit(x, place, sample_weight=weight)
        return
    w = np.asarray(weight)
    model = FewShotClassifier(head).fit(x, place, sample_weight=w)
    assert np.isfinite(model.class_scores(x)).all()
    assert model.predict(x).tolist() == place.tolist()
    assert np.isnan(model.left_out_scores()[w == totals[place]]).all()
    if head == "prototype":
        kept = FewShotClassifier(head).fit(x[w > 0], place[w > 0], sample_weight=w[w > 0])
        np.testing.assert_allclose(model.class_scores(x), kept.class_scores(x), atol=1e-12)


def open_set(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(30).repeat(3)
    x = 3 * rng.normal(size=(30, 8))[y] + rng.normal(size=(90, 8))
    return x, y, 3 * rng.normal(size=(99, 8))


@pytest.mark.parametrize("texts", [False, True])
def test_metrics_and_grids_take_open_set_predictions(texts: bool) -> None:
    x, y, cohort = open_set()
    labels = np.asarray([f"person {c}" for c in y]) if texts else y
    model = OpenSetClassifier().fit(x, labels, cohort=cohort)
    assert model.reject_label_ == ("unknown" if texts else -1)
    assert model.predict(x).dtype.kind == labels.dtype.kind
    assert model.score(x, labels) > 0.5
    assert "accuracy" in classification_report(labels, model.predict(x), zero_division=0.0)
    search = GridSearchCV(
        OpenSetClassifier(), {"unknown_score": ["max_similarity", "nearest"]}, cv=3
    ).fit(x, labels, cohort=cohort)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    oslo = cross_val_score(OSLOClassifier(threshold=0.3), x, labels, cv=3)
    assert np.isfinite(oslo).all()
    with pytest.raises(ConfigError, match="Choose a reject_label of the same kind"):
        OpenSetClassifier(reject_label=-1 if texts else "unknown").fit(x, labels, cohort=cohort)


@pytest.mark.parametrize("estimator", [OpenSetClassifier, OSLOClassifier])
def test_columns_in_another_order_are_refused(estimator: Any) -> None:
    pandas = pytest.importorskip("pandas")
    x, y, cohort = open_set()
    names = list("abcdefgh")
    frame = pandas.DataFrame(x, columns=names)
    others = pandas.DataFrame(cohort, columns=names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = estimator().fit(frame, y, cohort=others)
        model.predict(frame)
    with pytest.raises(ValueError, match="feature names"):
        estimator().fit(frame, y, cohort=others[names[::-1]])
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[names[::-1]])
    if estimator is OpenSetClassifier:
        assert model.feature_names_in_.tolist() == names
        with pytest.raises(ValueError, match="feature names"):
            model.membership(frame[names[::-1]])
        with pytest.raises(ValueError, match="feature names"):
            model.add_class(99, frame[names[::-1]])


@pytest.mark.parametrize("score", ["max_similarity", "nearest", "energy", "max_probability"])
def test_no_head_warns_of_names_it_was_not_given(score: str) -> None:
    pandas = pytest.importorskip("pandas")
    x, y, _ = open_set()
    frame = pandas.DataFrame(x, columns=list("abcdefgh"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = OpenSetClassifier(
            FewShotClassifier("ridge"), unknown_score=score, false_accept_rate=0.1
        )
        model.fit(frame, y).decide(frame)


def test_features_are_bounded() -> None:
    x, place = blobs()
    x[2, 1] = 1e200
    for estimator in (
        FewShotClassifier(),
        OpenSetClassifier(),
        OSLOClassifier(threshold=0.5),
        InContextClassifier(),
        InContextRegressor(),
    ):
        with pytest.raises(DataError, match=r"Feature 1 of row 2 is 1e\+200, but at most 1e\+150"):
            estimator.fit(x, place)


@settings(deadline=None, max_examples=40)
@given(st.floats(-150, 150), st.floats(-150, 150), st.integers(0, 9))
def test_any_size_of_features_gives_finite_scores(small: float, large: float, seed: int) -> None:
    x, place = blobs(seed)
    scaled = x / np.abs(x).max() * np.r_[10.0**small, 10.0**large, 1, 1]
    lengths = np.linalg.norm(unit(scaled), axis=1)
    np.testing.assert_allclose(lengths, 1)
    for head in ("prototype", "ridge", "logistic", "gaussian"):
        model = FewShotClassifier(head).fit(scaled, place)
        assert np.isfinite(model.class_scores(scaled)).all()


def test_mahalanobis_by_matrix_products_equals_the_sum_over_features() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(40).repeat(3)
    x = rng.normal(size=(40, 16))[y] + 0.1 * rng.normal(size=(120, 16))
    model = OpenSetClassifier(unknown_score="mahalanobis").fit(
        x, y, cohort=rng.normal(size=(40, 16))
    )
    from sklearn.covariance import LedoitWolf

    u = unit(model.estimator_.support_)
    means = np.stack([u[model.estimator_.labels_ == c].mean(0) for c in range(40)])
    precision = LedoitWolf(assume_centered=True).fit(u - means[y]).precision_
    probes = rng.normal(size=(9, 16))
    gap = unit(probes)[:, None] - means
    expected = -np.einsum("ncd,de,nce->nc", gap, precision, gap).min(1)
    np.testing.assert_allclose(model.membership(probes), expected, rtol=1e-12)


def test_shares_out_of_range_are_refused() -> None:
    x, y, cohort = open_set()
    with pytest.raises(ConfigError, match="review_rate is the share"):
        OpenSetClassifier(review_rate=2).fit(x, y, cohort=cohort)


# --- columns that are no numbers

_DAYS = np.array(["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"], "M8[D]")
_LABELLED = [0, 0, 1, 1]


@pytest.mark.parametrize("estimator", [InContextClassifier, InContextRegressor, FewShotClassifier])
@pytest.mark.parametrize(
    ("table", "said"),
    [
        ([[1, "a"], [2, "b"], [3, "c"], [4, "d"]], "column 1 holds texts, such as 'a'"),
        (np.array(list("abcd"))[:, None], "column 0 holds texts, such as 'a'"),
        (_DAYS[:, None], "column 0 holds dates, such as 2020-01-01"),
        (np.array([[1, t] for t in _DAYS.tolist()], object), "column 1 holds dates"),
        ((_DAYS - _DAYS[0])[:, None], "column 0 holds durations"),
    ],
)
def test_columns_of_no_numbers_are_named(estimator: Any, table: Any, said: str) -> None:
    with pytest.raises(DataError, match=rf"{said}.*OrdinalEncoder"):
        estimator().fit(table, _LABELLED)


def test_columns_of_a_frame_are_named_by_name() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"size": [1.0, 2, 3, 4], "town": list("abcd"), "when": _DAYS})
    model = InContextClassifier().fit(frame[["size"]], _LABELLED)
    for columns, said in (
        (["size", "town"], "column 'town' holds texts, such as 'a'"),
        (["size", "when"], "column 'when' holds dates"),
        (["when"], "column 'when' holds dates"),
        (["town", "when"], "column 'town' holds texts, such as 'a', column 'when' holds dates"),
    ):
        for estimator in (InContextClassifier(), InContextRegressor(), FewShotClassifier()):
            with pytest.raises(DataError, match=said):
                estimator.fit(frame[columns], _LABELLED)
    with pytest.raises(DataError, match="column 'size' holds texts"):
        model.predict(frame[["town"]].rename(columns={"town": "size"}))


@pytest.mark.parametrize(("y", "kind"), [(list("abcd"), "texts"), (_DAYS, "dates")])
def test_a_regression_of_no_numbers_is_refused(y: Any, kind: str) -> None:
    with pytest.raises(DataError, match=rf"y holds {kind}, such as .* \(row 0\)"):
        InContextRegressor().fit(np.arange(4.0)[:, None], y)


@pytest.mark.parametrize("kind", [int, float, str])
def test_one_row_per_class_is_no_reason_for_a_warning(kind: Any) -> None:
    x = np.random.default_rng(0).normal(size=(21, 2))
    labels = [kind(i) for i in range(21)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for estimator in (InContextClassifier(n_members=1), FewShotClassifier()):
            assert len(estimator.fit(x, labels).classes_) == 21
    with pytest.raises(ValueError, match="Unknown label type"):
        InContextClassifier().fit(x, x[:, 0])
