"""Anomaly detection from a few good examples."""

from quickstudy.anomaly.patch_memory import PatchMemory as PatchMemory
