"""Part 3 C: train the MLP by SGD, follow averages of its weights, and compare them over seeds."""
