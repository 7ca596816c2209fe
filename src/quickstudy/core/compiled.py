"""The gradient of a whole meta-training step as one recorded graph."""

import contextlib
import threading
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from quickstudy.core.batching import order_dependent
from quickstudy.core.clock import has_clock
from quickstudy.core.compilers import COMPILERS
from quickstudy.core.errors import ConfigError, TrainingError, did_you_mean
from quickstudy.core.objective import MetaStep
from quickstudy.core.playback import playback
from quickstudy.core.recording import recording
from quickstudy.core.types import Batch

_REORDERING = (
    torch.ops.aten.permute.default,
    torch.ops.aten.transpose.int,
    torch.ops.aten.t.default,
)


class CompiledGradient:
    """Loss and gradient of a `MetaStep`, recorded once for each shape of batch, inner loop and all,
    and then played back.

    Pays where the calls cost much beside the arithmetic: inner loops, small networks on a CPU, and
    GPUs, where the compiled graph is replayed as a CUDA graph. The gradient is that of the step to
    rounding. A step that looks at the numbers in its tensors, computes with them outside of torch
    or draws from a random generator is refused.

    A recording stays in its process. Another process that is sent this object records for itself,
    the same operations in the same order: send it once, with the module (`Workers(usual=…)`).

    Args:
        step: the module; replicas that share its parameters may call, from several threads.
        tasks_per_step: the loss is a batch's share of the mean over so many tasks; None: the mean
            over the batch.
        how: "trace" plays the operations back one by one, fused ones too; "inductor" has torch
            compile the plain ones, for which a CPU needs a C++ compiler.

    Raises:
        ConfigError: for another ``how``.
        TrainingError: the module holds running statistics or dropout, a batch is padded, or the
            step cannot be recorded or compiled.
    """

    def __init__(
        self, step: nn.Module, *, how: str = "inductor", tasks_per_step: int | None = None
    ) -> None:
        if how not in COMPILERS:
            raise ConfigError(
                f"A step cannot be compiled by '{how}'. {did_you_mean(how, COMPILERS)}"
            )
        if held := order_dependent(step):
            raise TrainingError(
                f"A compiled step cannot hold {', '.join(held)}, which change at each call. Leave "
                "compile empty, or set norm='batch'."
            )
        if has_clock(step):
            raise TrainingError(
                "A compiled step cannot change in the course of training, as this one does. Leave "
                "compile empty."
            )
        if isinstance(step, MetaStep) and step.objective.draws:
            raise TrainingError(
                f"A compiled step cannot draw random numbers, as {type(step.objective).__name__} "
                "does. Leave compile empty."
            )
        self._how = how
        self._tasks_per_step = tasks_per_step
        self._parameters = {n: p for n, p in step.named_parameters() if p.requires_grad}
        self._compiled = dict[Any, Any]()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_how", "_tasks_per_step", "_parameters")
        return {name: value for name, value in vars(self).items() if name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _compiled={}, _lock=threading.Lock())

    def __call__(self, step: nn.Module, batch: Batch) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        """The step's loss and the gradients of its trainable parameters; None for those the loss
        does not depend on.
        """
        if batch.padded:
            raise TrainingError(
                "A recorded step cannot leave out padding, which differs from batch to batch. Set "
                "compile= (empty), or chunk=1."
            )
        leaves, spec = pytree.tree_flatten(batch)
        key = (spec, *((leaf.shape, leaf.stride(), leaf.dtype) for leaf in leaves))
        parameters = [p.detach() for p in self._parameters.values()]
        with self._lock:
            if key not in self._compiled:
                self._compiled[key] = self._compile(step, parameters, leaves, spec)
        compiled, reached = self._compiled[key]
        with torch.no_grad():
            loss, *found = compiled(*parameters, *leaves)
        if loss.is_cuda:  # the next replay writes over them
            loss, found = loss.clone(), [g.clone() for g in found]
        gradients = iter(found)
        return loss, tuple(next(gradients) if there else None for there in reached)

    def _compile(
        self, step: nn.Module, parameters: list[Tensor], leaves: list[Tensor], spec: Any
    ) -> tuple[Any, list[bool]]:
        reached: list[bool] = []
        tensors = [*parameters, *leaves]

        def gradient(*tensors: Tensor) -> tuple[Tensor, ...]:
            now = [p.detach().requires_grad_() for p in tensors[: len(parameters)]]
            batch = pytree.tree_unflatten(list(tensors[len(parameters) :]), spec)
            with torch.enable_grad():
                loss = functional_call(
                    step, dict(zip(self._parameters, now, strict=True)), (batch,)
                )
                if self._tasks_per_step:
                    loss = loss * (batch.n_tasks / self._tasks_per_step)
            found = torch.autograd.grad(loss, now, allow_unused=True)
            reached[:] = [g is not None for g in found]
            return loss.detach(), *(g for g in found if g is not None)

        try:
            with (
                torch.random.fork_rng(devices=[]),  # what is drawn here is drawn again
                recording() if self._how == "trace" else contextlib.nullcontext(),
                _UncheckedLabels(),
                # else each recorded operation gets one of its own, which keeps the stack of its
                # making
                tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True))),
            ):
                graph = _without_detours(make_fx(gradient)(*tensors))
            _check_constants(graph, step)
            compiled = playback(graph) if self._how == "trace" else _by_inductor(graph, tensors)
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                compiled(*tensors)  # some of torch's operations are recorded but not played back
            return compiled, list(reached)
        except Exception as error:
            raise TrainingError(
                f"This step cannot be compiled: {error}. Train without compile."
            ) from error


