"""Part 2: soft-thresholding and a differentiable module."""
