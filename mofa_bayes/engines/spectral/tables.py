"""The cohort as the engine sees it: one centred table per view, over the subjects who have it.

Rows and columns are in canonical order (by name), so that the answer does not depend on the order they came in.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.engines.vi.packed import Array, Index
from mofa_bayes.errors import IgnoredWarning, warn

TILE = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One view.

    Attributes
    ----------
    view
        Its name.
    features
        Names of its columns.
    rows
        Positions, among all subjects, of those who have the view, (n,).
    values
        On the model's scale, 0 where missing, (n, D).
    missing
        Where `values` was not observed, (n, D); None when everything was.
    sum_squares
        Per column, of the observed values, (D,).
    """

    view: str
    features: tuple[str, ...]
    rows: Index
    values: NDArray[np.floating]
    missing: NDArray[np.bool_] | None
    sum_squares: Array

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.features)

    @property
    def total(self) -> float:
        """Sum of all squares; never 0, so that one may divide by it."""
        return max(float(self.sum_squares.sum()), 1e-300)

    def tiles(self) -> Iterator[slice]:
        """Walk over the columns, some at a time, so that no second copy of the values is ever whole."""
        for start in range(0, self.n_features, TILE):
            yield slice(start, start + TILE)

    def cross(self, matrix: Array) -> Array:
        """Multiply Y' with a matrix (n, k): (D, k)."""
        return np.concatenate([self.values[:, tile].T @ matrix for tile in self.tiles()])

    def standardise(self) -> "Table":
        """Centre every column and give it unit variance, over its observed values; a constant column becomes 0."""
        observed = True if self.missing is None else ~self.missing
        count = np.maximum(np.broadcast_to(observed, self.values.shape).sum(axis=0), 1)
        values = np.where(observed, self.values - self.values.sum(axis=0) / count, 0)
        scale = np.sqrt(np.square(values).sum(axis=0) / count)
        values /= np.where(scale > 0, scale, 1)
        return make_table(self.view, self.features, self.rows, values, self.missing)


def make_table(
    view: str,
    features: tuple[str, ...],
    rows: Index,
    values: NDArray[np.floating],
    missing: NDArray[np.bool_] | None,
) -> Table:
    """Complete a table with its sums of squares."""
    sum_squares = np.square(values, dtype=np.float64).sum(axis=0)
    return Table(view, features, rows, values, missing, sum_squares)


def gaussianise(views: MultiView) -> MultiView:
    """Take every feature as a real number, and warn once if some were not.

    Warns
    -----
    IgnoredWarning
        A declared or guessed likelihood other than gaussian is not used.
    """
    kinds = np.concatenate([views.likelihoods(view).values for view in views.names])
    others = sorted(set(kinds) - {"gaussian"})
    if not others:
        return views
    warn(
        f"engine 'spectral' takes {int((kinds != 'gaussian').sum())} features of likelihood {', '.join(others)} as "
        "real numbers, scaled as the view's other features are; their loadings and noise are on that scale",
        IgnoredWarning,
    )
    names = {f"likelihood_{view}": xr.full_like(views.likelihoods(view), "gaussian") for view in views.names}
    return MultiView(views.dataset.assign(names))


def tabulate(views: MultiView, preprocessing: Preprocessing) -> tuple[Table, ...]:
    """Lay out a cohort as tables, views in the order of their names."""
    order = np.argsort(np.asarray(views.subjects), kind="stable")
    return tuple(_tabulate_view(views, preprocessing, view, order) for view in sorted(views.names))


def _tabulate_view(views: MultiView, preprocessing: Preprocessing, view: str, order: Index) -> Table:
    names = np.asarray(views.features(view))
    columns = np.argsort(names, kind="stable")
    rows = np.flatnonzero(views.has_view(view).values[order])
    values = preprocessing.apply(view, views[view].values[order[rows]])[:, columns]
    missing = np.isnan(values)
    values[missing] = 0
    features = tuple(str(name) for name in names[columns])
    return make_table(view, features, rows, values, missing if missing.any() else None)
