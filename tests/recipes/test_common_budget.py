"""The recipes of the common budget."""

import inspect

from quickstudy.algorithms import ALGORITHMS
from quickstudy.recipes.common_budget import WITH_OUTPUTS


def test_the_learners_with_outputs_are_those_that_take_their_number() -> None:
    takes = {
        name for name in ALGORITHMS if "n_out" in inspect.signature(ALGORITHMS[name]).parameters
    }
    assert takes == WITH_OUTPUTS
