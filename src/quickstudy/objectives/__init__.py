"""What meta-training minimises, each a subclass of ``AbstractObjective``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quickstudy.core.lazy import Registry, attach

if TYPE_CHECKING:
    from quickstudy.core.objective import AbstractObjective
    from quickstudy.objectives.classify import Classify as Classify
    from quickstudy.objectives.default import default_objective as default_objective
    from quickstudy.objectives.distil import Distil as Distil
    from quickstudy.objectives.log_likelihood import LogLikelihood as LogLikelihood
    from quickstudy.objectives.mlti import Mlti as Mlti
    from quickstudy.objectives.multi_step import MultiStep as MultiStep
    from quickstudy.objectives.online import Online as Online
    from quickstudy.objectives.pairs import Pairs as Pairs
    from quickstudy.objectives.pairs import Triplets as Triplets
    from quickstudy.objectives.query_loss import QueryLoss as QueryLoss
    from quickstudy.objectives.reptile import Reptile as Reptile
    from quickstudy.objectives.rotations import Rotations as Rotations
    from quickstudy.objectives.simclr import SimCLR as SimCLR
    from quickstudy.objectives.trajectory import Trajectory as Trajectory
else:
    __getattr__, __dir__, __all__ = attach(__name__)

OBJECTIVES: Registry[type[AbstractObjective]] = Registry(
    __name__,
    {
        "query_loss": "QueryLoss",
        "classify": "Classify",
        "log_likelihood": "LogLikelihood",
        "distil": "Distil",
        "multi_step": "MultiStep",
        "mlti": "Mlti",
        "pairs": "Pairs",
        "triplets": "Triplets",
        "rotations": "Rotations",
        "simclr": "SimCLR",
        "reptile": "Reptile",
        "online": "Online",
        "trajectory": "Trajectory",
    },
)
