"""One paper family, one file. Files never import each other; this registry is the only list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quickstudy.core.lazy import Registry, attach

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from quickstudy.algorithms.architecture.architecture_search import meta_nas as meta_nas
    from quickstudy.algorithms.architecture.architecture_search import t_nas as t_nas
    from quickstudy.algorithms.black_box.in_context import InContext as InContext
    from quickstudy.algorithms.black_box.lstm import SequenceLSTM as SequenceLSTM
    from quickstudy.algorithms.black_box.mann import MANN as MANN
    from quickstudy.algorithms.black_box.snail import SNAIL as SNAIL
    from quickstudy.algorithms.gradient.alfa import alfa as alfa
    from quickstudy.algorithms.gradient.anil import anil as anil
    from quickstudy.algorithms.gradient.anil import boil as boil
    from quickstudy.algorithms.gradient.imaml import imaml as imaml
    from quickstudy.algorithms.gradient.learned_optimiser import (
        learned_optimiser as learned_optimiser,
    )
    from quickstudy.algorithms.gradient.maml import fomaml as fomaml
    from quickstudy.algorithms.gradient.maml import maml as maml
    from quickstudy.algorithms.gradient.maml_pp import maml_pp as maml_pp
    from quickstudy.algorithms.gradient.meta_curvature import meta_curvature as meta_curvature
    from quickstudy.algorithms.gradient.meta_lstm import meta_lstm as meta_lstm
    from quickstudy.algorithms.gradient.meta_sgd import meta_sgd as meta_sgd
    from quickstudy.algorithms.gradient.metal import metal as metal
    from quickstudy.algorithms.gradient.nil import NIL as NIL
    from quickstudy.algorithms.gradient.proto_maml import proto_maml as proto_maml
    from quickstudy.algorithms.gradient.reptile import reptile as reptile
    from quickstudy.algorithms.gradient.tsa_maml import TsaMaml as TsaMaml
    from quickstudy.algorithms.gradient.tsa_maml import tsa_maml as tsa_maml
    from quickstudy.algorithms.gradient.unicorn_maml import unicorn_maml as unicorn_maml
    from quickstudy.algorithms.hallucination import Hallucinator as Hallucinator
    from quickstudy.algorithms.in_context.anp import ANP as ANP
    from quickstudy.algorithms.in_context.caml import CAML as CAML
    from quickstudy.algorithms.in_context.cnp import CNP as CNP
    from quickstudy.algorithms.in_context.tabular import TabularInContext as TabularInContext
    from quickstudy.algorithms.in_context.tnp import TNP as TNP
    from quickstudy.algorithms.metric.feat import FEAT as FEAT
    from quickstudy.algorithms.metric.matching import (
        FullContextMatchingNet as FullContextMatchingNet,
    )
    from quickstudy.algorithms.metric.matching import MatchingNet as MatchingNet
    from quickstudy.algorithms.metric.metaoptnet import MetaOptNet as MetaOptNet
    from quickstudy.algorithms.metric.nearest_neighbour import NearestNeighbour as NearestNeighbour
    from quickstudy.algorithms.metric.oslo import OSLO as OSLO
    from quickstudy.algorithms.metric.prototypical import ProtoNet as ProtoNet
    from quickstudy.algorithms.metric.r2d2 import R2D2 as R2D2
    from quickstudy.algorithms.metric.relation import RelationNet as RelationNet
    from quickstudy.algorithms.metric.siamese import Siamese as Siamese
    from quickstudy.algorithms.metric.simple_cnaps import SimpleCNAPs as SimpleCNAPs
    from quickstudy.algorithms.semi_supervised import SemiCluster as SemiCluster
    from quickstudy.algorithms.semi_supervised import SemiMasked as SemiMasked
    from quickstudy.algorithms.semi_supervised import SemiSoft as SemiSoft
    from quickstudy.algorithms.transductive.bd_cspn import BDCSPN as BDCSPN
    from quickstudy.algorithms.transductive.laplacian_shot import LaplacianShot as LaplacianShot
    from quickstudy.algorithms.transductive.pt_map import PTMAP as PTMAP
    from quickstudy.algorithms.transductive.soft_kmeans import SoftKMeans as SoftKMeans
    from quickstudy.algorithms.transductive.tim import TIM as TIM
    from quickstudy.algorithms.transductive.tim import AlphaTIM as AlphaTIM
    from quickstudy.algorithms.transductive.transductive_tuning import (
        TransductiveTuning as TransductiveTuning,
    )
    from quickstudy.algorithms.transfer.baseline import Baseline as Baseline
    from quickstudy.algorithms.transfer.baseline import BaselinePP as BaselinePP
    from quickstudy.algorithms.transfer.cosine_tuning import CosineTuning as CosineTuning
    from quickstudy.algorithms.transfer.linear_probe import LinearProbe as LinearProbe
    from quickstudy.algorithms.transfer.meta_baseline import MetaBaseline as MetaBaseline
    from quickstudy.algorithms.transfer.pmf import PMF as PMF
    from quickstudy.algorithms.transfer.simpleshot import SimpleShot as SimpleShot
    from quickstudy.algorithms.zero_shot import ZeroShot as ZeroShot
    from quickstudy.core.learner import AbstractLearner
else:
    __getattr__, __dir__, __all__ = attach(__name__)

ALGORITHMS: Registry[Callable[..., AbstractLearner[Any]]] = Registry(
    __name__,
    {
        "protonet": "ProtoNet",
        "matching": "MatchingNet",
        "matching_fce": "FullContextMatchingNet",
        "relation": "RelationNet",
        "siamese": "Siamese",
        "feat": "FEAT",
        "r2d2": "R2D2",
        "metaoptnet": "MetaOptNet",
        "simple_cnaps": "SimpleCNAPs",
        "simpleshot": "SimpleShot",
        "baseline": "Baseline",
        "baseline_pp": "BaselinePP",
        "meta_baseline": "MetaBaseline",
        "cosine_tuning": "CosineTuning",
        "transductive_tuning": "TransductiveTuning",
        "pmf": "PMF",
        "hallucinator": "Hallucinator",
        "maml": "maml",
        "fomaml": "fomaml",
        "reptile": "reptile",
        "meta_sgd": "meta_sgd",
        "meta_curvature": "meta_curvature",
        "alfa": "alfa",
        "imaml": "imaml",
        "metal": "metal",
        "meta_lstm": "meta_lstm",
        "learned_optimiser": "learned_optimiser",
        "maml_pp": "maml_pp",
        "anil": "anil",
        "boil": "boil",
        "nil": "NIL",
        "oslo": "OSLO",
        "proto_maml": "proto_maml",
        "unicorn_maml": "unicorn_maml",
        "tsa_maml": "tsa_maml",
        "soft_kmeans": "SoftKMeans",
        "bd_cspn": "BDCSPN",
        "laplacian_shot": "LaplacianShot",
        "pt_map": "PTMAP",
        "tim": "TIM",
        "alpha_tim": "AlphaTIM",
        "semi_soft": "SemiSoft",
        "semi_cluster": "SemiCluster",
        "semi_masked": "SemiMasked",
        "t_nas": "t_nas",
        "meta_nas": "meta_nas",
        "lstm": "SequenceLSTM",
        "mann": "MANN",
        "snail": "SNAIL",
        "in_context": "InContext",
        "caml": "CAML",
        "cnp": "CNP",
        "anp": "ANP",
        "tnp": "TNP",
        "zero_shot": "ZeroShot",
        "nearest_neighbour": "NearestNeighbour",
        "linear_probe": "LinearProbe",
    },
)

FAMILIES = {
    "metric": "Metric-based",
    "gradient": "Optimisation-based",
    "transfer": "Transfer",
    "transductive": "Transductive inference",
    "black_box": "Model-based (black-box)",
    "in_context": "In-context",
    "architecture": "Architecture search",
    "semi_supervised": "Semi-supervised",
    "hallucination": "Hallucination",
    "zero_shot": "Zero-shot",
}


def family(name: str) -> str:
    """The family of an algorithm, a key of ``FAMILIES``; the algorithm is not imported.

    >>> family("protonet"), family("zero_shot")
    ('metric', 'zero_shot')
    """
    return ALGORITHMS.module(name).removeprefix(f"{__name__}.").partition(".")[0]
