"""The suite checks shapes and types at every call, with names of axes that hold for one call."""

import dataclasses
from collections.abc import Iterator
from typing import Any, cast

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.functional.cka import linear_cka


@jaxtyping.jaxtyped
def added(x: Float[Tensor, "N D"], y: "Float[Tensor, 'N D']") -> Float[Tensor, "N D"]:
    return x + y


@jaxtyping.jaxtyped
def halved(x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
    added(torch.ones(5, 6), torch.ones(5, 6))
    return x[: len(x) // 2]


@jaxtyping.jaxtyped
def rows(x: Float[Tensor, "N D"]) -> Iterator[Tensor]:
    yield from x


@jaxtyping.jaxtyped
@dataclasses.dataclass
class Pair:
    first: Float[Tensor, "N D"]
    second: Float[Tensor, "N D"]

    @classmethod
    @jaxtyping.jaxtyped
    def of(cls, count: Any) -> int:
        return count

    @property
    @jaxtyping.jaxtyped
    def size(self) -> int:
        return len(self.first)

    @property
    @jaxtyping.jaxtyped
    def text(self) -> str:
        return cast("Any", self.first)


X = torch.ones(2, 3)


def test_what_fits_is_let_through():
    assert added(X, X).shape == (2, 3)
    assert added(torch.ones(4, 1), torch.ones(4, 1)).shape == (4, 1)
    assert len(list(rows(X))) == 2
    assert Pair.of(3) == 3
    assert Pair(X, X).size == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: added(X, X.double().long()),
        lambda: added(X, X[0]),
        lambda: added(X, torch.ones(2, 1)),
        lambda: halved(X),
        lambda: rows(X[0]),
        lambda: Pair(X, X[:1]),
        lambda: Pair.of(X),
        lambda: Pair(X, X).text,
        lambda: linear_cka(X, torch.ones(3, 3)),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(jaxtyping.TypeCheckError):
        call()
