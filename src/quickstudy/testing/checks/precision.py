"""Checks that a learner computes in its own data type and on its own device."""

import copy
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from quickstudy.core.errors import ContractError
from quickstudy.testing.checks.requirements import COARSE, contract_check, require_equal
from quickstudy.testing.checks.subject import Subject, adapt, like


@contract_check(
    "a tensor made without dtype=x.dtype, device=x.device, or .float(), .cpu() on the way; a "
    "constant belongs in a buffer."
)
def check_dtype_and_device_are_kept(subject: Subject) -> None:
    """A float64 learner answers in float64; everything happens on the device of the learner and the
    data.

    Where no accelerator is at hand torch's meta device stands in: it has no data, but refuses a
    tensor left on the CPU.
    """
    learner, e = subject.learner, subject.episode()
    single = learner(e)
    double = copy.deepcopy(learner).double()
    wide = like(double, e)
    state = adapt(double, wide)
    out = double.predict(state, wide.query.x)
    came = {
        str(leaf.dtype) for leaf in (out, *pytree.tree_leaves(state)) if leaf.is_floating_point()
    }
    if came != {"torch.float64"}:
        raise ContractError(
            "expected float64 from a float64 learner and episode, but state and scores hold "
            f"{' and '.join(sorted(came))}."
        )
    require_equal(
        out.to(single.dtype),
        single,
        "the answers in float64 and in the learner's own precision",
        tolerance=COARSE,
    )
    if torch.cuda.is_available():
        out = copy.deepcopy(learner).to("cuda")(e.to("cuda"))
        if out.device.type != "cuda":
            raise ContractError(
                "expected scores on cuda from a learner and an episode there, but they are on "
                f"{out.device}."
            )
        require_equal(
            out.to(single.device), single, "the answers on cuda and on the CPU", tolerance=COARSE
        )
    require_device_is_followed(learner, e)


def require_device_is_followed(part: nn.Module, inputs: Any) -> None:
    """Raise unless the part works on the device that it and its inputs were moved to: torch's meta
    device, which has no data but refuses a tensor left on the CPU.
    """
    try:
        out = copy.deepcopy(part).to("meta")(inputs.to("meta"))
    except Exception as error:
        # Other errors come from methods that need the numbers (a solver in numpy, a branch on a
        # value), which meta has not.
        if isinstance(error, NotImplementedError) or "device" not in str(error):
            return
        raise ContractError(
            "expected every tensor on the device of the module and its data, but on another one it "
            f"raised: {error}"
        ) from error
    if out.device.type != "meta":
        raise ContractError(
            "expected what comes out on the device of the module and its data, but it is on "
            f"{out.device}."
        )
