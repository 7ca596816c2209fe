"""Checks of an encoder's weights: given, stacked, learned, moved and saved; and of its stages."""

import copy
import json

import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils import _pytree as pytree

from quickstudy.core.describe import describe, rebuild
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ContractError
from quickstudy.core.rng import generator
from quickstudy.testing.checks.precision import require_device_is_followed
from quickstudy.testing.checks.requirements import COARSE, contract_check, require_equal
from quickstudy.testing.checks.subject import EncoderSubject


@contract_check("weights read once and kept, or taken through .data; use self.layer.weight.")
def check_parameters_may_be_given(subject: EncoderSubject) -> None:
    """`torch.func.functional_call` with other weights gives what the encoder gives with them."""
    encoder, x = subject.encoder, subject.examples()
    weights = _other_weights(encoder, seed=0)
    other = copy.deepcopy(encoder)
    encoder(x)
    other.load_state_dict(weights, strict=False)
    require_equal(
        functional_call(encoder, weights, (x,)),
        other(x),
        "the features with weights given and with weights loaded",
    )


@contract_check("a product that is not batched over the stack, or stacks=True without the work.")
def check_parameters_may_be_stacked(subject: EncoderSubject) -> None:
    """With a stack of weights, one set per task, each task has the features of its own set."""
    encoder, x = subject.encoder, subject.examples()
    sets = [_other_weights(encoder, seed=t) for t in range(subject.n_tasks)]
    stacked = {name: torch.stack([weights[name] for weights in sets]) for name in sets[0]}
    alone = [functional_call(encoder, weights, (x[t : t + 1],)) for t, weights in enumerate(sets)]
    require_equal(
        functional_call(encoder, stacked, (x,)),
        torch.cat(alone),
        "the features with a stack of weights and with each set of weights",
    )


@contract_check("a forward or read that does not take what prepare gives.")
def check_prepared_examples_serve_as_well(subject: EncoderSubject) -> None:
    """What `prepare` gives has the features of the examples, and begins with the task axis."""
    encoder, x = subject.encoder, subject.examples()
    prepared = encoder.prepare(x)
    for leaf in pytree.tree_leaves(prepared):
        if isinstance(leaf, Tensor) and leaf.shape[:1] != (subject.n_tasks,):
            raise ContractError(
                "expected prepare to give tensors that begin with the task axis, T = "
                f"{subject.n_tasks}, but one has the shape {tuple(leaf.shape)}."
            )
    require_equal(encoder(prepared), encoder(x), "the features of prepared examples and of others")
    require_equal(
        encoder.read(prepared)[0],
        encoder.read(x)[0],
        "the features that read gives for prepared examples and for others",
    )


@contract_check("a stage without self.passed(stage, features) behind it, or its answer unused.")
def check_stages_are_called(subject: EncoderSubject) -> None:
    """`between` is called behind every stage, in order, and what it returns goes on."""
    encoder, x = subject.encoder, subject.examples()
    plain = encoder(x)
    for method in (encoder, lambda examples: encoder.read(examples)[0]):
        called: list[int] = []

        def silence(stage: int, features: Tensor, called: list[int] = called) -> Tensor:
            called.append(stage)
            if features.shape[:2] != x.shape[:2]:
                raise ContractError(
                    f"expected features [T N ...] = {tuple(x.shape[:2])} behind stage {stage}, but "
                    f"they have the shape {tuple(features.shape)}."
                )
            return features * 0

        with encoder.between(silence):
            silenced = method(x)
        expected = list(range(1, len(encoder.stages) + 1))
        if called != expected:
            raise ContractError(f"expected calls behind the stages {expected}, but got {called}.")
        if torch.equal(silenced, plain):
            raise ContractError(
                "expected what `between` returns to go on in the features' place, but nothing "
                "changed."
            )


@contract_check("a parameter that no feature depends on, or a .detach() on the way.")
def check_gradient_reaches_every_weight(subject: EncoderSubject) -> None:
    """Every parameter that is to be learned has a finite gradient, and so have the examples."""
    encoder = subject.encoder
    x = subject.examples().requires_grad_()
    features = encoder(x)
    loss = (features * torch.randn_like(features)).sum()
    learned = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    if not loss.requires_grad:
        raise ContractError("expected features with a gradient, but they carry no graph.")
    gradients = torch.autograd.grad(loss, [x, *learned.values()], allow_unused=True)
    for name, gradient in zip(("x", *learned), gradients, strict=True):
        if gradient is None or not gradient.count_nonzero():
            raise ContractError(f"expected a gradient of the features for {name}, but got none.")
        if not gradient.isfinite().all():
            raise ContractError(f"expected a finite gradient for {name}, but it is not.")


@contract_check(
    "a tensor made without dtype=x.dtype, device=x.device; a constant belongs in a buffer."
)
def check_dtype_and_device_of_features(subject: EncoderSubject) -> None:
    """A float64 encoder gives float64 features and context, on its own device."""
    encoder, x = subject.encoder, subject.examples()
    double = copy.deepcopy(encoder).double()
    features, context = double.read(x.double())
    types = {str(t.dtype) for t in (features, *context)}
    if types != {"torch.float64"}:
        raise ContractError(
            f"expected float64 from a float64 encoder, but got {' and '.join(sorted(types))}."
        )
    single = encoder(x)
    require_equal(
        features.to(single.dtype), single, "the features in float64 and float32", tolerance=COARSE
    )
    require_device_is_followed(encoder, x)


@contract_check(
    "an argument that is no plain value, or something learned that is no parameter or buffer."
)
def check_encoder_round_trip(subject: EncoderSubject) -> None:
    """Described in JSON and built again with its weights, an encoder gives the same features."""
    encoder, x = subject.encoder, subject.examples()
    with torch.no_grad():
        for tensor in (*encoder.parameters(), *encoder.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1.25)
    text = json.dumps(describe(encoder))
    again = rebuild(json.loads(text), modules=subject.modules)
    again.to(x).load_state_dict(encoder.state_dict())
    if (again.out_dim, again.norm) != (encoder.out_dim, encoder.norm):
        raise ContractError(
            f"expected out_dim and norm {(encoder.out_dim, encoder.norm)} again, but got "
            f"{(again.out_dim, again.norm)}."
        )
    require_equal(
        again.eval()(x), encoder(x), "the features of the encoder built again", tolerance=0.0
    )


def _other_weights(encoder: AbstractEncoder, *, seed: int) -> dict[str, Tensor]:
    """Weights near those of the encoder, by name."""
    draw = generator("weights", seed)
    return {
        name: p.detach() + 0.1 * torch.randn(p.shape, generator=draw).to(p)
        for name, p in encoder.named_parameters()
    }
