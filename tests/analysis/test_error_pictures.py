"""Pictures of error rates are drawn for any separation of the scores."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quickstudy.analysis import det_picture, identification_picture, roc_picture
from quickstudy.metrics.error_curves import error_curve, identification_curve


@pytest.mark.parametrize(
    ("apart", "threshold", "people"), [(0.0, 1.0, 10), (50.0, None, 0), (2.0, 99.0, 1)]
)
def test_pictures_of_any_separation(
    tmp_path: Path, apart: float, threshold: float | None, people: int
) -> None:
    rng = np.random.default_rng(4)
    genuine, impostor = rng.normal(apart, 1, 30), rng.normal(0, 1, 300)
    curve = error_curve(genuine, impostor)
    if people:
        curve = error_curve(
            genuine,
            impostor,
            genuine_of=np.arange(30) % people,
            impostor_of=np.arange(300) % people,
            draws=20,
        )
    mate = np.r_[np.zeros(30, np.int64), np.full(20, -1)]
    search = identification_curve(np.c_[np.r_[genuine, impostor[:20]], np.r_[impostor[:50]]], mate)
    for draw, shown in (
        (roc_picture, curve),
        (det_picture, curve),
        (identification_picture, search),
    ):
        with Image.open(
            draw(shown, tmp_path / "deep" / "curve.png", threshold=threshold, title="who is it")
        ) as image:
            assert min(image.size) > 400
