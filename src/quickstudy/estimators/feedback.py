"""What a person says of an answer: kept as a vector, learned from, and undone again."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.open_set import OpenSetClassifier

VERDICTS = ("right", "wrong")

Classifier: TypeAlias = FewShotClassifier | OpenSetClassifier


@dataclass(frozen=True, eq=False)
class Feedback:
    """One verdict on one answer.

    Args:
        id: names it, so that it can be undone.
        verdict: "right" or "wrong".
        label: the class that the item became an example of; None of a negative.
        time: when it was given, in ISO 8601, UTC.
        vector: of the item, ``[D]``.
    """

    id: str
    verdict: str
    label: Any
    time: str
    vector: Float[NDArray[np.float64], " D"]

    def to_json(self) -> dict[str, Any]:
        """Everything but the vector, as JSON values."""
        return {"id": self.id, "verdict": self.verdict, "label": self.label, "time": self.time}

    @classmethod
    def from_json(
        cls, values: dict[str, Any], vector: Float[NDArray[np.float64], " D"]
    ) -> "Feedback":
        """Back from what `to_json` gave, and the vector."""
        return cls(values["id"], values["verdict"], values["label"], values["time"], vector)


def apply_feedback(
    classifier: Classifier, vector: Float[NDArray[np.float64], " D"], verdict: str, label: Any
) -> Feedback:
    """Change a classifier as the verdict asks: see `FittedModel.give_feedback`.

    Raises:
        ConfigError: for a verdict that cannot be learned from.
    """
    if verdict not in VERDICTS:
        raise ConfigError(f"There is no verdict '{verdict}'. {did_you_mean(verdict, VERDICTS)}")
    row = vector[None]
    if label is not None:
        known = _known(classifier)
        if label in known.classes_.tolist():
            classifier.update_class(label, np.concatenate((_examples(known, label), row)))
        else:
            if verdict == "right":
                raise ConfigError(
                    f"An answer cannot be right with the class {label!r}, which the model does not "
                    f"know. {did_you_mean(str(label), map(str, known.classes_.tolist()))}"
                )
            classifier.add_class(label, row)
    elif verdict == "right":
        raise ConfigError(
            "An answer that is right makes its item an example of a class, and no class came. Give "
            "the class."
        )
    elif isinstance(classifier, OpenSetClassifier):
        classifier.add_negative(row)
    else:
        raise ConfigError(
            "The model never says unknown, so it cannot learn that something belongs to no class. "
            "Give the class that is right, or fit it with a false-accept rate."
        )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Feedback(secrets.token_hex(8), verdict, label, now, vector)


def withdraw_feedback(classifier: Classifier, feedback: Feedback) -> None:
    """Take what feedback added out of a classifier.

    Raises:
        ConfigError: when it is no longer in it.
    """
    if feedback.label is None:
        assert isinstance(classifier, OpenSetClassifier)
        classifier.remove_negative(feedback.vector[None])
        return
    rows = _examples(_known(classifier), feedback.label)
    same = np.flatnonzero((rows == feedback.vector).all(1))
    if not len(same):
        raise ConfigError(
            f"The class {feedback.label!r} no longer holds the example of this feedback, so there "
            "is nothing to undo."
        )
    classifier.update_class(feedback.label, np.delete(rows, same[-1], axis=0))


def _known(classifier: Classifier) -> FewShotClassifier:
    return classifier.estimator_ if isinstance(classifier, OpenSetClassifier) else classifier


def _examples(known: FewShotClassifier, label: Any) -> NDArray[np.float64]:
    return known.support_[known.labels_ == known.classes_.tolist().index(label)]
