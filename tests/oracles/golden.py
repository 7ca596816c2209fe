"""Golden numbers: small inputs, and what implementations other than ours answer to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.encoders import Identity

DATA = Path(__file__).parent / "data"
D = torch.float64
Number: TypeAlias = Tensor | float


@dataclass(frozen=True)
class Comparison:
    """One quantity of ours beside the reference's.

    Args:
        quantity: what was compared.
        absolute, relative: the largest difference, and that over the largest reference number.
        tolerance: the smaller of the two may be as large where both should agree.
        cause: why they differ; empty where they should agree.
    """

    quantity: str
    absolute: float
    relative: float
    tolerance: float
    cause: str = ""

    @property
    def agrees(self) -> bool:
        return min(self.absolute, self.relative) <= self.tolerance


@dataclass
class Golden(Mapping[str, Any]):
    """The arrays of one file as tensors, and the comparisons that were made with them."""

    name: str
    comparisons: list[Comparison] = field(default_factory=list)

    def __post_init__(self) -> None:
        with np.load(DATA / f"{self.name}.npz") as file:
            self._arrays = {
                key: torch.from_numpy(file[key].copy())
                if file[key].dtype.kind in "fiub"
                else file[key]
                for key in file.files
            }

    def __getitem__(self, key: str) -> Any:
        return self._arrays[key]

    def __iter__(self) -> Any:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def sub(self, prefix: str) -> dict[str, Tensor]:
        """The arrays whose names begin so, without that beginning."""
        return {k[len(prefix) :]: v for k, v in self.items() if k.startswith(prefix)}

    def episode(self, tag: str, n: int | None = None, dtype: torch.dtype = D) -> Episode:
        """The tasks of ``tag``, with a task axis where the file has none."""
        keys = ("support_x", "support_y", "query_x", "query_y")
        x, y, query_x, query_y = (self[f"{tag}_{k}"] for k in keys)
        if y.ndim == 1:
            x, y, query_x, query_y = x[None], y[None], query_x[None], query_y[None]
        support = Examples(x.to(dtype), y)
        return Episode(
            support, Examples(query_x.to(dtype), query_y), Classes(n or int(y.max()) + 1)
        )

    def row(
        self, quantity: str, got: Number, want: Number, tolerance: float, cause: str = ""
    ) -> None:
        """Compare two tensors of one shape."""
        ours = torch.as_tensor(got).detach().double()
        reference = torch.as_tensor(want).detach().double()
        assert ours.shape == reference.shape, f"{self.name}, {quantity}: {ours.shape}"
        absolute, relative = _differences(ours, reference)
        self.comparisons.append(Comparison(quantity, absolute, relative, tolerance, cause))

    def rows(
        self,
        quantity: str,
        got: Mapping[str, Any],
        want: Mapping[str, Tensor],
        tolerance: float,
        cause: str = "",
    ) -> None:
        """Compare many tensors by name; the worst counts. What ours lacks is zero."""
        assert want, f"{self.name}, {quantity}: nothing to compare"
        worst = Comparison("", -1.0, -1.0, tolerance)
        for key, value in want.items():
            reference = torch.as_tensor(value).detach().double()
            ours = got.get(key)
            ours = (
                torch.zeros_like(reference)
                if ours is None
                else torch.as_tensor(ours).detach().double()
            )
            absolute, relative = _differences(ours, reference)
            if min(absolute, relative) > min(worst.absolute, worst.relative):
                worst = Comparison(f"{quantity}, {key}", absolute, relative, tolerance, cause)
        self.comparisons.append(worst)


def _differences(ours: Tensor, reference: Tensor) -> tuple[float, float]:
    """The largest difference, and that over the largest reference number."""
    if not reference.numel():
        return 0.0, 0.0
    absolute = float((ours - reference).abs().max())
    largest = float(reference.abs().max())
    # Nothing is compared with nothing by its size alone.
    return absolute, absolute / largest if largest > 1e-9 else absolute


def identity(dim: int) -> Identity:
    """Features as they are."""
    return Identity(dim).double()
