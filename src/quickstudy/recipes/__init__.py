"""Complete recipes, each a function named for what it reproduces, and what trains and loads
them.
"""

from typing import TYPE_CHECKING

from quickstudy.core.lazy import attach

if TYPE_CHECKING:
    from quickstudy.recipes.architecture import cell_recipe as cell_recipe
    from quickstudy.recipes.architecture import conv4_recipe as conv4_recipe
    from quickstudy.recipes.lake import LakeScore as LakeScore
    from quickstudy.recipes.lake import score_lake20 as score_lake20
    from quickstudy.recipes.recipe import Evaluation as Evaluation
    from quickstudy.recipes.recipe import Part as Part
    from quickstudy.recipes.recipe import Recipe as Recipe
    from quickstudy.recipes.registry import RECIPES as RECIPES
    from quickstudy.recipes.registry import recipe_named as recipe_named
    from quickstudy.recipes.runs import Run as Run
    from quickstudy.recipes.runs import is_trained as is_trained
    from quickstudy.recipes.runs import learner_extra as learner_extra
    from quickstudy.recipes.runs import load as load
    from quickstudy.recipes.runs import load_run as load_run
    from quickstudy.recipes.runs import save_learner as save_learner
    from quickstudy.recipes.runs import saved_recipe as saved_recipe
    from quickstudy.recipes.train import train_recipe as train_recipe
else:
    __getattr__, __dir__, __all__ = attach(__name__)
