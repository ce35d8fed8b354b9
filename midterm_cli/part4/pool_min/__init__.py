"""Part 4, 1c: minimum pooling as -maxpool(-x), checked against a minimum of each window."""
