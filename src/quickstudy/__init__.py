"""quickstudy trains a model on many learning tasks so that it solves new tasks from a few
examples.
"""

from quickstudy.algorithms import ALGORITHMS as ALGORITHMS
from quickstudy.algorithms import LinearProbe as LinearProbe
from quickstudy.algorithms import MatchingNet as MatchingNet
from quickstudy.algorithms import NearestNeighbour as NearestNeighbour
from quickstudy.algorithms import ProtoNet as ProtoNet
from quickstudy.algorithms import anil as anil
from quickstudy.algorithms import fomaml as fomaml
from quickstudy.algorithms import maml as maml
from quickstudy.core.encoder import AbstractEncoder as AbstractEncoder
from quickstudy.core.errors import QuickstudyError as QuickstudyError
from quickstudy.core.learner import AbstractLearner as AbstractLearner
from quickstudy.core.learner import Traits as Traits
from quickstudy.core.objective import AbstractObjective as AbstractObjective
from quickstudy.core.objective import MetaStep as MetaStep
from quickstudy.core.predictor import Predictor as Predictor
from quickstudy.core.tasks import AbstractData as AbstractData
from quickstudy.core.tasks import AbstractTasks as AbstractTasks
from quickstudy.core.tasks import Setting as Setting
from quickstudy.core.types import Classes as Classes
from quickstudy.core.types import Episode as Episode
from quickstudy.core.types import Examples as Examples
from quickstudy.core.types import Reals as Reals
from quickstudy.encoders import MLP as MLP
from quickstudy.encoders import Conv4 as Conv4
from quickstudy.encoders import Identity as Identity
from quickstudy.evaluation import Report as Report
from quickstudy.evaluation import compare as compare
from quickstudy.evaluation import evaluate as evaluate
from quickstudy.objectives import QueryLoss as QueryLoss
from quickstudy.recipes import load as load
from quickstudy.recipes import train_recipe as train_recipe
from quickstudy.training import Optimiser as Optimiser
from quickstudy.training import Plan as Plan
from quickstudy.training import train as train
from quickstudy.version import __version__ as __version__
