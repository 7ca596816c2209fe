"""What the workers of a training step may be; see `quickstudy.core.workers`."""

WORKER_KINDS = ("auto", "threads", "processes")
