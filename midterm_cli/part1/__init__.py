"""Part 1: automatic differentiation of a scalar function."""
