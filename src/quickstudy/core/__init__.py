"""The types that everything else speaks. Needs torch and numpy only; every other package may import
it.
"""
