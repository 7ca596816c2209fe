"""The recipes by name."""

from collections.abc import Callable

from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.recipes.architecture import architecture_recipes
from quickstudy.recipes.caml import omniglot_camelu, omniglot_caml
from quickstudy.recipes.common_budget import common_recipes
from quickstudy.recipes.family import family_recipes
from quickstudy.recipes.few_classes import few_class_recipes
from quickstudy.recipes.gaussian_processes import gaussian_process_recipes
from quickstudy.recipes.glyphs import glyphs_fomaml, glyphs_protonet
from quickstudy.recipes.image_completion import glyphs_completion_anp
from quickstudy.recipes.mini_imagenet import (
    mini_imagenet_classify,
    mini_imagenet_distil,
    mini_imagenet_meta,
    mini_imagenet_meta_more,
    mini_imagenet_meta_whole,
    mini_imagenet_protonet,
    mini_imagenet_rfs_distil_paper,
    mini_imagenet_rfs_paper,
)
from quickstudy.recipes.omniglot import (
    omniglot_5w1s_maml,
    omniglot_5w1s_maml_paper,
    omniglot_lake_protonet,
    omniglot_protonet,
)
from quickstudy.recipes.omniglot_metric import metric_recipes
from quickstudy.recipes.omniglot_sequence import sequence_recipes
from quickstudy.recipes.published import published_recipes
from quickstudy.recipes.published_numbers import with_published
from quickstudy.recipes.recipe import Recipe
from quickstudy.recipes.self_supervised import self_supervised_recipes
from quickstudy.recipes.semi_supervised import semi_supervised_recipes
from quickstudy.recipes.sinusoid import sinusoid_maml, sinusoid_tnp
from quickstudy.recipes.symbols import symbols_protonet
from quickstudy.recipes.voices import voices_protonet
from quickstudy.recipes.zero_shot import attributes_zero_shot

RECIPES: dict[str, Callable[[], Recipe]] = {
    "glyphs-protonet": glyphs_protonet,
    "glyphs-fomaml": glyphs_fomaml,
    "omniglot-protonet": omniglot_protonet,
    "omniglot-lake-protonet": omniglot_lake_protonet,
    "omniglot-5w1s-maml": omniglot_5w1s_maml,
    "omniglot-5w1s-maml-paper": omniglot_5w1s_maml_paper,
    "mini-imagenet-protonet": mini_imagenet_protonet,
    "mini-imagenet-classify": mini_imagenet_classify,
    "mini-imagenet-meta": mini_imagenet_meta,
    "mini-imagenet-meta-more": mini_imagenet_meta_more,
    "mini-imagenet-meta-whole": mini_imagenet_meta_whole,
    "mini-imagenet-distil": mini_imagenet_distil,
    "mini-imagenet-rfs-paper": mini_imagenet_rfs_paper,
    "mini-imagenet-rfs-distil-paper": mini_imagenet_rfs_distil_paper,
    "symbols-protonet": symbols_protonet,
    "voices-protonet": voices_protonet,
    "sinusoid-maml": sinusoid_maml,
    "sinusoid-tnp": sinusoid_tnp,
    "glyphs-completion-anp": glyphs_completion_anp,
    "omniglot-caml": omniglot_caml,
    "omniglot-camelu": omniglot_camelu,
    "attributes-zero-shot": attributes_zero_shot,
    **gaussian_process_recipes(),
    **metric_recipes(),
    **sequence_recipes(),
    **architecture_recipes(),
    **family_recipes(),
    **few_class_recipes(),
    **semi_supervised_recipes(),
    **self_supervised_recipes(),
    **published_recipes(),
    **common_recipes(),
}


def recipe_named(name: str) -> Recipe:
    """The recipe called ``name``, with the papers' numbers in its settings.

    Raises:
        ConfigError: if there is none, with the nearest spelling.
    """
    if name not in RECIPES:
        near = did_you_mean(
            name, RECIPES, listed_by="`quickstudy list`, or quickstudy.recipes.RECIPES"
        )
        raise ConfigError(f"No recipe is called '{name}'. {near}")
    return with_published(RECIPES[name]())
