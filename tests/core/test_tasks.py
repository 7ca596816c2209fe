import pytest
import torch

from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Episode, Examples, Reals


class Numbers(AbstractTasks):
    def __init__(self, *, uniform=True):
        self.uniform = uniform

    def batch(self, numbers):
        x = torch.tensor(numbers, dtype=torch.float32)[:, None, None]
        return Episode(Examples(x, x), Examples(x, x), Reals(1))


def drawn(tasks, n, size):
    return [e.support.x.flatten().tolist() for e in tasks.batches(range(n), size)]


def test_batches_come_in_order_the_last_one_shorter():
    assert drawn(Numbers(), 7, 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert drawn(Numbers(), 0, 3) == []


def test_tasks_of_varying_shape_come_one_at_a_time():
    assert drawn(Numbers(uniform=False), 3, 32) == [[0], [1], [2]]


def test_a_stream_stays_where_it_is_unless_it_can_move():
    tasks = Numbers()
    assert tasks.to("cpu") is tasks


@pytest.mark.parametrize("wrong", [(-1, 1, 1), (5, 0, 1), (5, 1, 0)])
def test_settings_that_are_no_task_are_refused_with_what_came(wrong):
    with pytest.raises(ConfigError) as caught:
        Setting(*wrong)
    n_way, n_shot, n_query = wrong
    assert f"got n_way={n_way}, n_shot={n_shot}, n_query={n_query}." in str(caught.value)


def test_settings_read_as_the_field_writes_them():
    assert str(Setting(5, 1, 15)) == "5-way 1-shot"
    assert str(Setting(0, 10, 10)) == "10-shot"
