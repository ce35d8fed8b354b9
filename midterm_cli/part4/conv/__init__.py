"""Part 4, 1a: the output of one convolution, its parameters, MACs and FLOPs."""
