"""The picture of a report for the docs: six printed characters, five drawings each, one of them under a wrong name.

python benchmarks/fit_report.py          writes docs/fit_report.png; needs Chromium
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from quickstudy.data import Glyphs
from quickstudy.estimator import FewShotClassifier, ImageEncoder, fit_page

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Draw, fit, write the page, photograph it."""
    browser = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("Chromium is needed to photograph the page.")
    work, test = Path(tempfile.mkdtemp()), Glyphs().split("test")
    chosen = [test.index.names.index(n) for n in test.index.names if n.startswith("GEORGIAN CAPITAL")][:18:3]
    paths, labels = [], []
    for c in chosen:
        name = test.index.names[c].title().replace("Georgian Capital Letter ", "")
        for k, row in enumerate(test.index.rows_of(c)[:5]):
            paths.append(work / f"{name.lower()}-{k + 1}.png")
            Image.fromarray(255 - np.asarray(test.x[int(row), 0])).save(paths[-1])
            labels.append(name)
    labels[2] = labels[-1]
    order = np.argsort(np.unique(labels, return_inverse=True)[1], kind="stable")
    paths, labels = [paths[i] for i in order], [labels[i] for i in order]
    encoder = ImageEncoder("symbols").fit()
    model = FewShotClassifier().fit(encoder.transform(paths), labels)
    page = fit_page(model, work / "report.html", things=paths, title="Six Georgian letters", notes=encoder.notes_[:1])
    shot = work / "shot.png"
    subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={work / 'profile'}", f"--screenshot={shot}",
         "--window-size=1000,2050", page.as_uri()], check=True, capture_output=True,
    )  # fmt: skip
    Image.open(shot).convert("RGB").quantize(64).save(ROOT / "docs" / "fit_report.png", optimize=True)


if __name__ == "__main__":
    main()