def _by_inductor(graph: torch.fx.GraphModule, tensors: list[Tensor]) -> Any:
    # Without its patterns: on a graph of one task they gave wrong numbers (*measured*, torch 2.13).
    options: dict[str, Any] = {"pattern_matcher": False}
    if tensors[0].is_cuda:
        options["triton.cudagraphs"] = True
    return torch._inductor.compile(graph, [*tensors], options=options)


class _UncheckedLabels(TorchFunctionMode):
    """Inside, `one_hot` does not look whether its labels are in range, which cannot be recorded."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return (_one_hot if func is F.one_hot else func)(*args, **(kwargs or {}))


def _one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    if num_classes < 0:
        return F.one_hot(tensor)
    return (tensor.unsqueeze(-1) == torch.arange(num_classes, device=tensor.device)).long()


def _check_constants(module: torch.fx.GraphModule, step: nn.Module) -> None:
    """Refuse what would stay for ever as it was when the step was recorded."""
    own = {t.untyped_storage().data_ptr() for t in (*step.parameters(), *step.buffers())}
    for node in module.graph.find_nodes(op="get_attr"):
        value = getattr(module, node.target)
        if isinstance(value, torch.Generator):
            raise ValueError("it draws from a random generator")
        if isinstance(value, Tensor) and value.untyped_storage().data_ptr() not in own:
            raise ValueError(
                f"it takes {value.numel()} numbers from elsewhere than the batch and the module. "
                "Compute them by operations of torch, or make them a buffer if they are constant"
            )


def _without_detours(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Detached tensors and aliases matter to autograd alone, which has done its work when the graph
    is recorded; and of two views that undo each other nothing is left.
    """
    node: Any
    for node in module.graph.nodes:
        if node.target in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            node.replace_all_uses_with(node.args[0])
        elif (order := _order_of_axes(node)) is not None:
            before = node.args[0]
            other = _order_of_axes(before)
            if other is not None and [other[i] for i in order] == list(range(len(order))):
                node.replace_all_uses_with(before.args[0])
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _order_of_axes(node: Any) -> list[int] | None:
    """Which axis of its input each axis of a view is; None where it is no such view."""
    kind = node.target
    if kind not in _REORDERING:
        return None
    n = len(node.meta["val"].shape)
    order = list(range(n))
    if kind is torch.ops.aten.permute.default:
        return [int(axis) % n for axis in node.args[1]]
    first, second = (0, n - 1) if kind is torch.ops.aten.t.default else node.args[1:]
    order[first], order[second] = order[second], order[first]
    return order
