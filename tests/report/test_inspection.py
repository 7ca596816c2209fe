"""The page of an inspection: its order, and what it says where nothing was promised."""

import re

import numpy as np
import pytest
from PIL import Image

from quickstudy.report.inspection import InspectedImage, Opinion, inspection_page

METHODS = ("patches", "template")
ANOMALIES = {"one": (40.0, 1.0), "missing": (42.0, 17.0), "two": (30.0, 1.1)}


@pytest.mark.parametrize("thresholds", [(None, None), (60.0, 2.0)])
def test_the_part_that_one_method_finds_far_off_comes_first(tmp_path, thresholds):
    images = []
    for name, anomalies in ANOMALIES.items():
        path = tmp_path / f"{name}.png"
        Image.new("RGB", (8, 8)).save(path)
        opinions = [
            Opinion(anomaly, threshold, np.full((8, 8), anomaly, np.float32))
            for anomaly, threshold in zip(anomalies, thresholds, strict=True)
        ]
        images.append(InspectedImage(path, dict(zip(METHODS, opinions, strict=True))))
    text = inspection_page(images, tmp_path / "page.html").read_text()
    files = re.findall(r"<bdi>[^<]*/(\w+)\.png</bdi>", text)
    assert files[0] == "missing"
    assert ("No verdicts" in text) == (thresholds[0] is None)
    assert ('<div class="big">1<small> of 3' in text) == (thresholds[0] is not None)
