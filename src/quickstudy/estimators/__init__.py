"""Classifiers in scikit-learn's form: a few examples per class, classes added at any time, and
strangers refused.
"""

from quickstudy.estimators.classifier import Diagnosis as Diagnosis
from quickstudy.estimators.classifier import FewShotClassifier as FewShotClassifier
from quickstudy.estimators.comparison import HeadComparison as HeadComparison
from quickstudy.estimators.fitted import Encoding as Encoding
from quickstudy.estimators.fitted import FittedModel as FittedModel
from quickstudy.estimators.in_context import InContextClassifier as InContextClassifier
from quickstudy.estimators.in_context import InContextRegressor as InContextRegressor
from quickstudy.estimators.open_set import OpenSetClassifier as OpenSetClassifier
from quickstudy.estimators.open_set import OpenSetPrediction as OpenSetPrediction
from quickstudy.estimators.oslo import OSLOClassifier as OSLOClassifier
from quickstudy.estimators.transformers import AudioEncoder as AudioEncoder
from quickstudy.estimators.transformers import ImageEncoder as ImageEncoder
from quickstudy.estimators.transformers import TextEncoder as TextEncoder
