"""What a report says of a changed recipe, and of the runs that it began with."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from quickstudy.algorithms import maml, maml_pp
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.setting import Setting
from quickstudy.encoders import Conv4
from quickstudy.evaluation import EarlierRun
from quickstudy.recipes import (
    Evaluation,
    Recipe,
    Run,
    load_run,
    recipe_named,
    save_learner,
    train_recipe,
)
from quickstudy.recipes.changes import changes_of, identity_of

SETTING = Setting(3, 1, 2)


def short(name: str = "glyphs-protonet", **more: str) -> Recipe:
    changes = {"train.steps": "2", "train.validate_every": "0", "encoder.width": "4", **more}
    recipe = recipe_named(name).with_changes(changes)
    return replace(recipe, evaluations=(Evaluation(SETTING, n_tasks=3, published=0.5),))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, ()),
        ({"train.steps": "1200"}, ()),  # what it has already
        ({"train.seed": "3", "train.workers": "2", "start_from": "runs/x"}, ()),
        ({"train.steps": "9"}, ("train.steps=9",)),
        ({"learner": "simpleshot"}, ("learner=simpleshot",)),
        ({"encoder.width": "8"}, ("encoder.width=8",)),
        ({"transform": "affine"}, ("transform=affine",)),
        ({"episodes.n_way": "7", "optimiser.lr": "0.5"}, ("episodes.n_way=7", "optimiser.lr=0.5")),
    ],
)
def test_changes_of_a_recipe(changes: dict[str, str], found: tuple[str, ...]) -> None:
    recipe = recipe_named("glyphs-protonet").with_changes(changes)
    assert set(changes_of(recipe)) == set(found)
    again = recipe_named("glyphs-protonet").with_changes(
        dict(change.split("=") for change in changes_of(recipe))
    )
    assert identity_of(again) == identity_of(
        recipe.with_changes({"train.seed": str(again.train.seed), "start_from": ""})
    )


def test_changes_made_in_python_are_found_too() -> None:
    recipe = recipe_named("glyphs-protonet")
    assert changes_of(replace(recipe, train=replace(recipe.train, steps=9))) == ("train.steps=9",)
    assert changes_of(replace(recipe, name="mine", val_split="test")) == ()


def test_a_changed_recipe_loses_the_published_number(tmp_path: Path) -> None:
    run = train_recipe(short(), tmp_path / "run")
    report = run.evaluate(run.recipe.evaluations[0])
    assert report.published is None
    assert set(report.changes) == {
        "train.steps=2",
        "train.validate_every=0",
        "encoder.width=4",
    }
    assert str(report).startswith("glyphs-protonet with ")
    own = replace(run, recipe=replace(run.recipe, name="mine"))
    assert own.evaluate(run.recipe.evaluations[0]).published == 0.5
    assert own.evaluate(run.recipe.evaluations[0], n_unknown=2).published is None


def test_a_report_holds_the_chain_of_runs(tmp_path: Path) -> None:
    first = train_recipe(short(), tmp_path / "first")
    second = replace(short(), name="second", start_from=str(tmp_path / "first"))
    train_recipe(second, tmp_path / "second")
    third = replace(short(), name="third", start_from=str(tmp_path / "second"))
    train_recipe(third, tmp_path / "third")
    run = load_run(tmp_path / "third")
    report = run.evaluate(third.evaluations[0])
    assert [(e.recipe.partition(" ")[0], e.tasks, e.seed) for e in report.earlier] == [
        ("glyphs-protonet", 2, 0),
        ("second", 2, 0),
    ]
    assert report.earlier[0].seconds == round(first.result.seconds, 1)
    assert " after glyphs-protonet with " in report.name
    assert report.name.endswith(" and second (protonet)")
    save_learner(first.learner, tmp_path / "alone")
    fourth = replace(short(), name="fourth", start_from=str(tmp_path / "alone"))
    assert train_recipe(fourth, tmp_path / "fourth").earlier == (EarlierRun("alone"),)


def test_another_learner_on_the_encoder_has_the_norms_that_learned() -> None:
    trained: AbstractLearner = maml_pp(Conv4(size=28, width=4, norm="batch"), n_out=3)
    assert trained.per_step is not None
    with torch.no_grad():
        for p in trained.per_step.parameters():
            p.normal_(generator=torch.Generator().manual_seed(0))
    other = Run.on_encoder_of(trained, "nil")
    norm = other.encoder.blocks[0].norm
    first = trained.per_step.at(0)
    assert torch.equal(norm.weight, first["encoder.blocks.0.norm.weight"])
    assert torch.equal(norm.bias, first["encoder.blocks.0.norm.bias"])
    assert torch.equal(trained.encoder.blocks[0].norm.weight, torch.ones(4))  # is left alone
    plain = maml(Conv4(size=28, width=4, norm="batch"), n_out=3)
    assert Run.on_encoder_of(plain, "nil").encoder is plain.encoder
