"""The types that everything else speaks. Needs torch and numpy only; every other package may import
it.
"""

from typing import TYPE_CHECKING

from quickstudy.core.lazy import attach

if TYPE_CHECKING:
    from quickstudy.core.encoder import AbstractEncoder as AbstractEncoder
    from quickstudy.core.errors import QuickstudyError as QuickstudyError
    from quickstudy.core.learner import AbstractLearner as AbstractLearner
    from quickstudy.core.learner import Traits as Traits
    from quickstudy.core.objective import AbstractObjective as AbstractObjective
    from quickstudy.core.objective import MetaStep as MetaStep
    from quickstudy.core.predictor import Predictor as Predictor
    from quickstudy.core.setting import Setting as Setting
    from quickstudy.core.tasks import AbstractData as AbstractData
    from quickstudy.core.tasks import AbstractTasks as AbstractTasks
    from quickstudy.core.transform import AbstractTransform as AbstractTransform
    from quickstudy.core.types import Classes as Classes
    from quickstudy.core.types import Episode as Episode
    from quickstudy.core.types import Examples as Examples
    from quickstudy.core.types import Reals as Reals
else:
    __getattr__, __dir__, __all__ = attach(__name__)
