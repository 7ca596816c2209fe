"""Defects, when there are only good parts to learn from: a memory of what the places of good parts
look like.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load, save
from scipy.ndimage import gaussian_filter
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from quickstudy.anomaly.golden_template import FEWEST, GoldenTemplate, pictures_of
from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, LoadError, did_you_mean
from quickstudy.core.saving import load_folder, save_folder
from quickstudy.core.scalars import finite, whole
from quickstudy.data.image_files import picture_size
from quickstudy.functional.coreset import greedy_coreset, nearest_distances
from quickstudy.metrics.thresholds import conformal_threshold
from quickstudy.pretrained import AbstractImagePretrained, AbstractPretrained, open_encoder
from quickstudy.pretrained.files import as_content, is_path

KIND = "patch memory"
_TENSORS = "memory.safetensors"
_TEMPLATE = "template.safetensors"
TEMPLATES = ("auto", "none")
SCORES = ("max", "top1")


@dataclass(frozen=True)
class _Patches:
    """Pictures as patches: ``[n H W D]``, and their sizes (width, height)."""

    patches: Float[Tensor, "n H W D"]
    sizes: list[tuple[int, int]]


class PatchMemory(OutlierMixin, BaseEstimator):
    """Says how much a picture differs from good parts, and where.

    The encoder's features of all places of the good parts are kept (a coreset of them). A place of
    a new picture is as anomalous as it is far from the nearest one in the memory, and a picture as
    its most anomalous place.

    Args:
        encoder: what `quickstudy.pretrained.open_encoder` takes and sees places: "photographs", a
            run with a Conv4, a vision model of the hub.
        keep: the share of the places that is kept, in (0, 1].
        score: of a picture: "max", its most anomalous place, or "top1", the mean of the most
            anomalous hundredth of its places, which is steadier.
        neighbours: a picture's score is weighed by how unlike its memory's neighbourhood the worst
            place is, from so many neighbours (PatchCore's equation 7); 0 = not weighed. With "max"
            only.
        pool: each place becomes the mean of the pool × pool places around it, as PatchCore's local
            patches; 1 = itself.
        false_reject_rate: the wanted share of good parts that `predict` calls defects.
        template: whether a `GoldenTemplate` is kept beside the memory, for who wants to look at
            both: "auto", where the images of good parts lie on each other, or "none".

    Attributes:
        memory_: the kept places, ``[m D]``.
        template_: of the same good parts, or None; `predict` goes by the memory alone.
        good_scores_: of each good part, by the memory of the others.
        threshold_: above which a picture is a defect; None where there were too few good parts for
            the rate.
        key_: of the encoder.

    Paper: Roth et al. 2022, arXiv:2106.08265 (PatchCore), section 3; "top1" Damm et al. 2024,
        arXiv:2405.14529 (AnomalyDINO).
    Differs: one encoder's features as they come; the threshold is conformal, over good parts that
        are left out of the memory in turn.
    """

    encoder_: AbstractImagePretrained
    memory_: Tensor
    good_scores_: NDArray[np.float64]
    threshold_: float | None
    template_: GoldenTemplate | None
    key_: str

    def __init__(
        self,
        encoder: Any = "auto",
        *,
        keep: float = 0.1,
        score: str = "max",
        neighbours: int = 0,
        pool: int = 3,
        false_reject_rate: float = 0.05,
        template: str = "auto",
    ) -> None:
        self.encoder = encoder
        self.keep = keep
        self.score = score
        self.neighbours = neighbours
        self.pool = pool
        self.false_reject_rate = false_reject_rate
        self.template = template

    def fit(self, X: Iterable[Any], y: Any = None) -> Self:
        """Remember good parts.

        Args:
            X: their pictures: paths, contents of files, open files, Pillow images or arrays.
            y: not used.

        Raises:
            ConfigError: for options that make no sense, an encoder that does not see places, or no
                picture.
            ImageError: for a file that is no picture.
        """
        self._check_options()
        self._open(self.encoder)
        images = pictures_of(X)
        content = self._patches_of(images)
        self.template_ = self._template_of(images, content.sizes)
        patches = content.patches.flatten(1, 2)  # [n H·W D]
        self.memory_ = self._core(patches.flatten(0, 1))
        self.good_scores_ = self._left_out(patches)
        try:
            self.threshold_ = conformal_threshold(self.good_scores_, self.false_reject_rate)
        except ConfigError:
            self.threshold_ = None
        return self

    def anomaly(self, X: Iterable[Any]) -> Float[NDArray[np.float64], " n"]:
        """How much each picture differs from good parts, higher = more."""
        return self._scores(self._checked(X).patches.flatten(1, 2), self.memory_)

    def score_samples(self, X: Iterable[Any]) -> Float[NDArray[np.float64], " n"]:
        """Minus `anomaly`: higher = more like good parts, as scikit-learn has it."""
        return -self.anomaly(X)

    def predict(self, X: Iterable[Any]) -> NDArray[np.int64]:
        """1 for a good part, −1 for a defect.

        Raises:
            ConfigError: when there were too few good parts to draw a line.
        """
        return np.where(self.anomaly(X) > self.line, -1, 1)

    @property
    def line(self) -> float:
        """The threshold.

        Raises:
            ConfigError: when there were too few good parts to draw one.
        """
        check_is_fitted(self, "memory_")
        if self.threshold_ is None:
            conformal_threshold(self.good_scores_, self.false_reject_rate)  # says how many it takes
            raise ConfigError("There is no threshold.")
        return self.threshold_

    def maps(self, X: Iterable[Any]) -> list[Float[NDArray[np.float32], "H W"]]:
        """How anomalous each place of each picture is, as large as the picture: the distances,
        enlarged and smoothed.
        """
        content = self._checked(X)
        out = []
        for patches, (width, height) in zip(content.patches, content.sizes, strict=True):
            distance = nearest_distances(patches.flatten(0, 1), self.memory_)[0].view(
                1, 1, *patches.shape[:2]
            )
            large = F.interpolate(distance, (height, width), mode="bilinear", align_corners=False)[
                0, 0
            ].numpy()
            out.append(
                gaussian_filter(large, sigma=max(height, width) / patches.shape[0] / 2).astype(
                    np.float32
                )
            )
        return out

    def save(self, folder: str | Path) -> Path:
        """Write the memory into a folder, which is made if needed; all of it or nothing.

        Raises:
            ConfigError: when the folder cannot be written, or holds something else.
        """
        check_is_fitted(self, "memory_")
        options = {k: v for k, v in self.get_params(deep=False).items() if k != "encoder"}
        about = {
            "encoder": self.encoder_.source,
            "key": self.key_,
            "options": options,
            "threshold": self.threshold_,
        }
        files = {_TENSORS: save({"memory": self.memory_.numpy(), "good_scores": self.good_scores_})}
        if self.template_ is not None:
            about["template"] = self.template_.to_json()
            files[_TEMPLATE] = save(self.template_.to_arrays())
        return save_folder(folder, kind=KIND, about=about, files=files)

    @classmethod
    def load(cls, folder: str | Path, *, encoder: str | AbstractPretrained = "") -> "PatchMemory":
        """Read back what `save` wrote, with every byte checked, and open the encoder.

        Args:
            folder: where it lies.
            encoder: where the encoder lies now, or itself; empty = where it lay.

        Raises:
            LoadError: when there is none or it is damaged, or the encoder is another one now.
        """
        saved = load_folder(folder, kind=KIND)
        try:
            about = saved.about
            tensors = load(saved.files[_TENSORS])
            memory = cls(encoder or about["encoder"], **about["options"])
            memory._check_options()
            memory.memory_ = torch.from_numpy(tensors["memory"])
            memory.good_scores_ = tensors["good_scores"]
            memory.threshold_ = about["threshold"]
            memory.template_ = (
                GoldenTemplate.from_saved(about["template"], load(saved.files[_TEMPLATE]))
                if "template" in about
                else None
            )
            key = about["key"]
            if memory.memory_.ndim != 2 or not memory.memory_.isfinite().all():
                raise ValueError("the places are no finite vectors")
        except (ConfigError, ValueError, LookupError, TypeError, SafetensorError) as error:
            raise LoadError(
                f"The patch memory in {folder} is damaged: {error}. Make it again."
            ) from error
        memory._open(memory.encoder, trusted=bool(encoder))
        if memory.key_ != key:
            raise LoadError(
                f"The memory holds features of the encoder {key}, but '{memory.encoder_.source}' "
                f"is {memory.key_} now. Say where the old one is, or fit again."
            )
        return memory

    def _check_options(self) -> None:
        for name in ("pool", "neighbours"):
            whole(getattr(self, name), name)
        for name in ("keep", "false_reject_rate"):
            finite(getattr(self, name), name)
        if (
            not 0 < self.keep <= 1
            or self.pool < 1
            or self.pool % 2 == 0
            or self.neighbours < 0
            or not 0 < self.false_reject_rate < 1
        ):
            raise ConfigError(
                "keep lies in (0, 1], pool is 1, 3, 5 …, neighbours is not negative and "
                f"false_reject_rate lies between 0 and 1, got {self.keep}, {self.pool}, "
                f"{self.neighbours} and {self.false_reject_rate}."
            )
        if self.score not in SCORES:
            raise ConfigError(
                f"An image has no score '{self.score}'. {did_you_mean(str(self.score), SCORES)}"
            )
        if self.template not in TEMPLATES:
            raise ConfigError(
                f"template cannot be '{self.template}'. "
                f"{did_you_mean(str(self.template), TEMPLATES)}"
            )

    def _template_of(
        self, images: Sequence[Any], sizes: Sequence[tuple[int, int]]
    ) -> GoldenTemplate | None:
        """A template, where the images lie on each other."""
        is_possible = len(set(sizes)) == 1
        if self.template == "none" or not is_possible or len(images) < FEWEST:
            return None
        template = GoldenTemplate(false_reject_rate=self.false_reject_rate).fit(images)
        return template if template.is_registered else None

    def _open(self, encoder: Any, *, trusted: bool = True) -> None:
        opened = open_encoder(encoder, kind="images", trusted=trusted)
        if not isinstance(opened, AbstractImagePretrained):
            raise ConfigError(f"'{opened.source}' does not encode images.")
        self.encoder_, self.key_ = opened, opened.key

    def _checked(self, X: Iterable[Any]) -> _Patches:
        check_is_fitted(self, "memory_")
        return self._patches_of(pictures_of(X))

    def _patches_of(self, pictures: Sequence[Any]) -> _Patches:
        if not pictures:
            raise ConfigError("There is no image. Give at least one.")
        parts, sizes = [], []
        # One by one: in a batch the last digits of a picture's features depend on the others.
        for picture in pictures:
            image = picture
            if not isinstance(picture, Image.Image):
                image = self.encoder_.read(
                    Path(picture) if is_path(picture) else as_content(picture)
                )
            sizes.append(picture_size(picture))
            parts.append(torch.from_numpy(self.encoder_.patches([image])))
        patches = torch.cat(parts)
        if self.pool > 1:  # at the border the mean is over the places that are there
            flat = patches.permute(0, 3, 1, 2)
            patches = F.avg_pool2d(
                flat, self.pool, stride=1, padding=self.pool // 2, count_include_pad=False
            ).permute(0, 2, 3, 1)
        return _Patches(patches.contiguous(), sizes)

    def _core(self, patches: Float[Tensor, "n D"]) -> Float[Tensor, "m D"]:
        m = max(1, round(self.keep * len(patches)))
        return patches if m == len(patches) else patches[greedy_coreset(patches, m)]

    def _left_out(self, patches: Float[Tensor, "n P D"]) -> NDArray[np.float64]:
        """The scores of good parts by memories without them: one by one for few, in ten groups for
        many.
        """
        n = len(patches)
        if n < 2:
            return np.empty(0)
        groups = np.arange(n) % min(n, 10)
        out = np.empty(n)
        for g in range(groups.max() + 1):
            in_group = torch.from_numpy(groups == g)
            others = ~in_group
            out[groups == g] = self._scores(
                patches[in_group], self._core(patches[others].flatten(0, 1))
            )
        return out

    def _scores(
        self, patches: Float[Tensor, "n P D"], memory: Float[Tensor, "m D"]
    ) -> NDArray[np.float64]:
        distance, nearest = nearest_distances(patches.flatten(0, 1), memory)
        distance = distance.view(patches.shape[:2])  # [n P]
        nearest = nearest.view(patches.shape[:2])
        if self.score == "top1":
            return (
                distance.topk(max(1, distance.shape[1] // 100), dim=1)
                .values.mean(1)
                .double()
                .numpy()
            )
        worst = distance.argmax(1)
        rows = torch.arange(len(patches))
        scores = distance[rows, worst]
        if self.neighbours:
            k = min(self.neighbours, len(memory))
            around = nearest_distances(memory[nearest[rows, worst]], memory, k=k)[1]  # [n k]
            to_them = (patches[rows, worst][:, None] - memory[around]).norm(dim=-1)
            # 1 − exp(s)/Σ exp(d), so that it does not overflow
            scores = scores * (1 - (scores - torch.logsumexp(to_them, 1)).exp())
        return scores.double().numpy()
