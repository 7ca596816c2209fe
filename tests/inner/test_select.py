import pytest

from quickstudy.core.errors import ConfigError
from quickstudy.encoders import Conv4
from quickstudy.inner.select import Selection, everything, head_only

NAMES = [
    *(f"encoder.{n}" for n, _ in Conv4(width=4).named_parameters()),
    "head.weight",
    "head.bias",
]


def test_everything_but_the_normalisations_own():
    assert everything().of(NAMES) == (
        *(f"encoder.blocks.{i}.conv.weight" for i in range(4)),
        "head.weight",
        "head.bias",
    )


def test_the_head_alone():
    assert head_only().of(NAMES) == ("head.weight", "head.bias")


@pytest.mark.parametrize(
    ("include", "exclude", "chosen"),
    [
        (("*",), (), NAMES),
        (
            ("encoder.blocks.3.*", "head.bias"),
            (),
            [
                "encoder.blocks.3.conv.weight",
                "encoder.blocks.3.norm.weight",
                "encoder.blocks.3.norm.bias",
                "head.bias",
            ],
        ),
        (("*.bias",), ("encoder.*",), ["head.bias"]),
        (
            ("encoder.blocks.[01].conv.weight",),
            (),
            ["encoder.blocks.0.conv.weight", "encoder.blocks.1.conv.weight"],
        ),
        (("head.weight", "head.*"), (), ["head.weight", "head.bias"]),
    ],
)
def test_patterns(include, exclude, chosen):
    assert Selection(include, exclude).of(NAMES) == tuple(chosen)


def test_the_order_is_that_of_the_names_not_of_the_patterns():
    assert Selection(("head.bias", "head.weight")).of(NAMES) == ("head.weight", "head.bias")


def test_case_matters_and_a_pattern_is_for_the_whole_name():
    for pattern in ("HEAD.*", "head", "weight"):
        with pytest.raises(ConfigError):
            Selection((pattern,)).of(NAMES)


def test_an_empty_selection_says_what_there_was_to_choose_from():
    with pytest.raises(ConfigError) as caught:
        Selection(("body.*",), ("head.*",)).of(["encoder.w", "head.weight"])
    assert (
        str(caught.value)
        == "The inner loop would adapt nothing: include=('body.*',), exclude=('head.*',) among "
        "encoder.w, head.weight."
    )
