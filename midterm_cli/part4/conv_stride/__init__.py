"""Part 4, 2c: the cost of a convolution under several strides, and an image under three."""
