"""Observed entries of one likelihood, as a full block of rows and columns where there is one, else one by one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pytensor.tensor.variable import TensorVariable

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """Observed entries of one likelihood of one view.

    Attributes
    ----------
    eta, values
        What the model says there and what was seen: (n, D) as a block, (cells,) otherwise.
    rows, columns
        Of the view: (n,) and (D,) as a block, (cells,) each otherwise. Columns count features of this likelihood only.
    groups
        Number of the group of each of `rows`.
    exposure
        Exposure of each entry, in a shape that broadcasts against `values`.
    """

    eta: "TensorVariable[Any, Any]"
    values: np.ndarray
    rows: Index
    columns: Index
    groups: Index
    exposure: np.ndarray

    @property
    def is_block(self) -> bool:
        """Whether entries are a full block."""
        return self.values.ndim == 2

    def spread(self, parameter: "TensorVariable[Any, Any]") -> "TensorVariable[Any, Any]":
        """Give each entry its own of a parameter by feature (D,), or by group and feature (G, D)."""
        found: TensorVariable[Any, Any]
        if parameter.ndim == 1:
            found = parameter if self.is_block else parameter[self.columns]
        else:
            found = parameter[self.groups] if self.is_block else parameter[self.groups, self.columns]
        return found


def gather_cells(
    eta: "TensorVariable[Any, Any]", values: np.ndarray, own: Index, group_of: Index, exposure: np.ndarray
) -> Cells:
    """Collect the observed entries among some columns of a view.

    Rows that lack all of these columns are left out. A block needs no list of entries, whose gradient is slow.

    Parameters
    ----------
    eta, values
        The view's (N, D).
    own
        The columns of one likelihood.
    group_of, exposure
        Of each row (N,).
    """
    seen = ~np.isnan(values[:, own])
    rows = np.flatnonzero(seen.any(axis=1))
    if seen[rows].all():
        part = eta if len(own) == values.shape[1] else eta[:, own]
        return Cells(
            eta=part if len(rows) == len(values) else part[rows],
            values=values[np.ix_(rows, own)],
            rows=rows,
            columns=np.arange(len(own)),
            groups=group_of[rows],
            exposure=exposure[rows, None],
        )
    rows, columns = np.nonzero(seen)
    return Cells(
        eta=eta[rows, own[columns]],
        values=values[rows, own[columns]],
        rows=rows,
        columns=columns,
        groups=group_of[rows],
        exposure=exposure[rows],
    )
