"""Part 4, 2d: the output of a pooling, and the operations that it takes."""
