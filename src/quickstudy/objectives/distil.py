"""Self-distillation: an encoder learns from its predecessor."""

import copy
from collections.abc import Mapping
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.learner import AbstractLearner, encoder_of
from quickstudy.core.types import Batch
from quickstudy.objectives.classify import Classify


class Distil(Classify):
    """Classification among all training classes, by the labels and by the answers of a teacher: the
    run that the training starts from.

    weight · τ² · KL( softmax(teacher(x)/τ) ‖ softmax(Wf(x)/τ) ) + (1 − weight) · cross entropy

    The teacher is the encoder and the classifier of a run that was trained by ``classify`` (linear)
    or by this objective, so generations may follow one another. It stays as it is, in eval mode,
    and is kept in checkpoints.

    Args:
        n_classes: of the training split.
        dim: length of the encoder's vectors.
        temperature: τ.
        weight: of the teacher.

    Raises:
        ConfigError: for numbers out of range; in training, without a teacher.
        LoadError: for a run that has no classifier of these classes.
        EpisodeError: as `Classify`.

    Paper: Tian, Wang, Krishnan, Tenenbaum, Isola 2020, arXiv:2003.11539, section 3.3; τ and its
        square as in the authors' code.
    Differs: the pupil begins with the teacher's weights, as any training does that starts from a
        run.
    """

    def __init__(
        self, *, n_classes: int, dim: int, temperature: float = 4.0, weight: float = 0.5
    ) -> None:
        super().__init__(n_classes=n_classes, dim=dim)
        if not temperature > 0 or not 0 <= weight <= 1:
            raise ConfigError(
                f"temperature must be above 0 and weight lies in [0, 1], got {temperature} and "
                f"{weight}."
            )
        self.temperature, self.weight = temperature, weight
        self.teacher = nn.ModuleList()  # encoder and classifier

    def start_from(self, trained: AbstractLearner[Any], state: Mapping[str, Tensor]) -> None:
        own = self.classifier.state_dict()
        known = {name: state.get(f"classifier.{name}") for name in own}
        if any(t is None or t.shape != own[name].shape for name, t in known.items()):
            raise LoadError(
                f"The run to start from keeps no classifier of {self.classifier.out_features} "
                f"classes on vectors of {self.classifier.in_features} numbers. "
                "Distil from a run that was trained by 'classify' with a linear head, with its "
                "last.pt."
            )
        classifier = copy.deepcopy(self.classifier)
        classifier.load_state_dict(known)
        teacher = nn.ModuleList([copy.deepcopy(encoder_of(trained)), classifier])
        self.teacher = (
            teacher.requires_grad_(requires_grad=False).to(next(trained.parameters()).device).eval()
        )

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> Tensor:
        if not len(self.teacher):
            raise ConfigError(
                "Distillation needs a teacher. Start from a run that was trained to classify: "
                "--from RUN."
            )
        x, y = self.examples(batch)
        encoder, classifier = self.teacher
        with torch.no_grad():
            taught = F.log_softmax(classifier(encoder(x)).flatten(0, 1) / self.temperature, 1)
        logits = self.classifier(encoder_of(learner)(x)).flatten(0, 1)
        learned = F.log_softmax(logits / self.temperature, 1)
        divergence = F.kl_div(learned, taught, reduction="batchmean", log_target=True)
        return self.weight * self.temperature**2 * divergence + (1 - self.weight) * F.cross_entropy(
            logits, y
        )
