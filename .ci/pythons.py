"""Import, ``quickstudy --help`` and a short suite on every Python that is there, with the lowest
and the newest dependencies that ``pyproject.toml`` allows.

Each environment is a folder ``.venv-VERSION-RESOLUTION``, made once and renewed when
``pyproject.toml`` changes. A Python that is not there is named and left out; an environment that
cannot be installed is a failure, and the others are checked all the same.

torch is the same everywhere, that of ``held_back.txt``, as each of its versions weighs gigabytes;
``--lowest-torch`` takes the lowest with the lowest. ``python .ci/pythons.py 3.12`` checks one.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).with_name("uv")
ENVIRONMENTS = (("3.11", "lowest"), ("3.12", "newest"), ("3.13", "newest"))
IMPORT_ALL = """
import importlib
import quickstudy
for name in quickstudy.__all__:
    value = getattr(quickstudy, name)
    for inner in getattr(value, "__all__", ()):
        getattr(value, inner)
"""
SHORT_SUITE = (
    "tests/core",
    "tests/encoders",
    "tests/functional",
    "tests/metrics",
    "tests/objectives",
)
FREE_BYTES = 12 * 10**9
"""What an environment may need on the disk, torch's libraries for GPUs included."""


def interpreter(version: str) -> str:
    """The path of that Python; empty if there is none that runs."""
    trials: list[dict[str, str]] = [{}]
    if shutil.which("pyenv"):
        latest = subprocess.run(["pyenv", "latest", version], capture_output=True, text=True)
        trials.append({"PYENV_VERSION": latest.stdout.strip()})
    for extra in trials:
        command = [f"python{version}", "-c", "import sys; print(sys.executable)"]
        if shutil.which(command[0]) is None:
            return ""
        run = subprocess.run(command, capture_output=True, text=True, env=os.environ | extra)
        if run.returncode == 0:
            return run.stdout.strip()
    return ""


def environment(python: str, folder: Path, resolution: str, *, lowest_torch: bool) -> Path:
    """The Python of an environment with quickstudy and the tools of its tests.

    Raises:
        CalledProcessError: when it cannot be installed.
    """
    inside = folder / "bin" / "python"
    ready = folder / "ready"
    if ready.exists() and ready.read_text() == (ROOT / "pyproject.toml").read_text():
        return inside
    shutil.rmtree(folder, ignore_errors=True)
    tool = (
        {"UV_HTTP_TIMEOUT": "300"}
        | os.environ
        | {
            f"UV_{name}": os.environ[f"PIP_{name}"]
            for name in ("FIND_LINKS", "INDEX_URL", "EXTRA_INDEX_URL")
            if f"PIP_{name}" in os.environ
        }
    )
    subprocess.run([str(UV), "venv", "--quiet", "--python", python, str(folder)], check=True)
    install = [
        str(UV),
        "pip",
        "install",
        "--quiet",
        "--python",
        str(inside),
        "--editable",
        ".[test]",
    ]
    if resolution == "lowest":
        install += ["--resolution", "lowest-direct"]
    if resolution != "lowest" or not lowest_torch:
        install += ["--constraints", ".ci/held_back.txt"]
    # Gigabytes are fetched: a second attempt goes on with what the first one has.
    if subprocess.run(install, cwd=ROOT, env=tool).returncode:
        subprocess.run(install, check=True, cwd=ROOT, env=tool)
    ready.write_text((ROOT / "pyproject.toml").read_text())
    return inside


def main() -> None:
    """Check them all; the status is 1 if one fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("versions", nargs="*", help="such as 3.12; none = all")
    parser.add_argument("--lowest-torch", action="store_true", help="gigabytes are fetched")
    asked = parser.parse_args()
    failed = []
    outside = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for version, resolution in ENVIRONMENTS:
        if asked.versions and version not in asked.versions:
            continue
        title = f"Python {version}, {resolution} dependencies"
        path = interpreter(version)
        if not path:
            print(f"{title}: not checked, there is no python{version} here", flush=True)
            continue
        print(f"{title}: {path}", flush=True)
        folder = ROOT / f".venv-{version}-{resolution}"
        free = shutil.disk_usage(ROOT).free
        if free < FREE_BYTES and not folder.exists():
            needed = FREE_BYTES / 10**9
            print(f"{title}: not checked, {free / 10**9:.0f} GB are free, {needed:.0f} needed")
            continue
        try:
            inside = environment(path, folder, resolution, lowest_torch=asked.lowest_torch)
        except subprocess.CalledProcessError:  # uv has said why
            failed.append(f"{title}: cannot be installed")
            continue
        python = str(inside)
        suite = ["-m", "pytest", "-q", "-n", "auto", "-p", "no:warnings", *SHORT_SUITE]
        for arguments in (["-c", IMPORT_ALL], ["-m", "quickstudy", "--help"], suite):
            shown = None if arguments is suite else subprocess.DEVNULL
            run = subprocess.run([python, *arguments], cwd=ROOT, env=outside, stdout=shown)
            if run.returncode:
                failed.append(f"{title}: {' '.join(arguments[:2])}")
    if failed:
        sys.exit("Failed: " + "; ".join(failed))


main()
