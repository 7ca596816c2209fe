"""Do galleries keep the false-accept rate that they promise?

Galleries of 10, 50 and 200 identities, calibrated by a cohort of people and by leaving identities
out, with several photos per person that resemble each other.

python benchmarks/gallery_promises.py
python benchmarks/gallery_promises.py --data "ORL faces by faces"    one of them, into the same file

Writes benchmarks/gallery_promises.json. Each draw chooses anew who is enrolled (with two photos
each), who is the cohort and who are the impostors (with three photos each); what is counted is how
many photos of impostors are taken for somebody. Where a rate cannot be promised, the number of
people that it takes is written instead.
"""

import argparse
import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.stats import binom

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, QuickstudyError
from quickstudy.data import Omniglot
from quickstudy.data.locations import data_root
from quickstudy.estimators import ImageEncoder
from quickstudy.evaluation import commit, versions
from quickstudy.gallery.calibration import calibrated
from quickstudy.gallery.impostors import ImpostorScores
from quickstudy.gallery.policy import COHORT, LEAVE_ONE_OUT, Policy
from quickstudy.gallery.vectors import unit
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.metrics.thresholds import needed

ROOT = Path(__file__).parent.parent
SIZES = (10, 50, 200)
RATES = (0.01, 0.05, 0.1)
ENROLLED = 2
PHOTOS = 3
COHORT_PEOPLE = 99
IMPOSTORS = 100
MANY = tuple((size, COHORT_PEOPLE, IMPOSTORS) for size in SIZES)
FEW = ((10, 19, 11), (19, 9, 12))  # of 40 people: enrolled, in the cohort, impostors
DIM = 64
Vectors = NDArray[np.float32]
People = Callable[[np.random.Generator, int], NDArray[np.float32]]


def clusters(rng: np.random.Generator, people: int) -> Vectors:
    """Photos ``[people, photos, D]`` of people who are made up: some look like each other, and the
    photos of a person taken on one day more so than others.
    """
    scale = np.arange(1, DIM + 1) ** -0.5
    centre = rng.normal(size=(people, 1, DIM)) * scale
    day = rng.normal(size=(people, 1, DIM)) * scale
    photo = rng.normal(size=(people, ENROLLED + PHOTOS, DIM)) * scale
    x = centre + 0.5 * day + 0.4 * photo
    return unit(x.reshape(-1, DIM), DIM).reshape(people, -1, DIM)


def drawn_from(vectors: Vectors) -> People:
    """Draws from a data set ``[people, photos, D]``."""

    def draw(rng: np.random.Generator, people: int) -> Vectors:
        if people > len(vectors):
            raise ConfigError(f"There are {len(vectors)} people, but {people} are needed.")
        chosen = vectors[rng.permutation(len(vectors))[:people]]
        order = rng.random(chosen.shape[:2]).argsort(1)[:, : ENROLLED + PHOTOS]
        return np.take_along_axis(chosen, order[..., None], 1)

    return draw


def omniglot() -> People:
    """Characters of unseen alphabets with their quarter turns, by the encoder of drawings."""
    test = Omniglot(rotations=True).split("test")
    rows = [test.index.rows_of(c)[: ENROLLED + PHOTOS] for c in range(len(test.index))]
    drawings = [Image.fromarray(255 - np.asarray(test.x[int(r), 0])) for r in np.concatenate(rows)]
    x = ImageEncoder("symbols").fit().transform(drawings)
    return drawn_from(unit(x, x.shape[1]).reshape(len(rows), -1, x.shape[1]))


def faces(encoder: str) -> Callable[[], People]:
    """The 40 people of the ORL faces, by an encoder."""

    def read() -> People:
        with zipfile.ZipFile(data_root() / "orl-faces.zip") as archive:
            names = sorted(n for n in archive.namelist() if n.endswith((".png", ".jpg")))
            images = [Image.open(io.BytesIO(archive.read(n))).convert("RGB") for n in names]
        x = ImageEncoder(encoder).fit().transform(images)
        people = len({name.split("/")[-2] for name in names})
        return drawn_from(unit(x, x.shape[1]).reshape(people, -1, x.shape[1]))

    return read


def nearest(x: Vectors, templates: Vectors, *, leave_out: bool) -> NDArray[np.float32]:
    """Of each photo ``[people, photos, D]`` to the nearest template of somebody else ``[n, k, D]``;
    with ``leave_out`` the people are those enrolled, and nobody is compared with himself.
    """
    people, photos, dim = x.shape
    n = len(templates)
    s = x.reshape(-1, dim) @ templates.reshape(-1, dim).T
    s = s.reshape(people, photos, n, -1).max(3)
    if leave_out:
        s[np.arange(people), :, np.arange(people)] = -np.inf
    return s.max(2)


def scores(similarity: NDArray[np.float32], rule: str) -> ImpostorScores:
    """What people score ``[people, photos]``, as a gallery has it."""
    persons = np.repeat(np.arange(len(similarity)), similarity.shape[1])
    flat = similarity.ravel()
    return ImpostorScores(flat, np.zeros(len(flat), np.int64), persons, rule)


