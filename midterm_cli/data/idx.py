"""IDX files of unsigned bytes: the format that MNIST and its like come in.

0, 0, dtype code, number of dimensions; each dimension, big-endian uint32; the values
(http://yann.lecun.com/exdb/mnist/).
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterable
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from midterm_cli import files

_UBYTE = 0x08  # the one dtype code that is read
_CHUNK = 2**20
_GZIP = b"\x1f\x8b"  # what every file compressed by gzip begins with


class Problem(Exception):
    """What is wrong with a file or a source. The caller knows what to do about it, and says so."""


def read(path: Path, limit: int) -> np.ndarray:
    """The whole of an IDX file, uncompressed, header included: uint8, (bytes,).

    Nothing is allocated on the header's word: a plain file must have the size that its header
    gives, and a .gz is read until it ends or exceeds that size.

    Args:
        path: the file. Its name tells the number of dimensions (idx3 or idx1), and compression.
        limit: how many bytes it may hold, uncompressed.

    Returns:
        The content, mapped unless the file is compressed. What is written into it does not reach
        the file.

    Raises:
        Problem: the file cannot be read, or is not a whole IDX file of unsigned bytes.
    """
    compressed = path.suffix == ".gz"
    num_dims = 3 if "idx3" in path.name else 1
    try:
        files.require_regular(path)
        with gzip.open(path) if compressed else path.open("rb") as file:
            header = file.read(4 + 4 * num_dims)
            if header[:2] == _GZIP and not compressed:
                raise Problem(f"it is compressed by gzip: rename it to {path.name}.gz")
            size = _declared_size(header, num_dims)
            if size > limit:
                raise Problem(f"the header gives {size:,} bytes, above the limit of {limit:,}")
            return _decompress(file, header, size) if compressed else _map(path, size)
    except Problem as problem:
        raise Problem(f"{path}: {problem}") from problem
    except gzip.BadGzipFile as error:
        with path.open("rb") as file:
            is_plain = file.read(3) == bytes((0, 0, _UBYTE))
        remedy = f", but a plain IDX file: rename it to {path.stem}" if is_plain else ""
        raise Problem(f"{path}: cannot be read: {error}{remedy}") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise Problem(f"{path}: cannot be read: {reason}") from error


def _declared_size(header: bytes, num_dims: int) -> int:
    """Size in bytes of a file with this header, header included."""
    if len(header) < 4 + 4 * num_dims:
        raise Problem(f"too short for an IDX header, {len(header)} bytes")
    magic = bytes((0, 0, _UBYTE, num_dims))
    if header[:2] != magic[:2]:
        raise Problem(f"not an IDX file: it starts with 0x{header[:4].hex()}, not 0x{magic.hex()}")
    if header[2] != _UBYTE:
        raise Problem(f"dtype code 0x{header[2]:02x}, but only unsigned bytes (0x08) are read")
    if header[3] != num_dims:
        raise Problem(f"the number of dimensions is {header[3]}, not {num_dims}")
    dims = [int.from_bytes(header[at : at + 4], "big") for at in range(4, len(header), 4)]
    if 0 in dims:
        raise Problem(f"the header says that it is empty: {times(dims)}")
    return len(header) + math.prod(dims)


def _map(path: Path, size: int) -> np.ndarray:
    actual = path.stat().st_size
    if actual != size:
        raise Problem(f"the header gives {size:,} bytes, but the file has {actual:,}")
    # Copy-on-write, not read-only: torch.from_numpy warns of arrays that cannot be written to.
    return np.memmap(path, mode="c").view(np.ndarray)


def _decompress(file: BufferedIOBase, header: bytes, size: int) -> np.ndarray:
    content = bytearray(header)
    while len(content) <= size and (chunk := file.read(_CHUNK)):
        content += chunk
    if len(content) != size:
        has = "more" if len(content) > size else f"{len(content):,}"
        raise Problem(f"the header gives {size:,} bytes, but the file has {has}")
    return np.frombuffer(content, np.uint8)


def values(content: np.ndarray) -> np.ndarray:
    """The values of an IDX file, in the shape that its header gives: a view."""
    header = 4 + 4 * int(content[3])
    return content[header:].reshape(content[4:header].view(">u4"))


def from_values(values: np.ndarray) -> np.ndarray:
    """The content of an IDX file with these values, 0…255: uint8, (bytes,)."""
    magic = np.array([0, 0, _UBYTE, values.ndim], np.uint8)
    dims = np.array(values.shape, ">u4").view(np.uint8)
    return np.concatenate([magic, dims, values.ravel().astype(np.uint8)])


def times(dims: Iterable[int]) -> str:
    """Dimensions as people write them: 60,000 × 28 × 28."""
    return " × ".join(f"{dim:,}" for dim in dims)
