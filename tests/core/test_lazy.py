import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import quickstudy
from quickstudy.core.lazy import Registry, exports

LAZY = ("quickstudy", *(f"quickstudy.{r}" for r in ("algorithms", "data", "encoders", "rl")))


@pytest.mark.parametrize("room", LAZY)
def test_every_name_of_a_lazy_room_is_there_and_is_listed(room: str) -> None:
    module = importlib.import_module(room)
    assert set(module.__all__) == set(exports(room)) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name).__name__.split(".")[-1] == name


@pytest.mark.parametrize("room", LAZY)
def test_no_public_name_hides_behind_a_module_of_the_same_name(room: str) -> None:
    """Importing the module would put it where the name is looked up."""
    folder = Path(str(importlib.import_module(room).__file__)).parent
    for name, module in exports(room).items():
        is_itself_a_module = module == f"{room}.{name}"
        assert is_itself_a_module or not (folder / name).exists()
        assert not (folder / f"{name}.py").exists()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'quickstudy' has no attribute 'ProtoNet'"):
        quickstudy.ProtoNet  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_a_registry_imports_what_it_is_asked_for_only() -> None:
    code = (
        "import sys; from quickstudy.algorithms import ALGORITHMS as a; "
        "print(len(a), 'protonet' in a, a.module('protonet'), 'torch' in sys.modules); "
        "print(a['mann'].__name__, 'quickstudy.algorithms.black_box.snail' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = run.stdout.splitlines()
    assert first.endswith("True quickstudy.algorithms.metric.prototypical False")
    assert second == "MANN False"


def test_a_registry_takes_parts_of_the_user_and_gives_them_up() -> None:
    registry = Registry[type]("quickstudy.encoders", {"mlp": "MLP"})
    registry["mine"] = dict
    assert list(registry) == ["mlp", "mine"]
    assert registry["mine"] is dict
    assert registry.module("mine") == "builtins"
    registry["mlp"] = list
    assert (registry["mlp"], len(registry)) == (list, 2)
    del registry["mlp"]
    assert "mlp" not in registry
    with pytest.raises(KeyError, match="mlp"):
        registry["mlp"]
    with pytest.raises(KeyError, match="mlp"):
        del registry["mlp"]


def test_a_description_is_read_back_before_its_room_was_used() -> None:
    code = (
        "from quickstudy.core.describe import rebuild; "
        "print(rebuild({'type': 'MLP', 'arguments': {'in_dim': 3}}).out_dim)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
