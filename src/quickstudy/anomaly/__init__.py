"""Anomaly detection from a few good examples."""

from quickstudy.anomaly.golden_template import GoldenTemplate as GoldenTemplate
from quickstudy.anomaly.patch_memory import PatchMemory as PatchMemory
