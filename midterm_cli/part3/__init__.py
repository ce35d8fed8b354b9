"""Part 3: optimising a multi-layer perceptron."""
