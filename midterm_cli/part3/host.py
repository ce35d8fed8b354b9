"""What is read back from the device: the one place where the program waits for it.

On a GPU work is queued, and a question about its result waits for all of it. So nothing is asked
inside an epoch, and everything that is asked goes through here: a test pretends a GPU, and counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def read(tensor: Tensor) -> np.ndarray:
    """The values of a tensor, on the host."""
    values: np.ndarray = tensor.cpu().numpy()
    return values


def read_all(numbers: Sequence[Tensor]) -> np.ndarray:
    """The values of tensors of one number each, by waiting once."""
    return read(torch.stack(list(numbers)))
