"""Outcome tables: which clinical columns hold what we want to predict, read and checked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.data.tables import align_rows, read_column, require_frame
from mofa_bayes.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """Right-censored times, shape (subject,): `time` in the table's units, `event` 1.0 where it was seen to happen."""

    time: NDArray[np.float64]
    event: NDArray[np.float64]


def read_times(clinical: pd.DataFrame, time: str, event: str, subjects: Sequence[str]) -> Times:
    """Read a survival outcome.

    Raises
    ------
    DataError
        A row or column is absent, a value is missing, a time is not positive, an event is not 0 or 1, or nobody had
        the event.
    """
    rows = align_rows("outcome table", require_frame("outcome table", clinical), subjects)
    times = read_column("the outcome table", rows, time)
    events = read_column("the outcome table", rows, event)
    _refuse(f"time column {time!r}", ~(times > 0), times, "times above 0", "Drop or correct these patients.")
    _refuse_event(event, events)
    if not events.any():
        raise DataError(
            f"event column {event!r}",
            got="no event among these patients",
            expected="at least one",
            do="Check the coding: 1 is an event, 0 is censored.",
        )
    return Times(times, events)


def read_binary(clinical: pd.DataFrame, column: str, subjects: Sequence[str]) -> NDArray[np.float64]:
    """Read a binary outcome of 0 and 1, shape (subject,).

    Raises
    ------
    DataError
        A row or the column is absent, a value is not 0 or 1, or all are the same.
    """
    rows = align_rows("outcome table", require_frame("outcome table", clinical), subjects)
    values = read_column("the outcome table", rows, column)
    _refuse_event(column, values)
    if len(kinds := np.unique(values)) < 2:
        raise DataError(
            f"outcome column {column!r}",
            got=f"only {kinds[0]:g}" if len(kinds) else "no patients",
            expected="both 0 and 1 among these patients",
            do="A constant outcome has nothing to predict; check the selection.",
        )
    return values


def _refuse_event(column: str, values: NDArray[np.float64]) -> None:
    _refuse(
        f"outcome column {column!r}",
        ~np.isin(values, (0, 1)),
        values,
        "0 (no, or censored) or 1 (yes) for every patient",
        "Recode it, for instance (column == 2).astype(int), or drop patients without an outcome.",
    )


def _refuse(what: str, is_wrong: NDArray[np.bool_], values: NDArray[np.float64], expected: str, do: str) -> None:
    if is_wrong.any():
        wrong = values[is_wrong]
        shown = "missing values" if np.isnan(wrong).all() else f"such as {wrong[~np.isnan(wrong)][0]:g}"
        raise DataError(what, got=f"{int(is_wrong.sum())} values {shown}", expected=expected, do=do)
