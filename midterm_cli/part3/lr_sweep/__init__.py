"""Part 3 B: the learning rate at which training fails, as a probability over seeds."""
