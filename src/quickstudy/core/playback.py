"""A recorded graph as a function that does what the graph says and little else."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule

from quickstudy.core.recording import played


def playback(module: GraphModule) -> Callable[..., Any]:
    """What the module does, without what stands around a module, which is changed for it."""
    for node in module.graph.nodes:
        target = played(node.target)
        node.target = _call(target) if isinstance(target, torch._ops.OpOverload) else target
        node.meta.clear()  # a tensor without memory for each, which nothing asks for any more
    module.recompile()
    return module.forward


@functools.cache
def _call(operation: torch._ops.OpOverload) -> Any:
    """An operation of torch, past what stands before it in Python, and with a name by which the
    code of a graph can call it.
    """
    call: Any = functools.partial(operation._op)
    call.__name__ = operation.name().replace("::", "_").replace(".", "_")
    return call
