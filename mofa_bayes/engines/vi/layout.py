"""The data as the engine sees it: parts (columns of one likelihood) by blocks (rows that have the same views).

Rows and columns are put in a canonical order (by name), so that the answer does not depend on the order they came in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.engines.vi.kernels import Array
from mofa_bayes.errors import FitError

LIKELIHOODS = ("gaussian", "bernoulli")
MAX_ROWS = 256
_SPARSE_BELOW = 0.08
_TILE_ROWS = 128


@dataclass(frozen=True, slots=True)
class Part:
    """Columns of one view that share a likelihood.

    Attributes
    ----------
    view, likelihood
        Their names.
    features
        Names of the columns, in canonical order.
    scattered
        Positions of the columns with a missing entry in some row that has the view.
    n_observed, sum_squares
        Per column: observed entries, and the sum of their squares on the model's scale.
    """

    view: str
    likelihood: str
    features: tuple[str, ...]
    scattered: NDArray[np.intp]
    n_observed: Array
    sum_squares: Array

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.features)

    @property
    def gram_of(self) -> NDArray[np.intp]:
        """Which Gram matrix each column uses: the shared one (0) or its own (1, 2, ...)."""
        if self.likelihood == "bernoulli":
            return np.arange(self.n_features)
        index = np.zeros(self.n_features, dtype=np.intp)
        index[self.scattered] = 1 + np.arange(len(self.scattered))
        return index

    @property
    def n_grams(self) -> int:
        """How many Gram matrices the part needs."""
        return self.n_features if self.likelihood == "bernoulli" else 1 + len(self.scattered)


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


@dataclass(frozen=True, slots=True)
class Cells:
    """One block of one part.

    Attributes
    ----------
    values
        Gaussian: scaled values, 0 where missing. Bernoulli: y - 1/2, 0 where missing. Shape (n, D).
    observed
        Bernoulli only: 1.0 where observed, (n, D).
    gaps
        Gaussian only: the scattered missing entries, None when there are none.
    """

    values: NDArray[np.floating]
    observed: Array | None
    gaps: Gaps | None


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that have the same views: `rows` are positions in canonical order, `cells` maps part number to data."""

    rows: NDArray[np.intp]
    cells: Mapping[int, Cells]

    @property
    def n_rows(self) -> int:
        """Number of subjects in the block."""
        return len(self.rows)

    @property
    def is_uniform(self) -> bool:
        """Whether all its subjects have the same posterior covariance."""
        return all(cells.observed is None and cells.gaps is None for cells in self.cells.values())


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole cohort: parts, blocks, and the names of the rows in canonical order."""

    subjects: tuple[str, ...]
    parts: tuple[Part, ...]
    blocks: tuple[Block, ...]

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views in canonical order."""
        return tuple(dict.fromkeys(part.view for part in self.parts))


def lay_out(views: MultiView, preprocessing: Preprocessing) -> Layout:
    """Arrange a cohort as parts and blocks.

    Raises
    ------
    FitError
        A feature has a likelihood that this engine does not have.
    """
    order = np.argsort(np.asarray(views.subjects), kind="stable")
    present = {view: views.has_view(view).values[order] for view in sorted(views.names)}
    groups = _group_rows(np.column_stack(list(present.values())))
    parts: list[Part] = []
    cells: list[dict[int, Cells]] = [{} for _ in groups]
    for view in present:
        names = views.features(view)
        own = [b for b, rows in enumerate(groups) if present[view][rows[0]]]
        for likelihood, columns in _split_view(views, view):
            tables = [_scale(views, preprocessing, view, order[groups[b]], columns) for b in own]
            part = _describe(view, likelihood, tuple(names[d] for d in columns), tables)
            for b, table in zip(own, tables, strict=True):
                cells[b][len(parts)] = _make_cells(table, part)
            parts.append(part)
    blocks = tuple(Block(rows, own) for rows, own in zip(groups, cells, strict=True))
    return Layout(tuple(views.subjects[n] for n in order), tuple(parts), blocks)


def _split_view(views: MultiView, view: str) -> list[tuple[str, NDArray[np.intp]]]:
    likelihoods = views.likelihoods(view).values
    unsupported = sorted(set(likelihoods) - set(LIKELIHOODS))
    if unsupported:
        raise FitError(
            f"likelihood of view {view!r} in engine 'vi'",
            got=", ".join(unsupported),
            expected=f"one of {', '.join(LIKELIHOODS)}",
            do="Declare another likelihood for these columns, transforming them first if need be (log1p for counts).",
        )
    by_name = np.argsort(np.asarray(views.features(view)), kind="stable")
    pieces = ((kind, by_name[likelihoods[by_name] == kind]) for kind in LIKELIHOODS)
    return [piece for piece in pieces if len(piece[1])]


def _scale(
    views: MultiView, preprocessing: Preprocessing, view: str, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.floating]:
    """Copy some rows and columns of a view, on the model's scale."""
    return preprocessing.apply(view, views[view].values[rows])[:, columns]


def _describe(view: str, likelihood: str, features: tuple[str, ...], tables: list[NDArray[np.floating]]) -> Part:
    """Count and sum a part over its blocks, always in the same order."""
    n_observed, sum_squares, n_rows = np.zeros(len(features)), np.zeros(len(features)), 0
    for table in tables:
        n_rows += len(table)
        n_observed += (~np.isnan(table)).sum(axis=0)
        sum_squares += np.nansum(np.square(table), axis=0, dtype=np.float64)
    return Part(view, likelihood, features, np.flatnonzero(n_observed < n_rows), n_observed, sum_squares)


def _group_rows(present: NDArray[np.bool_]) -> Sequence[NDArray[np.intp]]:
    _, pattern = np.unique(present, axis=0, return_inverse=True)
    groups = []
    for p in range(int(pattern.max()) + 1):
        rows = np.flatnonzero(pattern == p)
        groups += np.array_split(rows, -(-len(rows) // MAX_ROWS))
    return groups


def _make_cells(table: NDArray[np.floating], part: Part) -> Cells:
    """Make a block's cells of a table that nobody else holds."""
    missing = np.isnan(table)
    if part.likelihood == "bernoulli":
        return Cells(np.where(missing, 0.0, table - 0.5).astype(np.float64), (~missing).astype(np.float64), None)
    values = np.ascontiguousarray(table)
    values[missing] = 0
    return Cells(values, None, _find_gaps(missing[:, part.scattered]))


def _find_gaps(missing: NDArray[np.bool_]) -> Gaps | None:
    if not missing.any():
        return None
    if missing.mean() >= _SPARSE_BELOW:
        return DenseGaps(missing)
    matrix = sp.csr_array(missing.astype(np.float64))
    return SparseGaps(matrix, matrix.T.tocsr())
