"""One paper family, one file. Files never import each other; this registry is the only list."""

from collections.abc import Callable
from typing import Any

from quickstudy.algorithms.anil import anil as anil
from quickstudy.algorithms.baselines import LinearProbe as LinearProbe
from quickstudy.algorithms.baselines import NearestNeighbour as NearestNeighbour
from quickstudy.algorithms.maml import fomaml as fomaml
from quickstudy.algorithms.maml import maml as maml
from quickstudy.algorithms.matching import MatchingNet as MatchingNet
from quickstudy.algorithms.prototypical import ProtoNet as ProtoNet
from quickstudy.core.learner import AbstractLearner

ALGORITHMS: dict[str, Callable[..., AbstractLearner[Any]]] = {
    "protonet": ProtoNet,
    "matching": MatchingNet,
    "maml": maml,
    "fomaml": fomaml,
    "anil": anil,
    "nearest_neighbour": NearestNeighbour,
    "linear_probe": LinearProbe,
}