def measure(people: People, size: int, draws: int, impostors: int, cohort: int) -> dict[str, Any]:
    """Realised rates of one size of gallery, by rule and promised rate."""
    accepted: dict[tuple[str, float], list[float]] = {}
    refused: dict[tuple[str, float], int] = {}
    missed: dict[tuple[str, float], list[float]] = {}
    for draw in range(draws):
        rng = np.random.default_rng([size, draw])
        x = people(rng, size + cohort + impostors)
        templates, genuine = x[:size, :ENROLLED], x[:size, ENROLLED:]
        others, probes = x[size : size + cohort, ENROLLED:], x[size + cohort :, ENROLLED:]
        known = {
            COHORT: scores(nearest(others, templates, leave_out=False), COHORT),
            LEAVE_ONE_OUT: scores(nearest(templates, templates, leave_out=True), LEAVE_ONE_OUT),
        }
        reached = nearest(probes, templates, leave_out=False)
        own = np.einsum("npd,nkd->npk", genuine, templates).max(2)
        for rule, impostor_scores in known.items():
            for rate in RATES:
                try:
                    policy = calibrated(Policy(), impostor_scores, rate, strict=True)
                except ConfigError:
                    refused[rule, rate] = needed(rate, left_out=rule == LEAVE_ONE_OUT)
                    continue
                assert policy.threshold is not None
                accepted.setdefault((rule, rate), []).append(
                    float((reached > policy.threshold).mean())
                )
                missed.setdefault((rule, rate), []).append(float((own <= policy.threshold).mean()))
    out: dict[str, Any] = {"identities": size, "cohort_people": cohort, "impostors": impostors}
    for rule in (COHORT, LEAVE_ONE_OUT):
        out[rule] = {}
        for rate in RATES:
            if (rule, rate) in refused:
                out[rule][str(rate)] = {"takes": refused[rule, rate]}
                continue
            low, high = binom.interval(0.95, draws * impostors, rate)
            mean, half = mean_ci95(accepted[rule, rate])
            out[rule][str(rate)] = {
                "accepted": [mean, half],
                "interval": [low / (draws * impostors), high / (draws * impostors)],
                "kept": bool(mean <= high / (draws * impostors)),
                "missed": mean_ci95(missed[rule, rate])[0],
            }
    return out


def rows() -> list[str]:
    """The table of docs/applications/gallery.md."""
    file = ROOT / "benchmarks" / "gallery_promises.json"
    measured = json.loads(file.read_text(encoding="utf-8"))
    lines = [
        "| data | identities | rule | promised | taken for somebody | binomial interval | "
        "people missed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, sizes in measured["data"].items():
        for size in sizes:
            for rule in (COHORT, LEAVE_ONE_OUT):
                for rate, found in size[rule].items():
                    head = f"| {name} | {size['identities']} | {rule} | {100 * float(rate):g} % |"
                    if "takes" in found:
                        lines.append(f"{head} refused: takes {found['takes']} identities | | |")
                        continue
                    mean, half = (100 * value for value in found["accepted"])
                    low, high = (100 * value for value in found["interval"])
                    lines.append(
                        f"{head} {mean:.2f} ± {half:.2f} % | {low:.2f} … {high:.2f} % | "
                        f"{100 * found['missed']:.1f} % |"
                    )
    note = (
        f"{measured['draws']} draws of who is enrolled ({measured['enrolled_photos']} photos "
        f"each), of a cohort of {COHORT_PEOPLE} people and of {IMPOSTORS} impostors (of the 40 "
        "people of ORL a cohort of 19 and 11 impostors, or 9 and 12) with "
        f"{measured['photos']} photos each, which resemble each other; means with 95 % intervals "
        "over draws, and the binomial interval around the promise; commit "
        f"{measured['commit']}, {measured['seconds']:.0f} s."
    )
    return [*lines, "", note]


def main() -> None:
    """Each data set and size, in order."""
    parser = argparse.ArgumentParser(description="False-accept rates, promised and realised.")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--data", nargs="+", default=["clusters", "omniglot by symbols"])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "gallery_promises.json")
    asked, began = parser.parse_args(), time.perf_counter()
    sources: dict[str, Callable[[], People]] = {
        "clusters": lambda: clusters,
        "omniglot by symbols": omniglot,
        "ORL faces by photographs": faces("photographs"),
        "ORL faces by faces": faces("faces"),
    }
    out: dict[str, Any] = {
        "commit": commit(),
        "versions": versions(),
        "draws": asked.draws,
        "enrolled_photos": ENROLLED,
        "photos": PHOTOS,
        "data": json.loads(asked.out.read_text(encoding="utf-8"))["data"]
        if asked.out.exists()
        else {},  # one data set may be measured anew alone
    }
    for name in asked.data:
        try:
            people = sources[name]()
        except QuickstudyError as error:
            print(f"{name}: {error}")
            continue
        out["data"][name] = [
            measure(people, size, asked.draws, impostors, cohort)
            for size, cohort, impostors in (FEW if "ORL" in name else MANY)
        ]
        print(name, json.dumps(out["data"][name], indent=1), flush=True)
    out["seconds"] = time.perf_counter() - began
    asked.out.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
