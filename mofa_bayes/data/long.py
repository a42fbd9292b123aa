"""Long tables, one row per measurement, as views."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import DataError, name_some


def read_long(
    table: pd.DataFrame,
    *,
    subject: str = "subject",
    feature: str = "feature",
    value: str = "value",
    view: str | None = "view",
    **options: Any,  # noqa: ANN401  (those of MultiView.from_frames, which checks them)
) -> MultiView:
    """Read a table with one row for each subject, view and feature; what has no row is missing.

    Parameters
    ----------
    table
        The measurements.
    subject, feature, value, view
        Names of its columns; without a column of views (None) all features make one view, `data`.
    options
        As in `MultiView.from_frames`: likelihoods, groups, covariates and so on.

    Raises
    ------
    DataError
        A column is not there, a cell is given twice, or values cannot be used.
    """
    columns = [name for name in (view, subject, feature, value) if name is not None]
    if not isinstance(table, pd.DataFrame) or not set(columns) <= set(table.columns):
        found = name_some(table.columns, 8) if isinstance(table, pd.DataFrame) else type(table).__name__
        raise DataError(
            "long table",
            got=found,
            expected=f"a DataFrame with columns {', '.join(columns)}",
            do="Name the columns: subject=..., feature=..., value=..., view=....",
        )
    keys = columns[:-1]
    _require_keys(table, keys)
    parts: Mapping[str, pd.DataFrame] = (
        {"data": table} if view is None else {str(name): own for name, own in table.groupby(view, sort=False)}
    )
    frames = {name: _spread(own, subject, feature, value) for name, own in parts.items()}
    return MultiView.from_frames(frames, **options)


def _require_keys(table: pd.DataFrame, keys: Sequence[str]) -> None:
    doubled = int(table.duplicated(list(keys)).sum())
    if table.empty or doubled or table[list(keys)].isna().any().any():
        got = (
            "no row"
            if table.empty
            else f"{doubled} cells given twice"
            if doubled
            else f"rows without {' or '.join(keys)}"
        )
        raise DataError(
            "long table",
            got=got,
            expected="one row for each cell that was observed",
            do="Average or drop the others first.",
        )


def _spread(table: pd.DataFrame, subject: str, feature: str, value: str) -> pd.DataFrame:
    wide = table.astype({subject: str, feature: str}).pivot(index=subject, columns=feature, values=value)
    wide.columns.name = wide.index.name = None
    return wide.infer_objects()
