"""What meta-training minimises, each a subclass of ``AbstractObjective``."""

from quickstudy.core.objective import AbstractObjective
from quickstudy.objectives.classify import Classify as Classify
from quickstudy.objectives.default import default_objective as default_objective
from quickstudy.objectives.distil import Distil as Distil
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

OBJECTIVES: dict[str, type[AbstractObjective]] = {
    "query_loss": QueryLoss,
    "classify": Classify,
    "distil": Distil,
    "multi_step": MultiStep,
    "mlti": Mlti,
    "pairs": Pairs,
    "triplets": Triplets,
    "rotations": Rotations,
    "simclr": SimCLR,
    "reptile": Reptile,
    "online": Online,
    "trajectory": Trajectory,
}
