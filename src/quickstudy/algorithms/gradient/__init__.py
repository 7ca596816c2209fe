"""Optimisation-based: a few gradient steps from a learned start, by a learned rule, or both."""
