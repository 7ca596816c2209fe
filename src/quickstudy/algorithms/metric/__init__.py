"""Metric-based: a query is compared with the support in an embedding space."""
