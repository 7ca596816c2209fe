"""Classifiers in scikit-learn's form: a few examples per class, classes added at any time, and strangers refused."""

from quickstudy.estimator.classifier import Diagnosis as Diagnosis
from quickstudy.estimator.classifier import FewShotClassifier as FewShotClassifier
from quickstudy.estimator.images import ImageEncoder as ImageEncoder
from quickstudy.estimator.open_set import Decision as Decision
from quickstudy.estimator.open_set import OpenSetClassifier as OpenSetClassifier
