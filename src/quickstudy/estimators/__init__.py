"""Classifiers in scikit-learn's form: a few examples per class, classes added at any time, and
unknowns refused; and whole models of folders and tables.
"""

from typing import TYPE_CHECKING

from quickstudy.core.lazy import attach

if TYPE_CHECKING:
    from quickstudy.estimators.classifier import Diagnosis as Diagnosis
    from quickstudy.estimators.classifier import FewShotClassifier as FewShotClassifier
    from quickstudy.estimators.comparison import HeadComparison as HeadComparison
    from quickstudy.estimators.encoding import Encoding as Encoding
    from quickstudy.estimators.feedback import Feedback as Feedback
    from quickstudy.estimators.fit import fit_folder as fit_folder
    from quickstudy.estimators.fit import fit_table as fit_table
    from quickstudy.estimators.fitted import FittedModel as FittedModel
    from quickstudy.estimators.in_context import InContextClassifier as InContextClassifier
    from quickstudy.estimators.in_context import InContextRegressor as InContextRegressor
    from quickstudy.estimators.model_header import class_counts as class_counts
    from quickstudy.estimators.open_set import OpenSetClassifier as OpenSetClassifier
    from quickstudy.estimators.open_set import OpenSetPrediction as OpenSetPrediction
    from quickstudy.estimators.oslo import OSLOClassifier as OSLOClassifier
    from quickstudy.estimators.prediction import Prediction as Prediction
    from quickstudy.estimators.saved import from_pretrained as from_pretrained
    from quickstudy.estimators.saved import load as load
    from quickstudy.estimators.saved import push_to_hub as push_to_hub
    from quickstudy.estimators.scoring import Score as Score
    from quickstudy.estimators.scoring import score_model as score_model
    from quickstudy.estimators.sorting import SortedFiles as SortedFiles
    from quickstudy.estimators.starting import BlankModel as BlankModel
    from quickstudy.estimators.summary import FitSummary as FitSummary
    from quickstudy.estimators.transformers import AudioEncoder as AudioEncoder
    from quickstudy.estimators.transformers import ImageEncoder as ImageEncoder
    from quickstudy.estimators.transformers import TextEncoder as TextEncoder
else:
    __getattr__, __dir__, __all__ = attach(__name__)
