"""``quickstudy inspect`` from good parts to maps of defects."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for kind, n in (("train", 24), ("good", 6), ("hole", 6)):
        (tmp_path / "parts" / kind).mkdir(parents=True)
        for i in range(n):
            x = 90 + 30 * np.sin(np.arange(64) / 3)[:, None] + rng.normal(scale=5, size=(64, 64))
            if kind == "hole":
                x[20:34, 25:40] = 250
            Image.fromarray(np.clip(x, 0, 255).astype(np.uint8)).save(
                tmp_path / "parts" / kind / f"{i}.png"
            )
    return tmp_path / "parts"


def test_from_good_parts_to_maps(quickstudy: Callable, parts: Path, tmp_path: Path) -> None:
    said = quickstudy(
        "inspect", "fit", parts / "train", "-o", tmp_path / "m", "--encoder", "symbols"
    ).stdout
    assert "places of 24 good parts" in said
    assert "of good parts 5 % are" in said
    told = [
        json.loads(line)
        for line in quickstudy(
            "inspect",
            "score",
            tmp_path / "m",
            parts / "hole",
            "--json",
            "--maps",
            tmp_path / "maps",
            "--page",
            tmp_path / "page.html",
        ).stdout.splitlines()
    ]
    assert [row["verdict"] for row in told] == ["defect"] * 6
    assert [row["template_verdict"] for row in told] == ["defect"] * 6
    assert (tmp_path / "page.html").read_text().count("golden template:") == 6
    heat = np.asarray(Image.open(tmp_path / "maps" / "hole-0.png")).astype(int)
    assert heat.shape == (64, 64, 3)
    warm = heat[..., 0] - heat[..., 2]
    assert warm[20:34, 25:40].mean() > warm[45:, 45:].mean() + 20
    (parts / "train" / "0.png").rename(tmp_path / "elsewhere.png")
    evaluated = quickstudy("inspect", "evaluate", tmp_path / "m", tmp_path / "parts").stdout
    assert "1.000" in evaluated
    # Of good parts that the memory has not seen it is said how often each method refuses them.
    asked = [
        json.loads(line)
        for line in quickstudy(
            "inspect", "score", tmp_path / "m", parts / "good", "--json"
        ).stdout.splitlines()
    ]
    wrong = [row["verdict"] == "defect" for row in asked]
    by_template = [row["template_verdict"] == "defect" for row in asked]
    either = sum(map(any, zip(wrong, by_template, strict=True)))
    assert (
        f"False rejects of 6 good parts: {sum(wrong)} by the memory, {sum(by_template)} by the "
        f"template, {either} by one or the other; 5 % are allowed to each."
    ) in evaluated
    good = next(line for line in evaluated.splitlines() if line.split()[:1] == ["good"])
    assert good.split()[1:] == [
        "6",
        *(part for share in (wrong, by_template) for part in (f"{100 * np.mean(share):.1f}", "%")),
    ]
    assert "verdict" in quickstudy("inspect", "score", tmp_path / "m", parts / "good").stdout
    assert quickstudy(
        "inspect", "score", tmp_path / "m", parts / "good", "--format", "csv"
    ).stdout.startswith("image,anomaly")
    (parts / "good" / "bad.png").write_bytes(b"x")
    done = quickstudy("inspect", "score", tmp_path / "m", parts / "good", "--json", status=1).stdout
    assert "bad.png" in done
    assert "error" in done


def test_mistakes_end_in_one_line(quickstudy: Callable, parts: Path, tmp_path: Path) -> None:
    few = quickstudy(
        "inspect", "fit", parts / "good", "-o", tmp_path / "few", "--encoder", "symbols"
    ).stdout
    assert "a false-reject rate of 5 % takes 19 good parts, and 6 were remembered" in few
    scored = quickstudy("inspect", "score", tmp_path / "few", parts / "hole")
    assert "takes 19 good parts, and 6 were remembered" in scored.stderr
    assert "takes 19 good" in quickstudy("inspect", "evaluate", tmp_path / "few", parts).stdout
    one = quickstudy(
        "inspect", "fit", parts / "good" / "0.png", "-o", tmp_path / "one", "--encoder", "symbols"
    )
    assert "of 1 good part:" in one.stdout
    assert "1 was remembered" in one.stdout
    again = ("inspect", "fit", parts / "good", "-o", tmp_path / "few", "--encoder", "symbols")
    assert "the encoder symbols" in quickstudy(*again, status=2).stderr.replace("\n", " ")
    quickstudy(*again, "--force")
    assert "—" in quickstudy("inspect", "score", tmp_path / "few", parts / "hole").stdout
    assert (
        "left alone"
        in quickstudy(
            "inspect", "fit", parts / "good", "-o", parts, "--encoder", "symbols", status=2
        ).stderr
    )
    assert (
        "holds nothing that quickstudy saved"
        in quickstudy("inspect", "score", tmp_path, parts / "hole", status=2).stderr
    )
    assert (
        "Invalid value for '--format'"
        in quickstudy(
            "inspect", "score", tmp_path / "few", parts / "hole", "--format", "xml", status=2
        ).stderr
    )
    (parts / "good").rename(parts / "fine")
    assert (
        "no sub-folder 'good'"
        in quickstudy("inspect", "evaluate", tmp_path / "few", parts, status=2).stderr
    )
