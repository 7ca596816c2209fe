"""Search for settings of a recipe by short trainings."""

from quickstudy.tuning.tune import Choice as Choice
from quickstudy.tuning.tune import Range as Range
from quickstudy.tuning.tune import Trial as Trial
from quickstudy.tuning.tune import TuneResult as TuneResult
from quickstudy.tuning.tune import parse_space as parse_space
from quickstudy.tuning.tune import short as short
from quickstudy.tuning.tune import tune as tune
