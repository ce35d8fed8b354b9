"""The layers of a network: shapes, costs, what an output sees, and the network of PyTorch."""
