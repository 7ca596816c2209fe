"""Builds wheel and sdist, checks what is in them, installs the wheel into an empty environment and
uses it from an empty folder: ``fit``, ``predict`` and ``demo --steps 20``.

``python .ci/wheel.py``; nothing is downloaded but what the build needs: torch and the other
dependencies are those of the environment that runs this, seen by a .pth file, and without the
checkout. With ``--download`` the environment gets its own dependencies, as a user's would.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
MEGABYTE = 1_000_000
LARGEST = {"wheel": 4 * MEGABYTE, "sdist": 10 * MEGABYTE}
# Folders with these are no part of a release.
LEFT_OUT = ("__pycache__", ".pyc")
DRAW = """
from pathlib import Path
import numpy as np
from PIL import Image
from quickstudy.data import Glyphs
import quickstudy
test = Glyphs().split("test")
for c, name in enumerate(("wren", "finch", "heron")):
    for k in range(4):
        folder = Path("birds", name) if k < 3 else Path("new-photos")
        folder.mkdir(parents=True, exist_ok=True)
        row = int(test.index.rows_of(60 * c)[k])
        Image.fromarray(255 - np.asarray(test.x[row, 0])).save(folder / f"{name}{k}.png")
print(quickstudy.__file__)
"""


def built(folder: Path) -> tuple[Path, Path]:
    """The wheel and the sdist."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "build", "--quiet", "--out-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return wheel, sdist


def faults_of(wheel: Path, sdist: Path) -> list[str]:
    """Files that are missing or too many, and sizes."""
    wanted = {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "quickstudy").rglob("*")
        if path.is_file() and not any(part in path.as_posix() for part in LEFT_OUT)
    }
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    faults = [f"The wheel lacks {name}." for name in sorted(wanted - in_wheel)]
    faults += [
        f"The wheel has {name}, which is no part of it." for name in sorted(in_wheel - wanted)
    ]
    faults += [
        f"The sdist lacks src/{name}." for name in sorted(wanted) if f"src/{name}" not in in_sdist
    ]
    faults += [
        f"The sdist lacks {name}."
        for name in ("README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml")
        if name not in in_sdist
    ]
    if "quickstudy/py.typed" not in in_wheel:
        faults.append("The wheel has no py.typed.")
    if not any(
        "pretrained/weights/" in name and name.endswith(".safetensors") for name in in_wheel
    ):
        faults.append("The wheel has no weights.")
    for kind, path in (("wheel", wheel), ("sdist", sdist)):
        size = path.stat().st_size
        print(f"{path.name}: {size / MEGABYTE:.2f} MB")
        if size > LARGEST[kind]:
            faults.append(
                f"The {kind} has {size / MEGABYTE:.1f} MB; at most {LARGEST[kind] / MEGABYTE:.0f} "
                "are wanted."
            )
    return faults


def installed(wheel: Path, folder: Path, *, download: bool) -> Path:
    """The commands' folder of an environment with the wheel."""
    venv.create(folder, with_pip=False)
    uv = Path(sys.executable).with_name("uv")
    python = folder / "bin" / "python"
    options = [] if download else ["--no-deps", "--offline"]
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", python, *options, wheel], check=True
    )
    if not download:
        # After the environment's own packages, so that it is the wheel that is imported. A .pth
        # file of the other environment, such as that of an editable installation, is not read.
        text = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        (Path(text) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def use(commands: Path, folder: Path) -> None:
    """What a person does first, in an empty folder, without anything of the checkout."""
    folder.mkdir()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "QUICKSTUDY_DATA")
    }
    environment["QUICKSTUDY_CACHE"] = str(folder / "cache")
    for command in (
        [commands / "python", "-c", DRAW],
        [commands / "quickstudy", "--version"],
        [commands / "quickstudy", "fit", "birds", "-o", "my-model"],
        [commands / "quickstudy", "predict", "my-model", "new-photos"],
        [commands / "quickstudy", "demo", "--steps", "20", "--n-tasks", "20"],
    ):
        print("$", *(str(word).partition("\n")[0] for word in command[1:3]), flush=True)
        done = subprocess.run(
            [str(word) for word in command],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        print(done.stdout[-600:])
        if command[1] == "-c" and not Path(done.stdout.strip()).is_relative_to(commands.parent):
            raise SystemExit(f"What was imported is not the wheel: {done.stdout}")


def main() -> int:
    """Build, check, install and use."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="keep wheel and sdist in this folder")
    parser.add_argument(
        "--download", action="store_true", help="install the dependencies, from the index"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        wheel, sdist = built(args.out or Path(scratch) / "dist")
        faults = faults_of(wheel, sdist)
        for fault in faults:
            print(fault, file=sys.stderr)
        if faults:
            return 1
        commands = installed(wheel, Path(scratch) / "environment", download=args.download)
        use(commands, Path(scratch) / "empty")
    return 0


if __name__ == "__main__":
    sys.exit(main())
