"""The parts of gradient-based adaptation: a loop, a rule for each step, a choice of parameters, a
start.
"""
