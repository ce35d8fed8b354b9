"""Ten shapes under noise, made in code: for tests, and where no source of Fashion-MNIST is reached.

Only integers, and of numpy's random numbers only the raw bits, whose stream numpy guarantees: the
same seed gives the same bytes everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

_SIDE = 28
_MARGIN = 2  # how far a shape's centre strays from the middle, in pixels

_Shape = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

# Whether a pixel belongs to the shape, from its offset (x, y) to the centre and the shape's radius.
_SHAPES: Mapping[str, _Shape] = {
    "disc": lambda x, y, r: x * x + y * y <= r * r,
    "ring": lambda x, y, r: (x * x + y * y <= r * r) & (x * x + y * y > (r - 3) ** 2),
    "square": lambda x, y, r: np.maximum(abs(x), abs(y)) <= r,
    "frame": lambda x, y, r: abs(np.maximum(abs(x), abs(y)) - r + 1) <= 1,
    "diamond": lambda x, y, r: abs(x) + abs(y) <= r,
    "triangle": lambda x, y, r: (abs(y) <= r) & (2 * abs(x) <= y + r),
    "plus": lambda x, y, r: (np.minimum(abs(x), abs(y)) <= 1) & (np.maximum(abs(x), abs(y)) <= r),
    "cross": lambda x, y, r: (abs(abs(x) - abs(y)) <= 1) & (np.maximum(abs(x), abs(y)) <= r),
    "rows": lambda x, y, r: (np.maximum(abs(x), abs(y)) <= r) & (y % 4 < 2),
    "columns": lambda x, y, r: (np.maximum(abs(x), abs(y)) <= r) & (x % 4 < 2),
}

CLASS_NAMES = tuple(_SHAPES)


def draw_shapes(n: int, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Shapes of changing size, place and brightness under noise.

    Args:
        n: how many; each class as often as the others, in random order.
        seed: of everything random in them, each at least 0.

    Returns:
        Images, uint8, (n, 28, 28), and labels, int64, (n,), indices of `CLASS_NAMES`.
    """
    bits = np.random.PCG64(np.random.SeedSequence(seed))
    labels = np.argsort(bits.random_raw(n), kind="stable") % len(_SHAPES)
    pixels = np.arange(_SIDE, dtype=np.int16)
    middle = _SIDE // 2
    x = pixels - _draw_integers(bits, n, middle - _MARGIN, middle + _MARGIN)
    y = pixels[:, None] - _draw_integers(bits, n, middle - _MARGIN, middle + _MARGIN)
    radius = _draw_integers(bits, n, 7, 10)
    brightness = _draw_integers(bits, n, 96, 254)
    noise = _draw_bytes(bits, n * _SIDE * _SIDE) // 3
    images = noise.reshape(n, _SIDE, _SIDE).astype(np.int16)
    for label, shape in enumerate(_SHAPES.values()):
        of_class = np.flatnonzero(labels == label)
        inside = shape(x[of_class], y[of_class], radius[of_class])
        images[of_class] += inside * brightness[of_class]
    return np.minimum(images, 255).astype(np.uint8), labels


def _draw_bytes(bits: np.random.PCG64, size: int) -> np.ndarray:
    words: np.ndarray = bits.random_raw(math.ceil(size / 8))
    return words.astype("<u8").view(np.uint8)[:size]


def _draw_integers(bits: np.random.PCG64, n: int, low: int, high: int) -> np.ndarray:
    """One integer an image, low…high: int16, (n, 1, 1)."""
    drawn = low + _draw_bytes(bits, n).astype(np.int32) * (high - low + 1) // 256
    return drawn.astype(np.int16).reshape(n, 1, 1)
