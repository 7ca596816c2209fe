"""quickstudy trains a model on many learning tasks so that it solves new tasks from a few
examples.

The top level holds the verbs and the types of core; everything else is in its room:
``quickstudy.algorithms.ProtoNet``, ``quickstudy.encoders.Conv4``, ``quickstudy.data.Omniglot``. All
of it is imported when it is first used.
"""

from typing import TYPE_CHECKING

from quickstudy.core.lazy import attach
from quickstudy.version import __version__ as __version__

if TYPE_CHECKING:
    from quickstudy import algorithms as algorithms
    from quickstudy import analysis as analysis
    from quickstudy import anomaly as anomaly
    from quickstudy import augment as augment
    from quickstudy import data as data
    from quickstudy import encoders as encoders
    from quickstudy import estimators as estimators
    from quickstudy import evaluation as evaluation
    from quickstudy import export as export
    from quickstudy import functional as functional
    from quickstudy import gallery as gallery
    from quickstudy import inner as inner
    from quickstudy import metrics as metrics
    from quickstudy import objectives as objectives
    from quickstudy import pretrained as pretrained
    from quickstudy import recipes as recipes
    from quickstudy import rl as rl
    from quickstudy import testing as testing
    from quickstudy import training as training
    from quickstudy import tuning as tuning
    from quickstudy.core import AbstractData as AbstractData
    from quickstudy.core import AbstractEncoder as AbstractEncoder
    from quickstudy.core import AbstractLearner as AbstractLearner
    from quickstudy.core import AbstractObjective as AbstractObjective
    from quickstudy.core import AbstractTasks as AbstractTasks
    from quickstudy.core import AbstractTransform as AbstractTransform
    from quickstudy.core import Classes as Classes
    from quickstudy.core import Episode as Episode
    from quickstudy.core import Examples as Examples
    from quickstudy.core import MetaStep as MetaStep
    from quickstudy.core import Predictor as Predictor
    from quickstudy.core import QuickstudyError as QuickstudyError
    from quickstudy.core import Reals as Reals
    from quickstudy.core import Setting as Setting
    from quickstudy.core import Traits as Traits
    from quickstudy.estimators import AudioEncoder as AudioEncoder
    from quickstudy.estimators import FewShotClassifier as FewShotClassifier
    from quickstudy.estimators import FittedModel as FittedModel
    from quickstudy.estimators import ImageEncoder as ImageEncoder
    from quickstudy.estimators import OpenSetClassifier as OpenSetClassifier
    from quickstudy.estimators import TextEncoder as TextEncoder
    from quickstudy.estimators import fit_folder as fit_folder
    from quickstudy.estimators import fit_table as fit_table
    from quickstudy.estimators import load as load
    from quickstudy.evaluation import Comparison as Comparison
    from quickstudy.evaluation import Report as Report
    from quickstudy.evaluation import compare as compare
    from quickstudy.evaluation import evaluate as evaluate
    from quickstudy.pretrained import open_encoder as open_encoder
    from quickstudy.recipes import Recipe as Recipe
    from quickstudy.recipes import recipe_named as recipe_named
    from quickstudy.recipes import train_recipe as train_recipe
    from quickstudy.testing import check_learner as check_learner
    from quickstudy.training import Optimiser as Optimiser
    from quickstudy.training import Plan as Plan
    from quickstudy.training import train as train
else:
    __getattr__, __dir__, __all__ = attach(__name__)
