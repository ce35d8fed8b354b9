"""Random cases of the module."""

import torch
from torch import Tensor

from midterm_cli.part2.layer import create_symmetric_invertible_matrix


def draw_case(dimension: int, seed: int, condition: float = 100.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    matrix = create_symmetric_invertible_matrix(dimension, condition, generator)
    return matrix, 3 * torch.randn(dimension, dtype=torch.float64, generator=generator)
