"""Pure functions of tensors. Similarities are always higher = closer; a distance says so in its
name.
"""
