"""Experiment trackers of others: TensorBoard, Weights & Biases and MLflow. Each package is imported
when its tracker is made.
"""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quickstudy.core.errors import ConfigError
from quickstudy.training.log import AbstractLogger


class TensorBoard(AbstractLogger):
    """Curves for ``tensorboard --logdir FOLDER`` (extra ``tensorboard``).

    Args:
        folder: where its event files go.

    Raises:
        ConfigError: without the package.
    """

    def __init__(self, folder: str | Path) -> None:
        require("tensorboard", "tensorboard")
        self.folder = Path(folder)
        self._writer: Any = None

    def begin(self, about: Mapping[str, Any], *, done: int) -> None:
        """Open a file of events; those of steps that come again are hidden."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder), purge_step=done + 1 if done else None)
        settings = json.dumps(dict(about), indent=1, default=str)
        self._writer.add_text("settings", f"```json\n{settings}\n```")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def end(self) -> None:
        """Write what waits, and close the file."""
        self._writer.close()


class WeightsAndBiases(AbstractLogger):
    """A run of Weights & Biases (extra ``wandb``).

    Args:
        project: that the run belongs to.
        id: of the run; a training that is resumed with the same one goes on in it.
        folder: where its files go; None = the working folder.
        mode: "online", "offline" (send the files later with ``wandb sync``) or "disabled"; None =
            as the environment says (``WANDB_MODE``).

    Raises:
        ConfigError: without the package.
    """

    def __init__(
        self,
        project: str = "quickstudy",
        *,
        id: str | None = None,  # noqa: A002 - as wandb calls it
        folder: str | Path | None = None,
        mode: str | None = None,
    ) -> None:
        require("wandb", "wandb")
        self.project = project
        self.id = id
        self.folder = folder
        self.mode = mode
        self._run: Any = None

    def begin(self, about: Mapping[str, Any], *, done: int) -> None:
        """Begin the run, or go on with it."""
        wandb = require("wandb", "wandb")
        self._run = wandb.init(
            project=self.project,
            id=self.id,
            dir=None if self.folder is None else str(self.folder),
            mode=self.mode,
            config=dict(about),
            resume="allow" if self.id else None,
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values under their step."""
        self._run.log(dict(values), step=step)

    def end(self) -> None:
        """Finish the run."""
        self._run.finish()


class MLflow(AbstractLogger):
    """A run of MLflow (extra ``mlflow``).

    Args:
        experiment: that the run belongs to.
        uri: of the server, or of a database such as ``sqlite:///runs.db``; None = as the
            environment says (``MLFLOW_TRACKING_URI``).
        run: the id of a run to go on with; None = a new one.
        name: of a new run; None = MLflow makes one up.

    Raises:
        ConfigError: without the package.
    """

    def __init__(
        self,
        experiment: str = "quickstudy",
        *,
        uri: str | None = None,
        run: str | None = None,
        name: str | None = None,
    ) -> None:
        require("mlflow", "mlflow")
        self.experiment = experiment
        self.uri = uri
        self.run = run
        self.name = name
        self._client: Any = None

    def begin(self, about: Mapping[str, Any], *, done: int) -> None:
        """Begin the run, or go on with it."""
        mlflow = require("mlflow", "mlflow")
        self._client = mlflow.MlflowClient(tracking_uri=self.uri)
        if self.run is not None:
            self._client.update_run(self.run, status="RUNNING")
            return
        known = self._client.get_experiment_by_name(self.experiment)
        experiment = (
            self._client.create_experiment(self.experiment)
            if known is None
            else known.experiment_id
        )
        self.run = str(self._client.create_run(experiment, run_name=self.name).info.run_id)
        for name, value in about.items():
            self._client.log_param(self.run, name, value)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values under their step."""
        for name, value in values.items():
            self._client.log_metric(self.run, name, value, step=step)

    def end(self) -> None:
        """Finish the run."""
        self._client.set_terminated(self.run)


TRACKERS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "mlflow": MLflow}


def tracker_named(name: str, folder: Path) -> AbstractLogger:
    """A tracker as the command line names it; its place is that of its own environment variables.

    Args:
        name: "tensorboard", "wandb" or "mlflow".
        folder: of the training, in which TensorBoard's files go.

    Raises:
        ConfigError: for another name, or without the package.
    """
    if name not in TRACKERS:
        raise ConfigError(f"There is no tracker '{name}'. Take one of {', '.join(TRACKERS)}.")
    if name == "tensorboard":
        return TensorBoard(folder / "tensorboard")
    if name == "wandb":
        return WeightsAndBiases(folder=folder)
    return MLflow(name=folder.name)


def require(package: str, extra: str) -> Any:
    """A package of an extra.

    Raises:
        ConfigError: when it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"This tracker needs the package {package}: pip install 'quickstudy[{extra}]'."
        ) from error
