"""Priors: endless streams of synthetic tasks that an in-context learner is fitted to."""

from quickstudy.data.priors.tables import PriorTables as PriorTables
from quickstudy.data.priors.tables import TablePrior as TablePrior
from quickstudy.data.priors.tables import TableSizes as TableSizes
