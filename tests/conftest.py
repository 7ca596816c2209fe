"""Tests run with every shape annotation of quickstudy checked, on one thread, from one seed."""

from jaxtyping import install_import_hook

# The hook pastes this text into its decorator. It decorates method by method, where beartype cannot
# know what typing.Self stands for,
# and like every type checker it should take 1 for a float.
_ANY_SELF = "beartype.FrozenDict({beartype.typing.Self: beartype.typing.Any})"
install_import_hook(
    "quickstudy",
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True, "
    f"hint_overrides={_ANY_SELF}))",
)

import random  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

# Toy tensors gain nothing from threads, and one of them leaves the other cores to parallel tests.
torch.set_num_threads(1)

# A slow machine is no failure.
settings.register_profile("quickstudy", deadline=None)
settings.load_profile("quickstudy")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
