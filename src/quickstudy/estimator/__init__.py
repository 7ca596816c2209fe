"""Classifiers in scikit-learn's form: a few examples per class, classes added at any time, and strangers refused."""

from quickstudy.estimator.classifier import Diagnosis as Diagnosis
from quickstudy.estimator.classifier import FewShotClassifier as FewShotClassifier
from quickstudy.estimator.encoders import ImageEncoder as ImageEncoder
from quickstudy.estimator.encoders import SoundEncoder as SoundEncoder
from quickstudy.estimator.encoders import TextEncoder as TextEncoder
from quickstudy.estimator.open_set import Decision as Decision
from quickstudy.estimator.open_set import OpenSetClassifier as OpenSetClassifier
from quickstudy.estimator.oslo import Oslo as Oslo
from quickstudy.estimator.page import fit_page as fit_page
from quickstudy.estimator.patch_memory import PatchMemory as PatchMemory
from quickstudy.estimator.saved import Encoding as Encoding
from quickstudy.estimator.saved import FittedModel as FittedModel
