"""Packed symmetric matrices: the lower triangle row by row, P = J (J + 1) / 2 numbers.

Entry (i, j <= i) is at i (i + 1) / 2 + j. The intercept and other known terms come last of the J, so that the factors'
K x K block is a prefix.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]


@lru_cache(maxsize=64)
def _triangle(n_terms: int) -> tuple[Index, Index]:
    """Rows and columns of the packed entries."""
    return np.tril_indices(n_terms)


def n_packed(n_terms: int) -> int:
    """Length of a packed symmetric matrix."""
    return n_terms * (n_terms + 1) // 2


def pair_weights(n_terms: int) -> Array:
    """Weights w with <A, B> = sum_p w_p A_p B_p for packed symmetric A and B: 1 on the diagonal, 2 beside it."""
    rows, columns = _triangle(n_terms)
    return np.where(rows == columns, 1.0, 2.0)


def pack(matrix: Array) -> Array:
    """Pack symmetric matrices of shape (..., J, J)."""
    rows, columns = _triangle(matrix.shape[-1])
    packed: Array = matrix[..., rows, columns]
    return packed


def diagonal_of(n_terms: int) -> Index:
    """Positions of the diagonal in a packed symmetric matrix."""
    return np.cumsum(np.arange(1, n_terms + 1)) - 1


def packed_positions(terms: Index) -> Index:
    """Where the packed matrix of some terms, in the order given, lies in the packed matrix of all."""
    first, second = (terms[side] for side in _triangle(len(terms)))
    high, low = np.maximum(first, second), np.minimum(first, second)
    positions: Index = high * (high + 1) // 2 + low
    return positions


def unpack(packed: Array, n_terms: int) -> Array:
    """Restore symmetric matrices of shape (..., J, J)."""
    rows, columns = _triangle(n_terms)
    full = np.empty((*packed.shape[:-1], n_terms, n_terms))
    full[..., rows, columns] = packed
    full[..., columns, rows] = packed
    return full
