"""Tests run with every shape annotation of quickstudy checked, on one thread, from one seed."""

import contextlib
import dataclasses
import functools
import inspect
import os
import types
from typing import Any, Self, get_type_hints

# Set before numpy and torch are imported, and for the programs that tests start: toy arrays gain
# nothing from threads, and one of them leaves the other cores to parallel tests.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import beartype  # noqa: E402
import jaxtyping  # noqa: E402

_jaxtyped = jaxtyping.jaxtyped

# beartype works function by function, where it cannot know what typing.Self stands for, and like
# every type checker it should take 1 for a float.
_CHECKS = beartype.BeartypeConf(
    is_pep484_tower=True,
    hint_overrides=beartype.FrozenDict({Self: Any}),
    violation_type=jaxtyping.TypeCheckError,
)


def _checked(fn: Any = None, *, typechecker: object = None) -> Any:
    """Stands in for `jaxtyping.jaxtyped`, of which it keeps what is checked: each call has its own
    axis names, and arguments and answers fit their annotations. The original binds the signature
    and checks the arguments twice at each call, which doubled the time of the whole suite, and
    builds both checks at import.
    """
    if fn is None:
        return functools.partial(_checked, typechecker=typechecker)
    if inspect.isclass(fn):
        if dataclasses.is_dataclass(fn) and "__init__" in vars(fn):
            fn.__init__ = _checked(fn.__init__)
        return fn
    if isinstance(fn, classmethod | staticmethod):
        return type(fn)(_checked(fn.__func__))
    if isinstance(fn, property):
        parts = (fn.fget, fn.fset, fn.fdel)
        return property(*(part and _checked(part) for part in parts))
    if inspect.isgeneratorfunction(fn) or inspect.iscoroutinefunction(fn):
        # Their bodies run outside of the call.
        return _jaxtyped(fn, typechecker=beartype.beartype(conf=_CHECKS))
    checking = None

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        nonlocal checking
        if jaxtyping.config.jaxtyping_disable:
            return fn(*args, **kwargs)
        if checking is None:
            checking = beartype.beartype(conf=_CHECKS)(_with_read_annotations(fn))
        with _jaxtyped("context"):
            return checking(*args, **kwargs)

    return call


def _with_read_annotations(fn: types.FunctionType) -> types.FunctionType:
    """A copy of the function whose annotations are types and no longer text; one whose names are
    not there at run time is left out.
    """
    copied = types.FunctionType(
        fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__
    )
    copied.__kwdefaults__ = fn.__kwdefaults__
    copied.__module__ = fn.__module__
    copied.__qualname__ = fn.__qualname__
    for name, annotation in fn.__annotations__.items():
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        with contextlib.suppress(NameError, AttributeError):
            copied.__annotations__ |= get_type_hints(alone, fn.__globals__, include_extras=True)
    return copied


jaxtyping.jaxtyped = _checked
jaxtyping.install_import_hook("quickstudy", None)

import random  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

torch.set_num_threads(1)

# A slow machine is no failure. ``pytest --hypothesis-profile=thorough`` tries more.
settings.register_profile("quickstudy", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("quickstudy")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
