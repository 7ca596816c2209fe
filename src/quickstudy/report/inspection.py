"""The page of an inspection: what a memory of patches and a golden template say of each part."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from PIL import Image

from quickstudy.core.arrays import NDArray
from quickstudy.data import read_picture
from quickstudy.evaluation import versions
from quickstudy.report.build import part_of_page, template, write_page

_MOST, _SIDE, _HEAT = 150, 240, 0.7


@dataclass(frozen=True)
class Opinion:
    """What one method says of an image.

    Args:
        anomaly: how much the image differs from good parts.
        threshold: above which it is a defect; None where there is none.
        heat: how anomalous each place is, as large as the image; None where nobody asked.
    """

    anomaly: float
    threshold: float | None
    heat: Float[NDArray[np.float32], "H W"] | None = None

    @property
    def verdict(self) -> str:
        """Defect or good; empty where there is no threshold."""
        if self.threshold is None:
            return ""
        return "defect" if self.anomaly > self.threshold else "good"


@dataclass(frozen=True)
class InspectedImage:
    """An image and what each method says of it.

    Args:
        path: of its file.
        opinions: by the name of the method; None where it cannot say anything.
    """

    path: Path
    opinions: dict[str, Opinion | None]

    @property
    def is_defect(self) -> bool:
        """Whether any method calls it a defect."""
        return any(o is not None and o.verdict == "defect" for o in self.opinions.values())


def hottest(opinions: Sequence[Opinion]) -> float:
    """The heat that is shown brightest: that of the hottest place, or twice the threshold where
    that is more.
    """
    most = [float(o.heat.max()) for o in opinions if o.heat is not None]
    return max([*most, *(2 * (o.threshold or 0.0) for o in opinions), 1e-12])


def overlaid(
    image: Image.Image, heat: Float[NDArray[np.float32], "H W"], top: float
) -> Image.Image:
    """An image with the heat over it.

    Args:
        image: of any size; it is brought to that of the heat.
        heat: how anomalous each place is.
        top: the heat that is shown brightest.
    """
    from matplotlib import colormaps

    pixels = np.asarray(image.resize((heat.shape[1], heat.shape[0])), dtype=np.float64) / 255
    strength = np.clip(heat / top, 0, 1)
    share = strength[..., None] * _HEAT
    over = share * colormaps["inferno"](strength)[..., :3] + (1 - share) * pixels
    return Image.fromarray((255 * over).astype(np.uint8))


def inspection_page(images: Sequence[InspectedImage], file: str | Path, *, title: str = "") -> Path:
    """Write a page about inspected images, the most anomalous first: each image, and beside it
    where each method sees something, with score, threshold and verdict.

    It is one HTML file that needs no network and no script; it holds small copies of the images.

    Args:
        images: each with the same methods.
        file: where to write; folders on the way are made.
        title: above it; empty = "Inspected parts".

    Raises:
        ConfigError: when the file cannot be written; an older one stays then.
        ImageError: when an image cannot be read any more.
    """
    methods = list(images[0].opinions) if images else []
    units = {name: _unit(_given(images, name)) for name in methods}
    ordered = sorted(images, key=lambda image: -_excess(image, units))
    tops = {name: hottest(_given(images, name)) for name in methods}
    text = template("inspection.html.jinja").render(
        title=title or "Inspected parts",
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        css=Markup(part_of_page("page.css")),
        n=len(images),
        n_defects=sum(image.is_defect for image in images),
        has_verdicts=any(o.verdict for name in methods for o in _given(images, name)),
        methods=methods,
        counts=[(name, *_counts(images, name)) for name in methods],
        cards=[_card(image, tops) for image in ordered[:_MOST]],
        more=max(0, len(images) - _MOST),
        versions=list(versions().items()),
    )
    return write_page(text, file)


def _given(images: Sequence[InspectedImage], name: str) -> list[Opinion]:
    """What a method says, of those images of which it says something."""
    opinions = [image.opinions[name] for image in images]
    return [opinion for opinion in opinions if opinion is not None]


def _unit(opinions: Sequence[Opinion]) -> float:
    """What anomalies of a method are measured in: its threshold, or their median without one."""
    if not opinions:
        return 1.0
    return opinions[0].threshold or float(np.median([o.anomaly for o in opinions])) or 1.0


def _excess(image: InspectedImage, units: dict[str, float]) -> float:
    """The largest of an image's anomalies, each in the unit of its method."""
    given = [(o, units[name]) for name, o in image.opinions.items() if o is not None]
    return max((o.anomaly / unit for o, unit in given), default=0.0)


def _counts(images: Sequence[InspectedImage], name: str) -> tuple[int, int, int]:
    """How many images a method calls defects, how many good, and of how many it says nothing."""
    verdicts = [opinion.verdict for opinion in _given(images, name)]
    defects, good = verdicts.count("defect"), verdicts.count("good")
    return defects, good, len(images) - defects - good


def _card(image: InspectedImage, tops: dict[str, float]) -> dict[str, Any]:
    picture = read_picture(image.path, at_least=2 * _SIDE)
    views = [{"name": "image", "uri": _uri(picture), "score": "", "verdict": ""}]
    for name, opinion in image.opinions.items():
        if opinion is None:
            views.append({"name": name, "uri": "", "score": "", "verdict": "another shape"})
            continue
        line = "no threshold" if opinion.threshold is None else f"above {opinion.threshold:.4g}"
        heat = opinion.heat
        views.append(
            {
                "name": name,
                "uri": "" if heat is None else _uri(overlaid(picture, heat, tops[name])),
                "score": f"{opinion.anomaly:.4g} ({line})",
                "verdict": opinion.verdict,
            }
        )
    return {"name": "/".join(image.path.parts[-2:]), "views": views, "defect": image.is_defect}


def _uri(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
