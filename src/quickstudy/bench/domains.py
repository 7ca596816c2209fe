"""Rows on pictures that no training saw: steel defects, hand signs and faces, by what was trained
on characters or photographs, and by encoders that come ready.
"""

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from quickstudy.bench.measurement import Measurement, Setup, report_of
from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting
from quickstudy.data import ClassDataset, ClassIndex, Episodes, ImageFormat
from quickstudy.data.brought import contents, located, names_in, pictures_by_folder, read_pictures
from quickstudy.estimators import FewShotClassifier, ImageEncoder
from quickstudy.evaluation import Report, evaluate

DOMAINS = {"steel": "neu-steel-defects", "signs": "sign-digits", "faces": "orl-faces"}
SOURCES = ("glyphs-protonet", "omniglot-protonet", "symbols-protonet", "mini-imagenet-meta-whole")
ENCODERS = ("photographs", "symbols")
HEADS = ("prototype", "cosine", "ridge", "logistic")
_TASKS, _DRAWS, _QUERIES = 600, 100, 5
_SHOTS = (1, 5)


def cross_domain() -> Iterator[tuple[str, Measurement]]:
    """For each source the name of its recipe, and its scores on the other domains."""
    settings = tuple(f"{domain}-5w{k}s{_QUERIES}q" for domain in DOMAINS for k in _SHOTS)
    fixes = {"domains": DOMAINS, "tasks": _TASKS}
    for recipe in SOURCES:
        yield recipe, Measurement(settings, fixes, _across)


def own_images() -> Iterator[tuple[str, Measurement]]:
    """For each ready encoder and head its name, and its scores on the domains."""
    settings = tuple(f"{domain}-{k}shot" for domain in DOMAINS for k in _SHOTS)
    for encoder in ENCODERS:
        for head in HEADS:
            fixes = {"encoder": encoder, "head": head, "domains": DOMAINS, "draws": _DRAWS}
            score = functools.partial(_by_head, encoder, head)
            yield f"{encoder}-{head}", Measurement(settings, fixes, score)


def domain(name: str, fmt: ImageFormat) -> ClassDataset:
    """All the pictures of a domain.

    Raises:
        DataError: when its archive is not in the data folder.
    """
    path = _archive(name)
    x, labels = read_pictures(path, pictures_by_folder(names_in(path)), fmt)
    names = sorted(set(labels))
    index = ClassIndex([names.index(label) for label in labels], names)
    return ClassDataset(name, "domain/all", x, index, mean=fmt.mean, std=fmt.std)


def _archive(name: str) -> Path:
    file = DOMAINS[name]
    forms = f"{file}.zip, or a folder of that name, with a folder of images per class"
    return located("", (f"{file}.zip", file), what=name, forms=forms)


def _across(title: str, setup: Setup) -> Report:
    """A trained learner on tasks of another domain."""
    if setup.run is None:
        raise ConfigError("A row across domains needs a training.")
    name, _, task = title.partition("-")
    form = setup.run.build_data().image_format
    if form is None:
        raise ConfigError(f"{setup.run.recipe.name} was not trained on images.")
    shots = int(task.removeprefix("5w").partition("s")[0])
    # Photographs stay as they are, whatever was done to drawings.
    data = domain(name, replace(ImageFormat.from_json(form), invert=False))
    tasks = Episodes(data, Setting(5, shots, _QUERIES), seed=0)
    return evaluate(setup.run.learner, tasks, n_tasks=_TASKS, origin=setup.run.origin)


@functools.cache
def _encoded(encoder: str, name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vectors of all pictures of a domain, and their classes as numbers."""
    path = _archive(name)
    class_of = pictures_by_folder(names_in(path))
    items = sorted(contents(path, class_of.__contains__))
    names = sorted(set(class_of.values()))
    vectors = ImageEncoder(encoder).fit().transform([content for _, content in items])
    labels = np.array([names.index(class_of[file]) for file, _ in items])
    return np.asarray(vectors, dtype=np.float64), labels


def _by_head(encoder: str, head: str, title: str, setup: Setup) -> Report:
    """A head on the vectors of a ready encoder: all classes, by random draws."""
    name, _, rest = title.partition("-")
    shots = int(rest.removesuffix("shot"))
    x, y = _encoded(encoder, name)
    scores = []
    for draw in range(_DRAWS):
        rng = np.random.default_rng(draw)
        rows = [rng.permutation(np.flatnonzero(y == c)) for c in range(y.max() + 1)]
        known = np.concatenate([r[:shots] for r in rows])
        asked = np.concatenate([r[shots : shots + _QUERIES] for r in rows])
        scores.append(FewShotClassifier(head).fit(x[known], y[known]).score(x[asked], y[asked]))
    return report_of(
        scores,
        algorithm=f"{head} on {encoder}",
        data=name,
        n_way=int(y.max()) + 1,
        n_shot=shots,
        n_query=_QUERIES,
    )
