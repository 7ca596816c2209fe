"""Transductive inference: all queries of a task are answered together."""
