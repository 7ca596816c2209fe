"""A recorded graph as a function that does what the graph says and little else."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule

from quickstudy.core.recording import played

# Most of a recorded step are these. Their functions in Python take the very arguments of the
# recorded operations, and a call takes less time than one that goes by the schema.
_DIRECT: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        torch.abs,
        torch.add,
        torch.addmm,
        torch.baddbmm,
        torch.bmm,
        torch.cat,
        torch.clamp,
        torch.clamp_min,
        torch.div,
        torch.exp,
        torch.log,
        torch.mean,
        torch.mm,
        torch.mul,
        torch.neg,
        torch.permute,
        torch.pow,
        torch.relu,
        torch.rsqrt,
        torch.select,
        torch.sigmoid,
        torch.squeeze,
        torch.stack,
        torch.sub,
        torch.sum,
        torch.t,
        torch.tanh,
        torch.transpose,
        torch.unsqueeze,
        torch.Tensor.expand,
        torch.Tensor.view,
    )
}


def playback(module: GraphModule) -> Callable[..., Any]:
    """What the module does, without what stands around a module, which is changed for it."""
    for node in module.graph.nodes:
        target = played(node.target)
        node.target = call(target) if isinstance(target, torch._ops.OpOverload) else target
        node.meta.clear()  # a tensor without memory for each, which nothing asks for any more
    module.recompile()
    return module.forward


@functools.cache
def call(operation: torch._ops.OpOverload) -> Any:
    """An operation of torch, past what stands before it in Python, and with a name by which the
    code of a graph can call it.
    """
    named: Any = functools.partial(_direct(operation) or operation._op)
    named.__name__ = operation.name().replace("::", "_").replace(".", "_")
    return named


def _direct(operation: torch._ops.OpOverload) -> Callable[..., Any] | None:
    space, _, name = operation._schema.name.partition("::")
    return None if space != "aten" or operation._schema.is_mutable else _DIRECT.get(name)
