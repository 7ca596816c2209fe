"""One small run and one folder of drawings, made once by the commands themselves."""

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quickstudy.cli import main
from quickstudy.data import Glyphs

Command = Callable[..., "subprocess.CompletedProcess[str]"]
# Whatever is printed, by whatever test: "1 identities" is written by no command.
_ONE_OF_SEVERAL = re.compile(
    r"(?<![\d.,])(?<!of )\b1 (identities|templates|photos|files|images|recordings|texts|rows|"
    r"classes|examples|people|impostors|probes|entries|items|tasks|steps|numbers|parts|places|were|"
    r"are)\b"
)


@pytest.fixture(scope="session")
def quickstudy(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command line, called as its entry point is; `test_a_process` starts it as a shell
    does.
    """
    home = tmp_path_factory.mktemp("home")

    def run(*arguments: str | Path, status: int = 0) -> "subprocess.CompletedProcess[str]":
        said, complained = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(home),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(complained),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "argv", ["quickstudy", *map(str, arguments)])
            patch.delenv("QUICKSTUDY_DATA", raising=False)
            with pytest.raises(SystemExit) as ended:
                main()
        done = subprocess.CompletedProcess(
            arguments, int(ended.value.code or 0), said.getvalue(), complained.getvalue()
        )
        odd = _ONE_OF_SEVERAL.search(f"{done.stdout}\n{done.stderr}")
        assert odd is None, f"{arguments} said '{odd and odd[0]}'"
        assert done.returncode == status, (
            f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        )
        return done

    return run


@pytest.fixture(scope="session")
def run_folder(quickstudy: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the demo recipe, cut to a few steps."""
    out = tmp_path_factory.mktemp("runs") / "glyphs run"
    changes = [
        "train.steps=25",
        "train.validate_every=10",
        "train.n_val_tasks=10",
        "optimiser.lr=0.002",
    ]
    quickstudy(
        "train",
        "glyphs-protonet",
        "--out",
        out,
        "--n-tasks",
        "20",
        *[a for c in changes for a in ("--set", c)],
    )
    return out


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of dark drawings on light paper, in folders whose names have spaces and other
    letters.
    """
    root = tmp_path_factory.mktemp("my drawings")
    test = Glyphs().split("test")
    for c, name in zip((0, 60, 120), ("Än", "three o", "ქართ"), strict=True):
        (root / "known" / name).mkdir(parents=True)
        (root / "new").mkdir(exist_ok=True)
        for k, row in enumerate(test.index.rows_of(c)[:6]):
            paper = Image.fromarray(255 - np.asarray(test.x[int(row), 0]))
            paper.save(
                root / "known" / name / f"bild {k}.png"
                if k < 4
                else root / "new" / f"{name} {k}.png"
            )
    return root
