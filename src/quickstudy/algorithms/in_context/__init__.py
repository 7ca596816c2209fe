"""In-context learners that are fitted to a prior: one network reads a support set and answers."""

from quickstudy.algorithms.in_context.anp import ANP as ANP
from quickstudy.algorithms.in_context.bins import Binned as Binned
from quickstudy.algorithms.in_context.caml import CAML as CAML
from quickstudy.algorithms.in_context.cnp import CNP as CNP
from quickstudy.algorithms.in_context.tabular import TabularInContext as TabularInContext
from quickstudy.algorithms.in_context.tnp import TNP as TNP
