"""The support vector machines of Crammer and Singer, against a general solver and finite
differences.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from quickstudy.core.errors import TrainingError
from quickstudy.functional.support_vectors import crammer_singer


def problem(
    n: int, c: int, d: int, seed: int = 0, n_tasks: int = 2
) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n_tasks, n, d, generator=g, dtype=torch.double)
    return x, torch.eye(c, dtype=torch.double)[torch.arange(n) % c].repeat(n_tasks, 1, 1)


@pytest.mark.parametrize(
    ("n", "c", "d", "penalty", "ridge"),
    [(6, 3, 4, 0.1, 0.0), (6, 3, 4, 10.0, 0.0), (8, 4, 12, 0.1, 1.0), (7, 2, 3, 1.0, 1e-3)],
)
def test_the_dual_against_a_general_solver(
    n: int, c: int, d: int, penalty: float, ridge: float
) -> None:
    x, y = problem(n, c, d)
    dual = crammer_singer(x @ x.transpose(1, 2), y, penalty=penalty, ridge=ridge)
    for t in range(2):
        k, labels = (x[t] @ x[t].T + ridge * torch.eye(n, dtype=torch.double)).numpy(), y[t].numpy()
        solved = minimize(
            lambda a, k=k, labels=labels: (
                0.5 * np.sum(a.reshape(n, c) * (k @ a.reshape(n, c)))
                - np.sum(labels * a.reshape(n, c))
            ),
            np.zeros(n * c),
            jac=lambda a, k=k, labels=labels: (k @ a.reshape(n, c) - labels).ravel(),
            bounds=[(None, penalty * v) for v in labels.ravel()],
            constraints={"type": "eq", "fun": lambda a: a.reshape(n, c).sum(1)},
            method="SLSQP",
            options={"maxiter": 2000, "ftol": 1e-14},
        )
        assert solved.success
        np.testing.assert_allclose(
            x[t].numpy().T @ dual[t].numpy(), x[t].numpy().T @ solved.x.reshape(n, c), atol=1e-5
        )


@given(
    n=st.integers(2, 12),
    c=st.integers(2, 5),
    seed=st.integers(0, 10_000),
    penalty=st.floats(1e-2, 1e2),
    size=st.sampled_from([1e-2, 1.0, 1e2]),
)
def test_the_solution_is_feasible_and_no_class_could_do_better(
    n: int, c: int, seed: int, penalty: float, size: float
) -> None:
    x, y = problem(n, c, 4, seed)
    gram = size**2 * x @ x.transpose(1, 2)
    dual = crammer_singer(gram, y, penalty=penalty)
    assert bool((dual <= penalty * y + 1e-6 * penalty).all())
    torch.testing.assert_close(
        dual.sum(2), torch.zeros_like(dual.sum(2)), atol=1e-9 * penalty + 1e-12, rtol=0
    )
    # Where a number is strictly below its bound, its class is among the most violated of the row.
    violation = gram @ dual - y
    loose = dual < penalty * y - 1e-3 * penalty
    worst = violation.amax(2, keepdim=True)
    assert bool(
        (violation[loose] > (worst - 2e-3 * (1 + size * size)).expand_as(violation)[loose]).all()
    )


@pytest.mark.parametrize(("penalty", "ridge"), [(0.1, 1.0), (2.0, 1e-3)])
def test_the_gradient_is_that_of_finite_differences(penalty: float, ridge: float) -> None:
    x, y = problem(5, 3, 3)
    assert torch.autograd.gradcheck(
        lambda x: (
            x.transpose(1, 2)
            @ crammer_singer(x @ x.transpose(1, 2), y, penalty=penalty, ridge=ridge)
        ),
        x.requires_grad_(),
        atol=1e-5,
    )


def test_a_task_does_not_depend_on_its_company() -> None:
    x, y = problem(8, 4, 6, n_tasks=5)
    x[3] *= 100
    gram = x @ x.transpose(1, 2)
    alone = torch.cat([crammer_singer(gram[t : t + 1], y[t : t + 1], ridge=1.0) for t in range(5)])
    torch.testing.assert_close(crammer_singer(gram, y, ridge=1.0), alone, atol=1e-6, rtol=0)


def test_examples_that_are_nearly_alike_and_long() -> None:
    """One task that was met in use, where Mehrotra's corrector in full goes in circles; and one of
    high price, far from feasible at the usual start.
    """
    rows = [
        [1446.7925, 935.8598, 1053.1145, 1000.3314, 1025.1357],
        [823.8306, 792.5046, 816.7130, 834.3814],
        [1106.7969, 943.6936, 1014.9907],
        [1276.1206, 1085.2006],
        [1083.2096],
    ]
    gram = torch.zeros(5, 5, dtype=torch.double)
    for i, row in enumerate(rows):
        gram[i, i:] = gram[i:, i] = torch.tensor(row, dtype=torch.double)
    dual = crammer_singer(gram[None], torch.eye(5)[None], penalty=0.1)
    assert bool((dual <= 0.1 * torch.eye(5) + 1e-8).all())
    g = torch.Generator().manual_seed(0)
    x = 50 * (
        torch.randn(30, 6, generator=g, dtype=torch.double)
        + 3 * torch.randn(6, generator=g, dtype=torch.double)
    )
    y = torch.eye(7)[torch.randint(0, 7, (30,), generator=g)]
    assert bool(crammer_singer((x @ x.T)[None], y[None], penalty=13.0).isfinite().all())


def test_features_that_are_not_finite() -> None:
    with pytest.raises(TrainingError, match="features that are not finite"):
        crammer_singer(torch.full((1, 2, 2), torch.nan), torch.eye(2)[None])
