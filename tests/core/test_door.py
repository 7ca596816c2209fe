"""Runs `door.py` where the annotations of quickstudy are not checked, as users run it."""

import os
import subprocess
import sys
from pathlib import Path


def test_whatever_is_given_is_taken_or_refused_in_words():
    tests = Path(__file__).with_name("door.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--noconftest", "-n0", "-q", "-x", str(tests)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
