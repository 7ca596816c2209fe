"""The papers' numbers go with the settings that they are of."""

from quickstudy.recipes import RECIPES, recipe_named
from quickstudy.recipes.published_numbers import published_numbers


def test_every_number_is_of_a_setting_that_there_is_and_says_where_it_is_from() -> None:
    numbers = published_numbers()
    assert numbers
    for (recipe, setting), number in numbers.items():
        assert recipe in RECIPES, recipe
        by_title = {e.title: e for e in recipe_named(recipe).evaluations}
        assert setting in by_title, (recipe, setting)
        evaluation = by_title[setting]
        assert (evaluation.published, evaluation.source) == (number.value, number.source)
        assert number.source
        assert number.protocol
        assert number.checked in ("authors", "quoted", "memory")
        assert (number.peer is None) == (not number.peer_source)


def test_no_number_stands_anywhere_else() -> None:
    numbers = published_numbers()
    for name in RECIPES:
        assert all(e.published is None for e in RECIPES[name]().evaluations), name
        for e in recipe_named(name).evaluations:
            assert (e.published is not None) == ((name, e.title) in numbers)
