"""How long and with what to train."""

import math
from dataclasses import dataclass

from quickstudy.core.compilers import COMPILE_CHOICES, COMPILERS
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.worker_kinds import WORKER_KINDS


@dataclass(frozen=True)
class Optimiser:
    """The outer optimiser and its schedule, both torch's.

    Args:
        name: adamw (with no weight decay it is Adam), sgd (with Nesterov momentum), or muon
            (matrices and filters by Muon, everything else by AdamW, see
            `quickstudy.training.muon`; `benchmarks/optimisers.py` compares them).
        lr: the rate; with one_cycle its peak.
        weight_decay: decoupled weight decay.
        momentum: of sgd.
        schedule: constant, one_cycle, cosine (to a hundredth of the rate), linear (to zero) or step
            (times ``step_factor`` every ``step_every`` steps).
        step_every, step_factor: of the step schedule.
    """

    name: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: str = "constant"
    step_every: int = 2000
    step_factor: float = 0.5


@dataclass(frozen=True)
class Plan:
    """How a learner is trained.

    Args:
        steps: outer steps.
        tasks_per_step: tasks whose mean loss makes one step.
        chunk: tasks that share one graph; bounds the memory. 0 = chosen for the device and kept in
            the checkpoint; with ``tasks_per_step`` all tasks of a step share one.
        workers: how many take chunks side by side, in each process. 0 = chosen for the machine.
            Does not change the result.
        workers_kind: "threads", or "processes", which do not wait for each other at Python's lock;
            "auto" begins with threads, and where a minute of training or more is to come, tries
            processes too and goes on with the faster, see `quickstudy.core.workers`. Does not
            change the result, also of a step that is recorded (``compile``).
        clip_norm: largest norm of the outer gradient; 0 = no clipping.
        clip_value: largest size of each number in the outer gradient; 0 = no clipping.
        precision: 32, or bf16 for autocast. Inner loops refuse it: their second derivatives would
            lose 8 to 23 % of the gradient.
        compile: "trace" or "inductor" records a step once and plays it back, see
            `quickstudy.core.compiled`. "trace" spares what the calls of an inner loop cost;
            "inductor" is for small networks, and GPUs. Each worker process records for itself.
            "auto" tries "trace" on a CPU where a minute of training or more is to come, and keeps
            it if it is faster and gives the same gradients to the bit. Empty = not at all.
        validate_every: steps between validations on validation classes; 0 = never, and the last
            weights are kept, not the best.
        n_val_tasks: tasks of a validation.
        checkpoint_every: steps between checkpoints (one is also written at each validation and at
            the end).
        log_every: steps between lines of the log.
        seed: of tasks, initial weights, dropout and augmentation.
    """

    steps: int = 1000
    tasks_per_step: int = 1
    chunk: int = 0
    workers: int = 0
    workers_kind: str = "auto"
    clip_norm: float = 0.0
    clip_value: float = 0.0
    precision: str = "32"
    compile: str = "auto"
    validate_every: int = 0
    n_val_tasks: int = 200
    checkpoint_every: int = 500
    log_every: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "tasks_per_step", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("chunk", "workers", "clip_norm", "clip_value", "validate_every"):
            if getattr(self, name) < 0 or not math.isfinite(getattr(self, name)):
                raise ConfigError(f"train.{name} must be 0 or more, got {getattr(self, name)}.")
        if self.validate_every and self.n_val_tasks < 2:
            raise ConfigError(f"train.n_val_tasks must be at least 2, got {self.n_val_tasks}.")
        if self.precision not in ("32", "bf16"):
            raise ConfigError(f"train.precision is '32' or 'bf16', got '{self.precision}'.")
        if self.workers_kind not in WORKER_KINDS:
            raise ConfigError(
                f"train.workers_kind cannot be '{self.workers_kind}'. "
                f"{did_you_mean(self.workers_kind, WORKER_KINDS)}"
            )
        if self.compile and self.compile not in COMPILE_CHOICES:
            raise ConfigError(
                f"train.compile cannot be '{self.compile}'. "
                f"{did_you_mean(self.compile, COMPILE_CHOICES)} Empty = not at all."
            )
        if self.compile in COMPILERS and self.precision != "32":
            raise ConfigError(
                "A step is recorded in single precision only: set train.compile= or "
                f"train.precision=32, not {self.precision}."
            )
