"""Tensors that are given to quickstudy, and answers, checked where they come in."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from quickstudy.core.errors import EpisodeError


def as_tensor(value: Any, name: str) -> Tensor:
    """A tensor of numbers; arrays of numpy and lists of numbers are converted.

    Raises:
        EpisodeError: for anything else, saying what to do.
    """
    if isinstance(value, Tensor):
        if value.layout is not torch.strided:
            raise EpisodeError(
                f"{name} has the layout {value.layout}. Give a dense tensor: {name}.to_dense()."
            )
        return value
    if not isinstance(value, np.ndarray | np.generic | list | tuple):
        raise EpisodeError(
            f"{name} must be a tensor, an array of numpy or a list of numbers, got "
            f"{type(value).__module__}.{type(value).__qualname__}."
        )
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"its elements are of type {array.dtype}")
        # A copy where torch cannot share the memory: another byte order, negative strides,
        # read-only.
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(np.require(native, requirements=["C", "W"]))
    except (TypeError, ValueError) as error:
        raise EpisodeError(
            f"{name} cannot become a tensor of numbers: {error}. Labels that are texts are "
            "numbered by numpy.unique(labels, return_inverse=True)."
        ) from error


def examples_tensor(value: Any, name: str) -> Tensor:
    """As `as_tensor`, for examples: floating-point numbers."""
    x = as_tensor(value, name)
    if not x.is_floating_point():
        raise EpisodeError(
            f"{name} has the type {x.dtype}, but examples are floating-point numbers. Convert it: "
            f"{name}.float(), for images with values from 0 to 255 {name}.float() / 255."
        )
    return x


def as_learned(x: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Examples in the precision of the learner; where it has none of its own, in single precision
    at least.
    """
    if dtype is None:
        dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    return x if x.dtype == dtype else x.to(dtype)


def can_look(x: Tensor) -> bool:
    """Whether values may be looked at without waiting for a device or breaking a recording."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def check_finite(x: Tensor, name: str) -> None:
    """Refuse examples that are no numbers.

    Raises:
        EpisodeError: naming the first one.
    """
    if not x.isfinite().all():
        where = tuple((~x.isfinite()).nonzero()[0].tolist())
        raise EpisodeError(
            f"{name} holds {x[where].item()} at {where}. Learners need finite numbers: remove the "
            "example, or fill the gap."
        )


def returned(value: Any, part: object, method: str, kind: type = object) -> Any:
    """What a method of somebody's own part gave back, where it is of the kind that was promised.

    Raises:
        EpisodeError: for anything else, and for None, which a forgotten ``return`` gives.
    """
    if value is None:
        raise EpisodeError(
            f"{type(part).__name__}.{method} returned nothing. End it with a return statement."
        )
    if not isinstance(value, kind):
        raise EpisodeError(
            f"{type(part).__name__}.{method} returned a {type(value).__qualname__}, but a "
            f"{kind.__name__} was expected."
        )
    return value


def returned_state(value: Any, part: object, n_tasks: int) -> Any:
    """What a learner's ``adapt`` gave back, where its tensors belong to the tasks.

    Raises:
        EpisodeError: for None, and for a tensor that does not begin with the task axis: answers of
            one task would come from the others.
    """
    returned(value, part, "adapt")
    if torch.compiler.is_compiling():
        return value
    for leaf in pytree.tree_leaves(value):
        if not isinstance(leaf, Tensor) or leaf.shape[:1] != (n_tasks,):
            of = (
                f"a tensor of the shape {list(leaf.shape)}"
                if isinstance(leaf, Tensor)
                else f"a value of the type {type(leaf).__qualname__}"
            )
            raise EpisodeError(
                f"{type(part).__name__}.adapt returned a state with {of}, but a state is made of "
                f"tensors that begin with the task axis, here [{n_tasks}, ...]. Learn each task by "
                "itself: sums and means over the support are those of axis 1, as .mean(1)."
            )
    return value


@contextlib.contextmanager
def in_words(who: str) -> Iterator[None]:
    """Errors of solvers that meet numbers they cannot work with become errors in words."""
    try:
        yield
    except (torch.linalg.LinAlgError, np.linalg.LinAlgError, FloatingPointError) as error:
        raise EpisodeError(
            f"{who} cannot solve this task: {str(error).splitlines()[0]} The examples are very "
            "large, or all alike. Standardise them."
        ) from error


def check_answers(out: Tensor, who: str) -> None:
    """Refuse answers that are no numbers; a class would be read from them all the same.

    Raises:
        EpisodeError: saying how many.
    """
    # A class may have the score −inf, if another has a number.
    wrong = out.isnan().any(-1) | out.isposinf().any(-1) | out.isneginf().all(-1)
    if wrong.any():
        raise EpisodeError(
            f"{int(wrong.sum())} of {wrong.numel()} answers of {who} are not numbers (nan or inf). "
            "The examples are "
            "not finite or very large, or the learner's weights are broken: train again with a "
            "lower rate."
        )
