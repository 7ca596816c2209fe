"""Checks of an encoder's features: shapes, context, modes, and what they do not depend on."""

import copy
import math

import torch
from torch import Tensor

from quickstudy.core.encoder import POLICIES
from quickstudy.core.errors import ContractError
from quickstudy.testing.checks.requirements import contract_check, require_equal
from quickstudy.testing.checks.subject import EncoderSubject, named_tensors


@contract_check("an out_dim that was not updated, or a task axis that was squeezed away.")
def check_features_have_their_shape(subject: EncoderSubject) -> None:
    """Features are finite and [T N out_dim], for many examples and for few, in both modes."""
    encoder = subject.encoder
    x = subject.examples()
    few = x[:, : 2 if encoder.transductive else 1]
    for training, examples in ((False, x), (False, few), (True, x)):
        features = encoder.train(training)(examples)
        expected = (*examples.shape[:2], encoder.out_dim)
        mode = "train" if training else "eval"
        if features.shape != expected:
            raise ContractError(
                f"expected features of shape [T N out_dim] = {expected} in {mode} mode, but got "
                f"{tuple(features.shape)}."
            )
        if not features.isfinite().all():
            wrong = int((~features.isfinite()).sum())
            raise ContractError(
                f"expected finite features in {mode} mode, but {wrong} of {features.numel()} are "
                "not."
            )


@contract_check("an attribute that was set by hand and not changed with the network.")
def check_attributes_are_true(subject: EncoderSubject) -> None:
    """The policy is a known one, map_shape holds out_dim numbers, and stages are parts."""
    encoder = subject.encoder
    if encoder.norm not in POLICIES:
        raise ContractError(
            f"expected norm to be one of {', '.join(POLICIES)}, but it is '{encoder.norm}'."
        )
    if encoder.map_shape is not None and math.prod(encoder.map_shape) != encoder.out_dim:
        raise ContractError(
            f"expected a map_shape of out_dim = {encoder.out_dim} numbers, but "
            f"{encoder.map_shape} are {math.prod(encoder.map_shape)}."
        )
    parts = {name for name, _ in encoder.named_modules()}
    unknown = [stage for stage in encoder.stages if stage not in parts]
    if unknown:
        raise ContractError(
            f"expected stages to be names of modules, but {', '.join(unknown)} are not."
        )


@contract_check(
    "a context that read keeps on self, or one for queries without norm='support' and an own "
    "`remembers`."
)
def check_context_is_what_queries_need(subject: EncoderSubject) -> None:
    """`read` gives the features of `forward` and a context of tensors that begin with T, which is
    empty unless the encoder remembers.
    """
    encoder, x = subject.encoder, subject.examples()
    features, context = encoder.read(x)
    require_equal(features, encoder(x), "the features of read and of forward")
    for leaf in context:
        if not isinstance(leaf, Tensor) or leaf.shape[:1] != (subject.n_tasks,):
            what = tuple(leaf.shape) if isinstance(leaf, Tensor) else type(leaf).__name__
            raise ContractError(
                "expected a context of tensors that begin with the task axis, T = "
                f"{subject.n_tasks}, but it holds {what}."
            )
    if bool(context) != encoder.remembers:
        raise ContractError(
            f"expected {'a' if encoder.remembers else 'no'} context from an encoder whose "
            f"`remembers` is {encoder.remembers}, but got {len(context)} tensors."
        )


@contract_check(
    "running statistics that go on in eval mode, dropout called without training=self.training, or "
    "an operation in place."
)
def check_eval_mode_is_pure(subject: EncoderSubject) -> None:
    """In eval mode encoding changes nothing: not the encoder, not the examples, not torch's
    generator; the same examples have the same features.
    """
    encoder, x = subject.encoder, subject.examples()
    given, before, drawn = x.clone(), named_tensors(encoder), torch.get_rng_state()
    first = encoder(x)
    encoder.read(subject.examples(seed=1))
    require_equal(encoder(x), first, "the features of the same examples, twice")
    if not torch.equal(x, given):
        raise ContractError("expected the examples as they were, but they were changed in place.")
    after = named_tensors(encoder)
    changed = [
        name
        for name in sorted(before.keys() | after.keys())
        if name not in before or name not in after or not torch.equal(before[name], after[name])
    ]
    if changed:
        raise ContractError(
            f"expected parameters and buffers as they were, but {', '.join(changed)} changed."
        )
    if not torch.equal(torch.get_rng_state(), drawn):
        raise ContractError("expected torch's generator to be left alone, but it was drawn from.")


@contract_check("statistics over [T·N] examples at once; take them task by task.")
def check_tasks_are_encoded_alone(subject: EncoderSubject) -> None:
    """A batch of tasks has the features that each task has alone, with its context."""
    encoder, support, query = subject.encoder, subject.examples(), subject.examples(seed=1)
    _, context = encoder.read(support)
    alone = [
        encoder(query[t : t + 1], encoder.read(support[t : t + 1])[1])
        for t in range(subject.n_tasks)
    ]
    require_equal(
        encoder(query, context),
        torch.cat(alone),
        "the features in a batch of tasks and task by task",
    )


@contract_check(
    "statistics over the examples at hand; report them as norm='batch', or take them from training "
    "or from the support."
)
def check_examples_are_encoded_alone(subject: EncoderSubject) -> None:
    """In eval mode the features of a query do not depend on the other queries."""
    encoder, query = subject.encoder, subject.examples(seed=1)
    _, context = encoder.read(subject.examples())
    alone = [encoder(query[:, i : i + 1], context) for i in range(subject.n_examples)]
    require_equal(
        encoder(query, context),
        torch.cat(alone, 1),
        "the features of examples together and one by one",
    )


@contract_check("batch normalisation of all tasks at once; report it as norm='running'.")
def check_tasks_are_trained_alone(subject: EncoderSubject) -> None:
    """In train mode too a task has its features alone, unless they are drawn at random."""
    x = subject.examples()
    # Another copy each time, as running averages go on in train mode.
    encoders = [copy.deepcopy(subject.encoder).train() for _ in range(2 + subject.n_tasks)]
    together, again = encoders[0](x), encoders[1](x)
    if not torch.equal(together, again):
        return
    alone = [encoder(x[t : t + 1]) for t, encoder in enumerate(encoders[2:])]
    require_equal(
        together, torch.cat(alone), "the features in train mode in a batch of tasks and alone"
    )
