"""JAX: the whole step under jit, convolutions as one matrix product on columns, which is its
fastest form on a CPU.

On a CPU `lax.map` goes through the tasks, whose activations then stay in the cache; elsewhere
`vmap` takes them at once.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch

from quickstudy.bench.entry import Entry, Job, Result, Step
from quickstudy.bench.workloads import Workload
from quickstudy.encoders.norm import EPS

Arrays = Mapping[str, Any]


def make(job: Job) -> Step:
    """The gradient of the mean query loss, compiled at the first call."""
    import jax  # pyright: ignore[reportMissingImports] - optional
    import jax.numpy as jnp  # pyright: ignore[reportMissingImports] - optional

    gradient = _compiled(job.workload, job.device.type)
    start = {
        name: jnp.asarray(p.detach().cpu().numpy()) for name, p in job.model.named_parameters()
    }
    tasks = tuple(jnp.asarray(t.cpu().numpy()) for t in job.tasks)
    if not job.workload.regression:
        # channels last
        tasks = tuple(t.transpose(0, 1, 3, 4, 2) if t.ndim == 5 else t for t in tasks)

    def step() -> Result:
        return jax.block_until_ready(gradient(start, tasks))

    return step


@functools.cache
def _compiled(workload: Workload, device_type: str) -> Callable[[Arrays, tuple[Any, ...]], Any]:
    import jax  # pyright: ignore[reportMissingImports] - optional

    def query_loss(p: Arrays, task: tuple[Any, ...]) -> Any:
        support_x, support_y, query_x, query_y = task
        fast = p
        for _ in range(workload.inner_steps):
            gradient = jax.grad(lambda p: _loss(workload, _answer(p, support_x), support_y))(fast)
            fast = {name: p - workload.inner_lr * gradient[name] for name, p in fast.items()}
        return _loss(workload, _answer(fast, query_x), query_y)

    def mean_of_gradients(p: Arrays, tasks: tuple[Any, ...]) -> Any:
        def one(task: tuple[Any, ...]) -> Any:
            return jax.grad(query_loss)(p, task)

        each = jax.lax.map(one, tasks) if device_type == "cpu" else jax.vmap(one)(tasks)
        return jax.tree.map(lambda g: g.mean(0), each)

    def gradient_of_mean(p: Arrays, tasks: tuple[Any, ...]) -> Any:
        return jax.grad(lambda p: jax.vmap(lambda *task: query_loss(p, task))(*tasks).mean())(p)

    # One batch of tasks is the faster form for the small network.
    return jax.jit(gradient_of_mean if workload.regression else mean_of_gradients)


def _answer(p: Arrays, x: Any) -> Any:
    import jax.numpy as jnp  # pyright: ignore[reportMissingImports] - optional
    from jax import lax, nn  # pyright: ignore[reportMissingImports] - optional

    if "encoder.layers.0.weight" in p:
        for i in range(2):
            x = nn.relu(x @ p[f"encoder.layers.{i}.weight"].T + p[f"encoder.layers.{i}.bias"])
        return x @ p["head.weight"].T + p["head.bias"]
    for i in range(4):
        block = f"encoder.blocks.{i}"
        n, h, w, c = x.shape
        framed = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        # [N H W 9·C]
        columns = jnp.concatenate(
            [framed[:, a : a + h, b : b + w] for a in range(3) for b in range(3)], -1
        )
        kernel = p[f"{block}.conv.weight"].transpose(2, 3, 1, 0).reshape(9 * c, -1)
        x = columns @ kernel + p[f"{block}.conv.bias"]
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        x = nn.relu(
            (x - mean) * lax.rsqrt(var + EPS) * p[f"{block}.norm.weight"] + p[f"{block}.norm.bias"]
        )
        x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, -1).max((2, 4))
    x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
    return x @ p["head.weight"].T + p["head.bias"]


def _loss(workload: Workload, out: Any, y: Any) -> Any:
    import jax  # pyright: ignore[reportMissingImports] - optional
    import jax.numpy as jnp  # pyright: ignore[reportMissingImports] - optional

    if workload.regression:
        return ((out - y) ** 2).mean()
    return -jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], 1).mean()


def _serves(workload: Workload, device: torch.device) -> bool:
    return workload.name in ("W1", "W7")


JAX = Entry(
    "jax",
    "JAX: jit, and lax.map or vmap",
    make,
    _serves,
    package="jax",
    extra="jax",
    is_torch=False,
    compiled=True,
)
