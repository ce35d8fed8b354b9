"""Part 4: convolution and pooling: shapes, costs, and what an output can see."""
