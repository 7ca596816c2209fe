"""What a learner returns: itself, bound to one learned task."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from quickstudy.core.algorithm import AbstractAlgorithm
from quickstudy.core.arguments import (
    as_learned,
    can_look,
    check_answers,
    examples_tensor,
    in_words,
    returned,
)
from quickstudy.core.describe import Modules, check_given_modules, describe, rebuild
from quickstudy.core.encoder import check_image_range
from quickstudy.core.errors import ConfigError, EpisodeError, LoadError
from quickstudy.core.modes import in_mode
from quickstudy.core.saving import load_folder, save_folder
from quickstudy.core.types import Target

_TENSORS = "predictor.safetensors"


class Predictor(nn.Module):
    """A learner bound to one adapted state: ``x [Q *S] -> [Q O]``. This is what is saved, served
    and exported.

    It shares the learner's weights, so training the learner on would change it; save it, or copy
    it, to keep it as it is.
    The state's tensors are buffers, so the predictor moves, saves and exports like any module.

    Args:
        learner: who learned.
        state: what ``learner.adapt`` returned for one task (``T = 1``).
        target: what was learned.
        labels: names of the classes, in the order of the outputs; empty if they have none.
        extra: JSON values to keep with it (how to read an image, say).
    """

    def __init__(
        self,
        learner: AbstractAlgorithm[Any],
        state: Any,
        target: Target,
        *,
        labels: tuple[str, ...] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if labels and len(labels) != target.width:
            raise ConfigError(
                f"{len(labels)} labels for {target.width} outputs; give one name per class, or "
                "none."
            )
        self.learner = learner
        self.target = target
        self.labels = labels
        self.extra = dict(extra or {})
        leaves, self._tree = pytree.tree_flatten(state)
        self._outline = _outline(state)
        for i, leaf in enumerate(leaves):
            if not isinstance(leaf, Tensor):
                raise ConfigError(
                    f"A learner's state is made of tensors in tuples, lists and dicts, but leaf {i}"
                    f" of that of {type(learner).__name__} is of type {type(leaf).__qualname__}."
                )
            if leaf.shape[:1] != (1,):
                raise ConfigError(
                    f"A predictor holds one task, but leaf {i} of its state has shape "
                    f"{tuple(leaf.shape)}, not [1 ...]."
                )
            self.register_buffer(f"state_{i}", leaf.detach())
        self._n_leaves = len(leaves)
        self.eval()

    def named(
        self, labels: tuple[str, ...], *, extra: Mapping[str, Any] | None = None
    ) -> "Predictor":
        """The same predictor with names for its classes, and JSON values to keep with it."""
        return Predictor(self.learner, self.state, self.target, labels=labels, extra=extra)

    @property
    def state(self) -> Any:
        """The adapted state, as ``learner.adapt`` returned it."""
        return pytree.tree_unflatten(
            [getattr(self, f"state_{i}") for i in range(self._n_leaves)], self._tree
        )

    def forward(self, x: Float[Tensor, "Q *S"]) -> Float[Tensor, "Q O"]:
        """Scores (class logits) or values for each query.

        Raises:
            EpisodeError: when ``x`` is no such tensor, or the answers are no numbers.
        """
        queries = examples_tensor(x, "x")
        if queries.ndim < 2 or queries.shape[0] == 0:
            raise EpisodeError(
                f"A predictor takes a batch of queries, [Q ...], got the shape "
                f"{tuple(queries.shape)}. For a single one add the axis: x[None]."
            )
        queries = as_learned(queries, self._precision)[None]
        if can_look(queries):
            check_image_range(self.learner, queries, "x")
        # The learner may go on training; what it learned of one task stays in eval mode.
        stays = self.learner.training == self.training
        mode = contextlib.nullcontext() if stays else in_mode(self.learner, training=self.training)
        with mode, in_words(type(self.learner).__name__):
            answers = self.learner.predict(self.state, queries)
            out = returned(answers, self.learner, "predict", Tensor)[0]
        if can_look(out):
            check_answers(out, f"the predictor of {type(self.learner).__name__}")
        return out

    @property
    def _precision(self) -> torch.dtype | None:
        """The type of the weights, or else that of what was learned."""
        for tensor in (*self.learner.parameters(), *self.buffers()):
            if tensor.is_floating_point():
                return tensor.dtype
        return None

    def save(self, path: str | Path) -> Path:
        """Write the predictor into the folder ``path`` (made if needed), whole or not at all.

        Raises:
            ConfigError: when a part of the learner has no JSON description, or the folder cannot be
                written.
        """
        about = {
            "learner": describe(self.learner),
            "target": describe(self.target),
            "labels": list(self.labels),
            "state": self._outline,
            "extra": self.extra,
        }
        tensors = {
            name: t.detach().cpu().contiguous().clone() for name, t in self.state_dict().items()
        }
        return save_folder(path, kind="predictor", about=about, files={_TENSORS: save(tensors)})

    @classmethod
    def load(cls, path: str | Path, *, modules: Modules | None = None) -> "Predictor":
        """Read back what `save` wrote. Never runs code from the files.

        Args:
            path: the folder.
            modules: the networks that its encoder wraps, by name (`quickstudy.encoders.Wrapped`).

        Raises:
            LoadError: when a file is missing, damaged or from a newer format.
        """
        saved = load_folder(path, kind="predictor")
        try:
            about = saved.about
            tensors = load(saved.files[_TENSORS])
            n_leaves = sum(name.startswith("state_") for name in tensors)
            leaves = [tensors[f"state_{i}"] for i in range(n_leaves)]
            state = _rebuild_state(about["state"], leaves)
            learner = rebuild(
                about["learner"],
                numbers=sum(tensor.numel() for tensor in tensors.values()),
                modules=modules,
            )
            target = rebuild(about["target"])
            labels = about["labels"]
            if not (
                isinstance(learner, AbstractAlgorithm)
                and isinstance(target, Target)
                and isinstance(about["extra"], dict)
            ):
                raise ValueError("there must be a learner, a target and extras")
            if not (isinstance(labels, list) and all(isinstance(name, str) for name in labels)):
                raise ValueError(f"labels must be a list of names, not {labels}")
            predictor = cls(learner, state, target, labels=tuple(labels), extra=about["extra"])
            check_given_modules(predictor, tensors)
            for name, fresh in predictor.state_dict(keep_vars=True).items():
                # Fresh weights are float32, the saved ones need not be; assign=True would also lose
                # their memory format.
                fresh.data = fresh.data.to(tensors[name].dtype)
            predictor.load_state_dict(tensors)
        except LoadError as error:
            raise LoadError(f"{path}: {error}") from error
        except (
            LookupError,
            RuntimeError,
            AttributeError,
            TypeError,
            ValueError,
            SafetensorError,
        ) as error:
            raise LoadError(
                f"{path}: the description and the tensors do not belong together: {error}"
            ) from error
        return predictor


def _outline(state: Any) -> Any:
    """The shape of a state tree as JSON; leaves are numbered as pytree flattens them."""
    leaves, tree = pytree.tree_flatten(state)
    numbered = pytree.tree_unflatten(list(range(len(leaves))), tree)

    def walk(node: Any) -> Any:
        if isinstance(node, int):
            return node
        if isinstance(node, tuple | list):
            return {"tuple" if isinstance(node, tuple) else "list": [walk(v) for v in node]}
        if isinstance(node, dict):
            return {"dict": [[k, walk(v)] for k, v in node.items()]}
        raise ConfigError(
            "A learner's state is made of tensors in tuples, lists and dicts, but this one has a "
            f"{type(node).__qualname__}."
        )

    return walk(numbered)


def _rebuild_state(outline: Any, leaves: list[torch.Tensor]) -> Any:
    if isinstance(outline, int):
        return leaves[outline]
    ((kind, items),) = outline.items()
    if kind == "dict":
        return {k: _rebuild_state(v, leaves) for k, v in items}
    parts = [_rebuild_state(v, leaves) for v in items]
    return tuple(parts) if kind == "tuple" else parts
