"""The contract that every encoder keeps, as code. Needs no test runner."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from quickstudy.core.encoder import AbstractEncoder
from quickstudy.testing.checks import features, weights
from quickstudy.testing.checks.subject import EncoderSubject

EncoderCheck: TypeAlias = Callable[[EncoderSubject], None]


def check_encoder(
    encoder: AbstractEncoder,
    *,
    shape: tuple[int, ...] = (6,),
    n_tasks: Sequence[int] = (1, 3),
    modules: Mapping[str, Any] | None = None,
) -> None:
    """Run every check that an encoder has to pass, simplest first. The encoder is left as it was.

    Args:
        encoder: yours. Parameters at their random start are fine.
        shape: of one example.
        n_tasks: the lengths of the task axis to try.
        modules: for an encoder that wraps a module: by its name, a module of the same form or a
            function that makes one, as `quickstudy.load` is given it.

    Raises:
        ContractError: at the first check that fails: which, what was expected, what came, and the
            usual cause.

    Example:
        >>> from quickstudy.encoders import MLP
        >>> from quickstudy.testing import check_encoder
        >>> check_encoder(MLP(6, widths=(8,)))
    """
    for n in n_tasks:
        subject = EncoderSubject(encoder, shape=shape, n_tasks=n, modules=modules or {})
        for check in yield_encoder_checks(encoder):
            check(subject)


def yield_encoder_checks(encoder: AbstractEncoder) -> Iterator[EncoderCheck]:
    """The checks that this encoder's attributes call for, simplest first."""
    yield features.check_features_have_their_shape
    yield features.check_attributes_are_true
    yield features.check_context_is_what_queries_need
    yield features.check_eval_mode_is_pure
    yield features.check_tasks_are_encoded_alone
    if not encoder.transductive:
        yield features.check_examples_are_encoded_alone
    if encoder.norm != "running":
        yield features.check_tasks_are_trained_alone
    yield weights.check_parameters_may_be_given
    if encoder.stacks:
        yield weights.check_parameters_may_be_stacked
    yield weights.check_prepared_examples_serve_as_well
    if encoder.stages:
        yield weights.check_stages_are_called
    yield weights.check_gradient_reaches_every_weight
    yield weights.check_dtype_and_device_of_features
    yield weights.check_encoder_round_trip
