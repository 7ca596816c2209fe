import platform
import subprocess
import sys

import pytest

from quickstudy.core import malloc


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="freed memory is kept on glibc only")
def test_freed_memory_stays_with_the_process():
    """In a process of its own, as it cannot be undone. A page that is kept causes no fault when it
    is used again.
    """
    script = """
import resource, sys, torch
from quickstudy.training import train  # with the imports of a training, as there it is called
from quickstudy.core.malloc import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(3):
    torch.zeros(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.zeros(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

    def faults(how: str) -> int:
        command = [sys.executable, "-c", script, how]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(run.stdout)

    given_back = faults("default")
    # Where the system happens to map a library just above the heap, it cannot grow, and little is
    # kept in that process: one start in three is enough.
    assert given_back < 100 or any(faults("keep") < given_back / 10 for _ in range(3))


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert malloc.keep_freed_memory.__wrapped__() is False
