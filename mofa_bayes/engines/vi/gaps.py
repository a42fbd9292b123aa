"""Scattered missing entries of one block and part: what must be taken off sums over whole rows and columns."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mofa_bayes.engines.vi.packed import Array

# Below this share of missing entries a sparse product is the quicker one (measured at N = 500, D = 2,000, K = 20).
_SPARSE_BELOW = 0.08
_TILE_ROWS = 128


class Gaps(Protocol):
    """Scattered missing entries of one block and part; sums over observed entries are whole sums less the gaps."""

    def over_columns(self, table: Array) -> Array:
        """Sum rows of `table` (n_scattered, P) over each subject's missing columns: (n, P)."""
        ...

    def over_rows(self, table: Array) -> Array:
        """Sum rows of `table` (n, P) over each column's missing subjects: (n_scattered, P)."""
        ...


@dataclass(frozen=True, slots=True)
class SparseGaps:
    """Few gaps: work grows with their number."""

    missing: sp.csr_array
    transposed: sp.csr_array

    def over_columns(self, table: Array) -> Array:
        """See `Gaps`."""
        result: Array = self.missing @ table
        return result

    def over_rows(self, table: Array) -> Array:
        """See `Gaps`."""
        result: Array = self.transposed @ table
        return result


@dataclass(frozen=True, slots=True)
class DenseGaps:
    """Many gaps: matrix products with the mask, a tile of rows at a time so that no second mask is ever whole."""

    missing: NDArray[np.bool_]

    def over_columns(self, table: Array) -> Array:
        """See `Gaps`."""
        tiles = range(0, len(self.missing), _TILE_ROWS)
        return np.concatenate([self.missing[start : start + _TILE_ROWS].astype(np.float64) @ table for start in tiles])

    def over_rows(self, table: Array) -> Array:
        """See `Gaps`."""
        total = np.zeros((self.missing.shape[1], table.shape[1]))
        for start in range(0, len(self.missing), _TILE_ROWS):
            total += self.missing[start : start + _TILE_ROWS].astype(np.float64).T @ table[start : start + _TILE_ROWS]
        return total


def find_gaps(missing: NDArray[np.bool_]) -> Gaps | None:
    """File the missing entries (n, n_scattered) of a block the way that is cheaper; None when there are none."""
    if not missing.any():
        return None
    if missing.mean() >= _SPARSE_BELOW:
        return DenseGaps(missing)
    matrix = sp.csr_array(missing.astype(np.float64))
    return SparseGaps(matrix, matrix.T.tocsr())
