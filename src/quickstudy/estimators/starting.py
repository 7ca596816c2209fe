"""A model that has no class yet: what its first class will be fitted with."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from quickstudy.core.arrays import NDArray
from quickstudy.estimators.class_names import UNKNOWN, check_names
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.encoding import Encoding
from quickstudy.estimators.fitted import FittedModel
from quickstudy.estimators.open_set import OpenSetClassifier
from quickstudy.pretrained import AbstractPretrained


@dataclass(frozen=True, eq=False)
class BlankModel:
    """An encoder and, where the model shall say unknown, a cohort: all but the classes.

    Args:
        encoder: what makes vectors of items.
        cohort: vectors of unknowns ``[n D]``; None = the model never says unknown.
        false_accept_rate: the wanted share of unknowns that are taken for a class.
    """

    encoder: AbstractPretrained
    cohort: Float[NDArray[np.float64], "n D"] | None = None
    false_accept_rate: float = 0.05

    def with_class(self, name: Any, vectors: Float[NDArray[np.float64], "n D"]) -> FittedModel:
        """The model with its first class.

        Raises:
            DataError: when the class has the name of unknowns.
            ConfigError: when the cohort is too small for the rate.
        """
        encoding = Encoding(self.encoder.kind, self.encoder.source, self.encoder.key)
        labels = [name] * len(vectors)
        if self.cohort is None:
            known = FewShotClassifier().fit(vectors, labels)
            return FittedModel(known, encoding, self.encoder)
        check_names([name])
        model = OpenSetClassifier(
            false_accept_rate=self.false_accept_rate, reject_label=UNKNOWN
        ).fit(vectors, labels, cohort=self.cohort)
        return FittedModel(model, encoding, self.encoder)
