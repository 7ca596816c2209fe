"""Architecture search: from mixtures of operations to one cell."""

from quickstudy.search.decode import Architecture as Architecture
from quickstudy.search.decode import adapted_logits as adapted_logits
from quickstudy.search.decode import decode as decode
from quickstudy.search.decode import random_cell as random_cell
