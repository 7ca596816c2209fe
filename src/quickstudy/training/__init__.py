"""One loop for every learner and objective."""

from typing import TYPE_CHECKING

from quickstudy.core.lazy import attach

if TYPE_CHECKING:
    from quickstudy.training.checkpoint import load_checkpoint as load_checkpoint
    from quickstudy.training.device import pick_device as pick_device
    from quickstudy.training.engine import AbstractEngine as AbstractEngine
    from quickstudy.training.engine import launch as launch
    from quickstudy.training.engine import launched as launched
    from quickstudy.training.log import AbstractLogger as AbstractLogger
    from quickstudy.training.meta_train import Advanced as Advanced
    from quickstudy.training.meta_train import only_writer as only_writer
    from quickstudy.training.meta_train import train as train
    from quickstudy.training.plan import Optimiser as Optimiser
    from quickstudy.training.plan import Plan as Plan
    from quickstudy.training.run import CHECKPOINT as CHECKPOINT
    from quickstudy.training.run import TrainResult as TrainResult
    from quickstudy.training.trackers import MLflow as MLflow
    from quickstudy.training.trackers import TensorBoard as TensorBoard
    from quickstudy.training.trackers import WeightsAndBiases as WeightsAndBiases
else:
    __getattr__, __dir__, __all__ = attach(__name__)
