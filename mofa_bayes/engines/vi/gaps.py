"""Scattered missing entries of one block and part: what must be taken off sums over whole rows and columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mofa_bayes.engines.vi.packed import Array

# Below this share of missing entries a sparse product is the quicker one (measured at N = 500, D = 2,000, K = 20).
_SPARSE_BELOW = 0.08
_TILE = 1024


class Gaps(Protocol):
    """Scattered missing entries of one block and part; sums over observed entries are whole sums less the gaps.

    Work goes over some columns at a time, so that beside the tables that are asked for nothing of their size is made.
    """

    def over_columns(self, table: Array, weights: Array) -> Array:
        """Sum rows of `table` (n_scattered, P), each times its weight, over each subject's missing columns: (n, P)."""
        ...

    def take_rows(self, table: Array, total: Array) -> None:
        """Take from `total` (n_scattered, P) the sum of rows of `table` (n, P) over each column's missing subjects."""
        ...


@dataclass(frozen=True, slots=True)
class SparseGaps:
    """Few gaps: work grows with their number."""

    missing: sp.csc_array
    transposed: sp.csr_array

    def over_columns(self, table: Array, weights: Array) -> Array:
        """See `Gaps`."""
        result = np.zeros((self.missing.shape[0], table.shape[1]))
        for tile in _tiles(len(table)):
            result += self.missing[:, tile] @ (table[tile] * weights[tile, None])
        return result

    def take_rows(self, table: Array, total: Array) -> None:
        """See `Gaps`."""
        for tile in _tiles(len(total)):
            total[tile] -= self.transposed[tile] @ table


@dataclass(frozen=True, slots=True)
class DenseGaps:
    """Many gaps: matrix products with the mask.

    Attributes
    ----------
    table
        A mask of the scattered columns (n, n_scattered); or the user's own array (n, D), in which NaN is the mask.
    columns
        Where the scattered columns are in `table`.
    """

    table: NDArray[np.bool_] | NDArray[np.floating]
    columns: NDArray[np.intp]

    def _missing(self, tile: slice) -> Array:
        own = self.table[:, self.columns[tile]]
        return (own if own.dtype == np.bool_ else np.isnan(own)).astype(np.float64)

    def over_columns(self, table: Array, weights: Array) -> Array:
        """See `Gaps`."""
        result = np.zeros((len(self.table), table.shape[1]))
        for tile in _tiles(len(self.columns)):
            result += self._missing(tile) @ (table[tile] * weights[tile, None])
        return result

    def take_rows(self, table: Array, total: Array) -> None:
        """See `Gaps`."""
        for tile in _tiles(len(self.columns)):
            total[tile] -= self._missing(tile).T @ table


def find_gaps(missing: NDArray[np.bool_], scattered: NDArray[np.intp], values: NDArray[np.floating]) -> Gaps | None:
    """File the missing entries of a block the way that is cheaper; None when there are none.

    Parameters
    ----------
    missing
        Which entries of the scattered columns are missing (n, n_scattered).
    scattered
        Where these columns are (n_scattered,).
    values
        The block's values (n, D): the user's own array, or nothing where the block has a filled copy.
    """
    if not missing.any():
        return None
    if missing.mean() < _SPARSE_BELOW:
        matrix = sp.csc_array(missing.astype(np.float64))
        return SparseGaps(matrix, matrix.T.tocsr())
    return DenseGaps(values, scattered) if values.size else DenseGaps(missing, np.arange(len(scattered)))


def _tiles(n_columns: int) -> Iterator[slice]:
    for start in range(0, n_columns, _TILE):
        yield slice(start, min(start + _TILE, n_columns))
