"""Part 2 A, B: soft-thresholding, its derivatives, and what happens at ±T."""
