"""Images and labels as other programs keep them, checked and brought to unsigned bytes."""

from __future__ import annotations

import math

import numpy as np

from midterm_cli.data.idx import Problem, times

_SCALED = "np.rint(255 * x).astype('uint8') if they are in [0, 1]"


def to_images(array: np.ndarray) -> np.ndarray:
    """Grey images of whole numbers 0…255.

    Args:
        array: (n, height, width), with an axis of one channel before or after those or without, or
            (n, pixels) of square images.

    Returns:
        uint8, (n, height, width).

    Raises:
        Problem: it has another shape, or other values.
    """
    if array.ndim == 4 and 1 in (array.shape[1], array.shape[3]):
        array = array.squeeze(1 if array.shape[1] == 1 else 3)
    if array.ndim == 2:
        side = math.isqrt(array.shape[1])
        if side**2 != array.shape[1]:
            raise Problem(
                f"{array.shape[1]:,} pixels a row make no square image: save an .npz with images "
                "of (n, height, width)"
            )
        array = array.reshape(-1, side, side)
    if array.ndim != 3:
        raise Problem(f"grey images have shape (n, height, width), got {times(array.shape)}")
    images = _to_bytes(array, "pixels", _SCALED)
    if images.max() == 1:
        raise Problem(f"pixels are 0…255, and these are 0 and 1: take {_SCALED}")
    return images


def to_labels(array: np.ndarray) -> np.ndarray:
    """Classes as whole numbers 0…255.

    Args:
        array: (n,) or (n, 1).

    Returns:
        uint8, (n,).

    Raises:
        Problem: it has another shape, or other values.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise Problem(
            f"labels have shape (n,), got {times(array.shape)}: take y.argmax(1) if they are "
            "one-hot"
        )
    return _to_bytes(array, "labels", "np.unique(y, return_inverse=True)[1]")


def _to_bytes(array: np.ndarray, what: str, remedy: str) -> np.ndarray:
    if array.size == 0:
        raise Problem(f"no {what}: the shape is {times(array.shape)}")
    if array.dtype.kind not in "buif":
        raise Problem(f"{what} of dtype {array.dtype}, but whole numbers 0…255 are read: {remedy}")
    with np.errstate(invalid="ignore"):  # NaN and what is out of range differ after the cast
        found = array.astype(np.uint8)
    if (found != array).any():
        value = array[found != array][0]
        raise Problem(f"{what} are whole numbers 0…255, got {value:g}: take {remedy}")
    return found
