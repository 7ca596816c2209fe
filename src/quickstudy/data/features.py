"""A split encoded once, so that thousands of tasks are scored in seconds."""

import copy
from dataclasses import replace
from typing import TypeVar

import torch

from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, encoder_of
from quickstudy.core.modes import in_mode
from quickstudy.data.class_index import ClassDataset
from quickstudy.encoders.flat import Identity

Learner = TypeVar("Learner", bound=AbstractLearner)


def can_be_encoded(learner: AbstractLearner) -> bool:
    """Whether features computed once serve this learner: it sees examples through its one encoder
    alone, which looks at each by itself.
    """
    return learner.traits.encodes_alone and encoder_of(learner).is_independent


def encoded(dataset: ClassDataset, encoder: AbstractEncoder, *, batch: int = 256) -> ClassDataset:
    """The examples as the encoder's features ``[M D]``. It keeps its name, split and classes, so
    its tasks are those of the examples, number by number.

    Args:
        dataset: the examples.
        encoder: is put into eval mode for the while, and works on its own device.
        batch: examples at a time.

    Raises:
        ConfigError: when the encoder normalises by other examples, so that one alone has no vector.
    """
    if not encoder.is_independent:
        raise ConfigError(
            f"An encoder that normalises by the {encoder.norm} gives an example no vector of its "
            "own. Use norm=running, group or none."
        )
    device = next((p.device for p in encoder.parameters()), dataset.x.device)
    on_device, parts = dataset.to(device), []
    with in_mode(encoder, training=False), torch.no_grad():
        for at in range(0, len(dataset.x), batch):
            rows = torch.arange(at, min(at + batch, len(dataset.x))).numpy()
            parts.append(encoder(on_device.gather(rows)[None])[0])
    return replace(dataset, x=torch.cat(parts), mean=(0.0,), std=(1.0,))


def on_features(learner: Learner) -> Learner:
    """A copy of the learner that takes its encoder's features in the examples' place.

    Raises:
        ConfigError: for a learner that needs the examples themselves.
    """
    if not learner.traits.encodes_alone:
        raise ConfigError(
            f"{type(learner).__name__} needs the examples themselves: it does not see them through "
            "one encoder alone."
        )
    encoder = encoder_of(learner)
    name = next(n for n, m in learner.named_children() if m is encoder)
    stand_in = Identity(encoder.out_dim)
    stand_in.map_shape = encoder.map_shape
    stand_in.norm = encoder.norm  # results go on saying how the features were normalised
    changed = copy.deepcopy(learner, {id(encoder): stand_in})
    assert getattr(changed, name) is stand_in
    return changed
