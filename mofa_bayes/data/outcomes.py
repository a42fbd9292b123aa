"""Outcome tables: which clinical columns hold what we want to predict, read and checked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.data.tables import align_rows, read_column, require_frame
from mofa_bayes.errors import DataError

Array = NDArray[np.float64]


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


def read_entry(clinical: pd.DataFrame, column: str, subjects: Sequence[str], end: NDArray[np.float64]) -> Array:
    """Read times of entry, from which on a subject was followed, (subject,).

    Raises
    ------
    DataError
        A row or the column is absent, or an entry is missing, negative, or not before `end`.
    """
    rows = align_rows("outcome table", require_frame("outcome table", clinical), subjects)
    entry = read_column("the outcome table", rows, column)
    expected = "0 (followed from the start) or a time above 0, before the end of the subject's follow-up"
    is_wrong = ~((entry >= 0) & (entry < end))
    _refuse(f"entry column {column!r}", is_wrong, entry, expected, "Correct or drop these patients.")
    return entry


def read_intervals(clinical: pd.DataFrame, lower: str, upper: str, subjects: Sequence[str]) -> tuple[Array, Array]:
    """Read bounds between which events lie: two arrays (subject,), 0 and infinity where a bound is missing.

    Raises
    ------
    DataError
        A row or column is absent, bounds are negative or in the wrong order, nothing is known of a subject, or every
        subject is right-censored.
    """
    rows = align_rows("outcome table", require_frame("outcome table", clinical), subjects)
    first = read_column("the outcome table", rows, lower)
    last = read_column("the outcome table", rows.replace({upper: {np.inf: np.nan}}), upper)
    first, last = np.where(np.isnan(first), 0.0, first), np.where(np.isnan(last), np.inf, last)
    _refuse(f"lower bound {lower!r}", ~(first >= 0), first, "0 or a time above 0", "Correct these patients.")
    _refuse(f"upper bound {upper!r}", ~((last > 0) & (last >= first)), last,
            f"a time above 0 that is not before {lower!r}", "Correct these patients.")  # fmt: skip
    is_unknown = (first == 0) & np.isinf(last)
    _refuse(f"bounds {lower!r} and {upper!r}", is_unknown, first,
            "a lower bound above 0, an upper bound, or both", "Drop patients of whom nothing is known.")  # fmt: skip
    if np.isinf(last).all():
        raise DataError(
            f"upper bound {upper!r}",
            got="no patient who has one",
            expected="at least one event, whose time has an upper bound",
            do="Check the columns: a missing upper bound means that the event had not happened at the lower one.",
        )
    return first, last


def read_causes(clinical: pd.DataFrame, time: str, cause: str, subjects: Sequence[str]) -> Times:
    """Read a time and the cause of the event there: `event` is a whole number, 0 where censored.

    Raises
    ------
    DataError
        A row or column is absent, a value is missing, a time is not positive, a cause is no whole number from 0 up, or
        nobody had an event.
    """
    rows = align_rows("outcome table", require_frame("outcome table", clinical), subjects)
    times = read_column("the outcome table", rows, time)
    causes = read_column("the outcome table", rows, cause)
    _refuse(f"time column {time!r}", ~(times > 0), times, "times above 0", "Drop or correct these patients.")
    is_wrong = ~((causes >= 0) & (causes == np.floor(causes)))
    _refuse(f"cause column {cause!r}", is_wrong, causes, "0 (censored) or a whole number that stands for a cause",
            "Code the causes as 1, 2, ... and censoring as 0.")  # fmt: skip
    if not causes.any():
        raise DataError(
            f"cause column {cause!r}",
            got="no event among these patients",
            expected="at least one of each cause",
            do="Check the coding: 0 is censored.",
        )
    return Times(times, causes)


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
