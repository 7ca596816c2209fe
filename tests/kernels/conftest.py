from collections.abc import Callable

import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="session")
def twice() -> Callable[..., list[Tensor]]:
    """Differentiates a function twice: ``twice(f, *inputs)`` is its answer, the gradients by the
    inputs, and the gradients of a random product with these by the inputs and by what came from
    above. The random factors are the same in every precision.
    """

    def twice(f: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
        g = torch.Generator().manual_seed(1)

        def like(t: Tensor) -> Tensor:
            return torch.randn(t.shape, generator=g).to(t.dtype)

        needing = [t.detach().clone().requires_grad_() for t in inputs]
        y = f(*needing)
        above = like(y).requires_grad_()
        first = torch.autograd.grad(
            (y * above).sum() + y.square().sum(), needing, create_graph=True
        )
        mixed = torch.stack([(d * like(d)).sum() for d in first]).sum()
        return [y, *first, *torch.autograd.grad(mixed, [*needing, above])]

    return twice


@pytest.fixture(scope="session")
def equal_by_threads() -> Callable[[Callable[[], list[Tensor]]], bool]:
    """Whether what a function returns is the same to the bit with one, two and five threads."""

    def equal_by_threads(f: Callable[[], list[Tensor]]) -> bool:
        before, answers = torch.get_num_threads(), []
        try:
            for n in (1, 2, 5):
                torch.set_num_threads(n)
                answers.append(f())
        finally:
            torch.set_num_threads(before)
        alone, *others = answers
        return all(torch.equal(a, b) for more in others for a, b in zip(alone, more, strict=True))

    return equal_by_threads
