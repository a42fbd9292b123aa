"""Outcomes that are measured, counted or graded: read from clinical columns and checked."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.data.tables import align_rows, read_column, require_frame
from mofa_bayes.errors import DataError, name_some

Array = NDArray[np.float64]
_MISSING = "Drop patients without an outcome: views.sel(clinical.index[clinical[column].notna()])."


def read_measurement(clinical: pd.DataFrame, column: str, subjects: Sequence[str]) -> Array:
    """Read a real-valued outcome, shape (subject,).

    Raises
    ------
    DataError
        A row or the column is absent, a value is missing or not finite, or all are the same.
    """
    values = _read(clinical, column, subjects)
    if not len(values) or np.ptp(values) <= 1e-10 * np.abs(values).max():
        raise DataError(
            f"outcome column {column!r}",
            got="the same value for everyone" if len(values) else "no patients",
            expected="at least two different values",
            do="A constant outcome has nothing to predict; check the selection.",
        )
    return values


def read_counts(clinical: pd.DataFrame, column: str, subjects: Sequence[str]) -> Array:
    """Read an outcome that counts, shape (subject,).

    Raises
    ------
    DataError
        A row or the column is absent, a value is missing, negative or no whole number, or all are 0.
    """
    values = _read(clinical, column, subjects)
    wrong = (values < 0) | (values != np.floor(values))
    if wrong.any():
        raise DataError(
            f"outcome column {column!r}",
            got=f"{int(wrong.sum())} values such as {values[wrong][0]:g}",
            expected="whole numbers from 0 up",
            do="Use Continuous for an outcome that is measured.",
        )
    if not values.any():
        raise DataError(
            f"outcome column {column!r}",
            got="0 for everyone" if len(values) else "no patients",
            expected="at least one count above 0",
            do="Check the selection.",
        )
    return values


def read_exposure(clinical: pd.DataFrame | None, column: str, subjects: Sequence[str]) -> Array:
    """Read how long, or how much, each subject was counted: positive numbers, shape (subject,).

    Raises
    ------
    DataError
        A row or the column is absent, or a value is missing or not positive.
    """
    values = _read(clinical, column, subjects)
    if (values <= 0).any():
        raise DataError(
            f"exposure column {column!r}",
            got=f"{int((values <= 0).sum())} values at or below 0",
            expected="numbers above 0, in one unit",
            do="Drop subjects who were not observed at all.",
        )
    return values


def read_grades(
    clinical: pd.DataFrame, column: str, levels: Sequence[object], subjects: Sequence[str]
) -> NDArray[np.float64]:
    """Read an ordered category as the position of its level, shape (subject,).

    Raises
    ------
    DataError
        A row or the column is absent, a value is missing or none of the levels, or all are the same.
    """
    rows = align_rows("outcome table", require_frame("outcome table", clinical), subjects)
    if column not in rows.columns:
        raise DataError(
            "outcome table",
            got=f"no column {column!r}",
            expected=f"one of its columns ({name_some(clinical.columns, 8)})",
            do="Name an existing column or add this one to the table.",
        )
    values = rows[column]
    place = {level: float(k) for k, level in enumerate(levels)}
    grades = np.array([place.get(value, np.nan) for value in values.astype(object)], dtype=np.float64)
    unknown = np.isnan(grades)
    if unknown.any():
        n_missing = int(values.isna().sum())
        others = pd.unique(values[unknown & values.notna().to_numpy()].astype(object))
        got = f"{n_missing} missing values" if n_missing else f"values that are no level ({name_some(others)})"
        raise DataError(
            f"outcome column {column!r}",
            got=got,
            expected=f"one of {name_some(levels, 12)} for every patient",
            do=_MISSING if n_missing else "Name every level, from the lowest to the highest.",
        )
    if len(np.unique(grades)) < 2:
        raise DataError(
            f"outcome column {column!r}",
            got="the same level for everyone" if len(grades) else "no patients",
            expected="at least two levels among these patients",
            do="A constant outcome has nothing to predict; check the selection.",
        )
    return grades


def _read(clinical: pd.DataFrame | None, column: str, subjects: Sequence[str]) -> Array:
    rows = align_rows("outcome table", require_frame("outcome table", clinical), subjects)
    values = read_column("the outcome table", rows, column)
    missing = np.isnan(values)
    if missing.any():
        raise DataError(
            f"outcome column {column!r}",
            got=f"{int(missing.sum())} missing values",
            expected="a number for every patient",
            do=_MISSING,
        )
    return values


def read_panel(clinical: pd.DataFrame, columns: Sequence[str], subjects: Sequence[str]) -> Array:
    """Read several real-valued outcomes, shape (subject, column), NaN where one was not measured.

    Raises
    ------
    DataError
        A row or a column is absent, a value is infinite, or a column has fewer than two different values.
    """
    rows = align_rows("outcome table", require_frame("outcome table", clinical), subjects)
    values = np.column_stack([read_column("the outcome table", rows, column) for column in columns])
    known = ~np.isnan(values)
    lowest = np.where(known, values, np.inf).min(axis=0, initial=np.inf)
    highest = np.where(known, values, -np.inf).max(axis=0, initial=-np.inf)
    idle = [column for column, low, high in zip(columns, lowest, highest, strict=True) if not high > low]
    if idle:
        raise DataError(
            "outcome columns",
            got=f"{len(idle)} without two different values among these patients ({name_some(idle)})",
            expected="columns that were measured in some of them, and vary",
            do="Leave these columns out.",
        )
    return values
