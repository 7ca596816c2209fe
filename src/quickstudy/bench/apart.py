"""Contenders in processes of their own, so that thread pools, allocator and compilers of one
neither help nor hurt another.
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, final

import torch

from quickstudy.bench.entry import Entry
from quickstudy.bench.timing import rotated
from quickstudy.bench.workloads import Workload
from quickstudy.core.errors import TrainingError

_PATIENCE = 20.0  # seconds for a process that was asked to end
_ERROR = re.compile(r"(?:\[rank\d+\]: )?[\w.]+: \S")


@final
class Contender:
    """A process that runs `quickstudy.bench.contender`: it works when it is asked, and waits
    otherwise. A context; the process ends with it.

    Args:
        name: as in error messages.
        command: that starts it.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._name = name
        # It lasts as long as the process.
        self._stderr = tempfile.TemporaryFile(  # noqa: SIM115
            "w+", encoding="utf-8", errors="replace"
        )
        # A file, not a pipe: a pipe that is not read fills up, and the process would wait
        # for ever.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            encoding="utf-8",
        )

    @classmethod
    def of(cls, entry: Entry, device: torch.device) -> Self:
        """A process for an entry."""
        about = json.dumps({"entry": entry.name, "device": str(device)})
        return cls(entry.name, [sys.executable, "-m", "quickstudy.bench.contender", about])

    def prepare(self, workload: Workload) -> None:
        """Have it make ready for a workload, and wait until it is.

        Raises:
            TrainingError: when it dies, with the last line that it wrote.
        """
        self._ask(json.dumps(workload.to_json()))

    def seconds(self) -> float:
        """Have it do one step.

        Raises:
            TrainingError: when it dies, with the last line that it wrote.
        """
        return float(self._ask("go"))

    def _ask(self, line: str) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        answer = ""
        with contextlib.suppress(BrokenPipeError):
            stdin.write(line + "\n")
            stdin.flush()
            answer = stdout.readline()
        if not answer:
            status = self._process.wait()
            self._stderr.seek(0)
            raise TrainingError(
                f"The process of {self._name} ended with status {status}: "
                f"{last_words(self._stderr.read())}"
            )
        return json.loads(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._stderr.close()


@contextlib.contextmanager
def contenders(entries: Sequence[Entry], device: torch.device) -> Iterator[dict[Entry, Contender]]:
    """A process for each entry, as long as the context lasts."""
    with contextlib.ExitStack() as stack:
        yield {e: stack.enter_context(Contender.of(e, device)) for e in entries}


def rounds_of(
    them: Mapping[Entry, Contender],
    workload: Workload,
    *,
    rounds: int,
    on_round: Callable[[int], None] | None = None,
) -> dict[str, list[float]]:
    """The seconds of each contender's step in each counted round; only one of them works at a time.

    Raises:
        TrainingError: when one dies, with the last line that it wrote.
    """
    for entry, contender in them.items():
        contender.prepare(entry.own(workload))
    return rotated(
        {e.name: contender.seconds for e, contender in them.items()},
        rounds=rounds,
        on_round=on_round,
    )


def last_words(stderr: str) -> str:
    r"""The line that says best why a process ended: the last one that names an error, or else the
    last one.

    >>> last_words("Traceback (most recent call last):\nValueError: 3 is too many\n\nafterword\n")
    'ValueError: 3 is too many'
    """
    lines = [line.rstrip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines or ["it said nothing"])[-1]
