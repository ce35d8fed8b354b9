"""Part 4, 1b: a network layer by layer: shapes, costs, and which inputs reach one output."""
