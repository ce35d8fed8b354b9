"""A network of one's own for midterm: a class, or a function, that makes a torch.nn.Module.

midterm lr-sweep --network examples/network.py:SmallResNet --normalize unit
"""

import torch
from torch import nn


class Block(nn.Module):
    """Two convolutions beside a connection that skips them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        # GroupNorm in place of BatchNorm, whose running statistics an ensemble cannot hold.
        self.norms = nn.ModuleList([nn.GroupNorm(4, channels), nn.GroupNorm(4, channels)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps of the same shape."""
        h = self.norms[0](self.first(x)).relu()
        return (x + self.norms[1](self.second(h))).relu()


class SmallResNet(nn.Module):
    """Two residual blocks on images of a quarter of the size."""

    def __init__(self, in_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_shape[0], 8, 4, stride=4)
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes) of images (n, channels, height, width)."""
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))
