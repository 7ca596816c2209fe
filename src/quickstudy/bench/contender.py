"""One contender in a process of its own, which does a timed step on request;
`quickstudy.bench.apart` tells it.

python -m quickstudy.bench.contender '{"entry": …, "device": …}'

Lines come in, and each is answered by one line of JSON: a workload as JSON, which is prepared, by
"ready"; then each `go` by the seconds of a step.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TextIO

import torch

from quickstudy.bench.entry import Entry, Job, Step
from quickstudy.bench.ours import OURS
from quickstudy.bench.peers import PEERS
from quickstudy.bench.timing import old_objects_left_alone, timed
from quickstudy.bench.workloads import Workload
from quickstudy.core.malloc import keep_freed_memory

GO = "go"


def serve(
    prepared: Callable[[Workload], AbstractContextManager[Step]], device: torch.device
) -> None:
    """Answer line by line, until there are no more.

    Args:
        prepared: a step of the workload, while it lasts.
        device: where the work ends.
    """
    answers = _answers()
    with contextlib.ExitStack() as now:
        step = None
        for line in sys.stdin:
            if line.strip() != GO:
                step = None
                now.close()
                step = now.enter_context(prepared(Workload.from_json(json.loads(line))))
                now.enter_context(old_objects_left_alone())
                print(json.dumps("ready"), file=answers)
            elif step is not None:
                print(json.dumps(timed(step, device)), file=answers)


@contextlib.contextmanager
def step_of(entry: Entry, device: torch.device, workload: Workload) -> Iterator[Step]:
    """A step of an entry, in a process like that of its users."""
    # Our training loop has a CPU's process keep freed memory, so this is a part of what a user of
    # quickstudy gets; evaluation does not.
    if entry.keeps_memory and workload.trains and device.type == "cpu":
        keep_freed_memory()
    with Job.of(workload, device) as job:
        yield entry.step(job)


def _answers() -> TextIO:
    """The real standard output. Whatever else is printed, by compilers and native libraries too,
    goes to standard error from now on.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    return answers


def main() -> None:
    """Serve the entry that the command line names."""
    about = json.loads(sys.argv[1])
    entry, device = {**OURS, **PEERS}[about["entry"]], torch.device(about["device"])
    serve(lambda workload: step_of(entry, device, workload), device)


if __name__ == "__main__":
    main()
