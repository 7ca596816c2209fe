"""Where examples lie in a learner's eyes: one task's features in two dimensions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.algorithms import Hallucinator
from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.analysis.report import AbstractReport
from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, encoder_of
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Classes, Examples
from quickstudy.core.words import percent

KINDS = ("query", "imagined", "support")
# Okabe and Ito's, safe for the colour-blind
_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#999933",
)
_MARKS = {"query": ("o", 22, 0.55), "imagined": ("x", 26, 0.9), "support": ("*", 260, 1.0)}


@dataclass(frozen=True)
class EmbeddingReport(AbstractReport):
    """Features of one task in two dimensions, by principal components and by t-SNE, and how well
    they part the classes.

    Args:
        pca, tsne: ``[points][2]``.
        label: the class of each point.
        kind: "support", "query" or "imagined".
        explained: the share of the variance in the two principal components.
        silhouette: of real and of imagined points, in the features themselves, between −1 and 1;
            higher = classes further apart.
    """

    pca: list[list[float]]
    tsne: list[list[float]]
    label: list[int]
    kind: list[str]
    explained: float
    silhouette: dict[str, float]

    def rows(self) -> list[tuple[str, ...]]:
        """What a table shows."""
        counts = [
            (f"{kind} points", str(self.kind.count(kind)))
            for kind in ("support", "query", "imagined")
            if kind in self.kind
        ]
        return [
            *counts,
            ("variance in two principal components", percent(self.explained, 1)),
            *((f"silhouette, {name}", f"{value:.3f}") for name, value in self.silhouette.items()),
        ]

    def draw(self, path: str | Path, *, title: str = "") -> Path:
        """Both projections side by side."""
        from matplotlib.lines import Line2D

        figure = new_figure(11.0, 5.2)
        label, kind = np.array(self.label), np.array(self.kind)
        named = (("principal components", self.pca), ("t-SNE", self.tsne))
        for axes, (name, points) in zip(figure.subplots(1, 2), named, strict=True):
            at = np.array(points)
            for k in KINDS:
                mark, size, alpha = _MARKS[k]
                for c in np.unique(label):
                    marked = at[(label == c) & (kind == k)]
                    edge = (
                        {"edgecolors": "black", "linewidths": 0.8}
                        if k == "support"
                        else {"linewidths": 1.2 if k == "imagined" else 0}
                    )
                    axes.scatter(
                        marked[:, 0],
                        marked[:, 1],
                        s=size,
                        marker=mark,
                        color=_COLOURS[c % len(_COLOURS)],
                        alpha=alpha,
                        **edge,
                    )
            axes.set_title(name, fontsize=10)
            axes.set_xticks([])
            axes.set_yticks([])
        classes = [
            Line2D([], [], marker="s", ls="", color=_COLOURS[c % len(_COLOURS)], label=f"class {c}")
            for c in np.unique(label)
        ]
        kinds = [
            Line2D(
                [],
                [],
                marker=_MARKS[k][0],
                ls="",
                color="#57606a",
                ms=12 if k == "support" else 6,
                label=k,
            )
            for k in ("support", "query", "imagined")
            if k in self.kind
        ]
        figure.legend(
            handles=[*classes, *kinds],
            loc="outside lower center",
            ncols=min(8, len(classes) + len(kinds)),
            frameon=False,
        )
        figure.suptitle(title or "One task in the features of its learner")
        return save_figure(figure, path)


def embedding(
    learner: AbstractLearner[Any], tasks: AbstractTasks, *, task: int = 0, seed: int = 0
) -> EmbeddingReport:
    """The features of one task's support and queries, with the imagined ones of a hallucinator.

    Args:
        learner: with one encoder; features are those that it compares.
        tasks: the stream.
        task: which of it.
        seed: of t-SNE.

    Raises:
        ConfigError: for a regression, or a learner without an encoder of its own.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.metrics import silhouette_score

    episode = tasks.batch([task])
    if not isinstance(episode.target, Classes):
        raise ConfigError("There are no classes to draw in a regression. Give a run on classes.")
    encoder = encoder_of(learner.eval())
    on_device = episode.to(next((p.device for p in learner.parameters()), torch.device("cpu")))
    with torch.no_grad():
        z, context = encoder.read(on_device.support.x)
        parts = [
            ("support", z[0], on_device.support.y[0]),
            ("query", encoder(on_device.query.x, context)[0], on_device.query.y[0]),
        ]
        if isinstance(learner, Hallucinator) and learner.n_imagined:
            parts = [(k, learner.formed(p[None])[0], y) for k, p, y in parts]
            # [C M D]
            imagined = learner.imagined(parts[0][1][None], on_device.support.y, episode.target.n)[0]
            parts.append(
                (
                    "imagined",
                    imagined.flatten(0, 1),
                    torch.arange(len(imagined)).repeat_interleave(imagined.shape[1]),
                )
            )
    x: NDArray[np.float64] = torch.cat([p for _, p, _ in parts]).double().cpu().numpy()
    label = torch.cat([y.cpu() for _, _, y in parts]).numpy()
    kind = np.repeat([k for k, _, _ in parts], [len(p) for _, p, _ in parts])
    pca = PCA(2).fit(x[kind != "imagined"])
    near = TSNE(
        2, perplexity=min(30.0, (len(x) - 1) / 3), init="pca", random_state=seed
    ).fit_transform(x)
    sets = {"real": kind != "imagined", "imagined": kind == "imagined"}
    parted = {
        n: float(silhouette_score(x[s], label[s]))
        for n, s in sets.items()
        if episode.target.n < s.sum()
    }
    return EmbeddingReport(
        pca.transform(x).round(5).tolist(),
        near.astype(float).round(5).tolist(),
        label.tolist(),
        kind.tolist(),
        float(pca.explained_variance_ratio_.sum()),
        parted,
    )


def imagined_spread(learner: Hallucinator, support: Examples, n: int) -> float:
    """How much the noise matters: the standard deviation of a class's imagined points about their
    mean, as a part of the mean's length.

    0 = the generator pays no heed to the noise, and all its examples are one.
    """
    with torch.no_grad():
        imagined: Tensor = learner.imagined(
            learner.formed(encoder_of(learner)(support.x)), support.y, n
        )
    mean = imagined.mean(2, keepdim=True)
    return float(
        (
            (imagined - mean).square().sum(-1).mean(2).sqrt()
            / mean[:, :, 0].norm(dim=-1).clamp_min(1e-12)
        ).mean()
    )
