"""Hyper-parameter search on validation classes."""

from quickstudy.tuning.result import Trial as Trial
from quickstudy.tuning.result import TuneResult as TuneResult
from quickstudy.tuning.space import Choice as Choice
from quickstudy.tuning.space import Range as Range
from quickstudy.tuning.space import parse_space as parse_space
from quickstudy.tuning.space import short as short
from quickstudy.tuning.tune import tune as tune
