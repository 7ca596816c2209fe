import pytest
import torch

from quickstudy.bench import WORKLOADS, Workload
from quickstudy.bench.textbook import features, scores, textbook
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Classes, Reals


def test_the_workloads_are_those_that_were_promised() -> None:
    promised = (
        "W1 W1s1 W2 W3 W4 W5 W6-60way W6-5way W6-84 W7 W8-maml W8-protonet W8-mini-maml "
        "W8-mini-protonet"
    )
    assert list(WORKLOADS) == promised.split()
    assert all(name == w.name for name, w in WORKLOADS.items())


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_tasks_are_as_large_as_they_say_and_always_the_same(name: str) -> None:
    w = WORKLOADS[name].changed(n_tasks=1)
    tasks, again = w.tasks(), w.tasks()
    assert all(torch.equal(a, b) for a, b in zip(tasks, again, strict=True))
    assert tasks.support_x[0].numel() + tasks.query_x[0].numel() == w.task_numel
    episode = w.episode(tasks)
    assert episode.target == (Reals(1) if w.regression else Classes(w.setting.n_way))
    assert Workload.from_json(w.to_json()) == w


@pytest.mark.parametrize("name", ["W1", "W7"])
def test_the_network_by_hand_is_the_network_of_layers(name: str) -> None:
    w = WORKLOADS[name].changed(n_tasks=1)
    model, x = textbook(w), w.tasks().support_x[0]
    p = dict(model.named_parameters())
    torch.testing.assert_close(scores(p, features(p, x)), model(x))


def test_the_network_leaves_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = textbook(WORKLOADS["W1"]), textbook(WORKLOADS["W1"])
    assert torch.equal(before, torch.get_rng_state())
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_impossible_workloads_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'fomaml'"):
        WORKLOADS["W1"].changed(algorithm="fomamml")
    with pytest.raises(ConfigError, match="at least 1 task, got n_tasks=0"):
        WORKLOADS["W1"].changed(n_tasks=0)
