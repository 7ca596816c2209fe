"""Measures of answers: intervals, verification, open-set scores and thresholds."""
