import json

import pytest
import torch

from quickstudy.algorithms.in_context import TabularInContext
from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import seed_everything
from quickstudy.data.priors import TableSizes
from quickstudy.recipes import save_learner, tables
from quickstudy.recipes.tables import TablesPlan, train_tables

PLAN = TablesPlan(
    sizes=TableSizes(rows=(8, 16), columns=(2, 4), classes=(2, 3), queries=8, block=4),
    warmup=2,
    decay=0.01,
)


def _learner():
    seed_everything("test", "tables recipe")
    return TabularInContext(width=16, heads=1, n_summary=1, grid_layers=1, row_layers=1, n_bins=8)


needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch 2.9 has Muon")


@needs_muon
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "EVERY", 3)
    through, stopped = _learner(), _learner()
    train_tables(through, tmp_path / "through", steps=6, plan=PLAN)
    loss, seen = TabularInContext.loss, []

    def interrupted(self, episode):
        seen.append(episode)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return loss(self, episode)

    monkeypatch.setattr(TabularInContext, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_tables(stopped, tmp_path / "stopped", steps=6, plan=PLAN)
    monkeypatch.setattr(TabularInContext, "loss", loss)
    again = _learner()
    train_tables(again, tmp_path / "stopped", steps=6, plan=PLAN)
    for name, value in through.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    log = (tmp_path / "stopped" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [3, 6]


@needs_muon
def test_training_on_the_prior_lowers_the_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "EVERY", 40)
    learner = _learner()
    sizes = TableSizes(rows=(24, 24), columns=(2, 3), classes=(2, 2), queries=16, regression=0.0)
    lines = train_tables(
        learner, tmp_path, steps=80, plan=TablesPlan(sizes=sizes, warmup=10, lr=5e-3)
    )
    assert lines[-1]["classification"] < lines[0]["classification"] - 0.02
    assert not learner.training


@needs_muon
def test_the_command_begins_with_a_saved_learner(tmp_path, monkeypatch):
    saved = TabularInContext()
    save_learner(saved, tmp_path / "saved")
    seen = {}

    def started(learner, folder, **_):
        seen.update({name: value.clone() for name, value in learner.state_dict().items()})
        return [{}]

    monkeypatch.setattr(tables, "train_tables", started)
    monkeypatch.setattr("sys.argv", ["tables", "out", "--start", str(tmp_path / "saved")])
    tables.main()
    for name, value in saved.state_dict().items():
        assert torch.equal(seen[name], value), name


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(ConfigError, match="adamw"):
        TablesPlan(optimiser="sgd").optimiser_of(_learner())
