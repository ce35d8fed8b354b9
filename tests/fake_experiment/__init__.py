"""An experiment in place of `train`: the same kind of keys, a recursion for a computation."""
